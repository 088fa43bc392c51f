#include "compiler/emit/host/lower.h"

#include "compiler/emit/host/optimize.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

#include <mutex>

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

std::string featureString(const kernels::HostTarget &target) {
  std::string text;
  for (std::string_view feature : target.features)
    text.append(text.empty() ? "+" : ",+").append(feature);
  return text;
}

std::unique_ptr<llvm::TargetMachine> makeMachine(const kernels::HostTarget &target) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
  const char *triple = "x86_64-unknown-linux-gnu";
  std::string error;
  const llvm::Target *found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (found == nullptr)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion =
      llvm::FPOpFusion::Strict; // fma only where a builder says so: bits must not depend on fusion
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(
      triple, "x86-64", featureString(target), options, llvm::Reloc::PIC_, llvm::CodeModel::Small,
      llvm::CodeGenOptLevel::Default));
}

} // namespace

struct Lowerer::State {
  explicit State(const kernels::HostTarget &hostTarget)
      : target(hostTarget), context(mlir::MLIRContext::Threading::DISABLED),
        machine(makeMachine(hostTarget)) {
    mlir::DialectRegistry registry;
    mlir::registerBuiltinDialectTranslation(registry);
    mlir::registerLLVMDialectTranslation(registry);
    context.appendDialectRegistry(registry);
    context
        .loadDialect<mlir::func::FuncDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                     mlir::scf::SCFDialect, mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect>();
  }
  const kernels::HostTarget &target;
  mlir::MLIRContext context;
  std::unique_ptr<llvm::TargetMachine> machine;
};

Lowerer::Lowerer(const kernels::HostTarget &target) : state_(std::make_unique<State>(target)) {}
Lowerer::~Lowerer() = default;
mlir::MLIRContext &Lowerer::context() { return state_->context; }

namespace {

/// tanh, erf and log become polynomials.
mlir::LogicalResult expandFunctions(mlir::ModuleOp module) {
  mlir::RewritePatternSet polynomials(module.getContext());
  mlir::populateMathPolynomialApproximationPatterns(polynomials);
  return mlir::applyPatternsAndFoldGreedily(module, std::move(polynomials));
}

/// Everything to the LLVM dialect.
mlir::LogicalResult lowerToLlvmDialect(mlir::ModuleOp module, MiddleEnd middleEnd) {
  if (middleEnd == MiddleEnd::kNone && mlir::failed(expandFunctions(module)))
    return mlir::failure();
  mlir::PassManager passes(module.getContext());
  passes.addPass(mlir::createCSEPass());
  passes.addPass(mlir::createConvertSCFToCFPass());
  passes.addPass(mlir::createConvertVectorToLLVMPass());
  passes.addPass(mlir::createConvertMathToLLVMPass());
  passes.addPass(mlir::createArithToLLVMConversionPass());
  passes.addPass(mlir::createConvertControlFlowToLLVMPass());
  passes.addPass(mlir::createConvertFuncToLLVMPass());
  passes.addPass(mlir::createReconcileUnrealizedCastsPass());
  return passes.run(module);
}

} // namespace

Result<std::vector<char>> Lowerer::generate(mlir::ModuleOp module, const std::string &origin,
                                            MiddleEnd middleEnd, bool assembly) {
  if (!state_->machine)
    return base::internalError("LLVM has no x86-64 code generator", origin);
  std::string problem;
  mlir::ScopedDiagnosticHandler handler(&state_->context, [&](mlir::Diagnostic &diagnostic) {
    problem.append(problem.empty() ? "" : "; ").append(diagnostic.str());
    return mlir::success();
  });
  if (mlir::failed(lowerToLlvmDialect(module, middleEnd)))
    return base::internalError("a kernel does not lower to LLVM: " + problem, origin);
  llvm::LLVMContext llvmContext;
  auto llvmModule = mlir::translateModuleToLLVMIR(module, llvmContext, "kernel");
  if (!llvmModule)
    return base::internalError("a kernel does not translate to LLVM IR: " + problem, origin);
  llvm::TargetMachine &machine = *state_->machine;
  llvmModule->setTargetTriple(machine.getTargetTriple().str());
  llvmModule->setDataLayout(machine.createDataLayout());
  for (llvm::Function &function : *llvmModule) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("prefer-vector-width", std::to_string(state_->target.vectorBits));
    function.addFnAttr("min-legal-vector-width", std::to_string(state_->target.vectorBits));
    function.addFnAttr("tune-cpu", state_->target.vectorBits == 512 ? "znver4" : "znver3");
  }
  if (middleEnd == MiddleEnd::kLoops)
    optimizeLoops(*llvmModule, machine);
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager codegen;
  const auto type =
      assembly ? llvm::CodeGenFileType::AssemblyFile : llvm::CodeGenFileType::ObjectFile;
  if (machine.addPassesToEmitFile(codegen, stream, nullptr, type))
    return base::internalError("LLVM cannot emit an object file for this target", origin);
  codegen.run(*llvmModule);
  return std::vector<char>(bytes.begin(), bytes.end());
}

Result<ObjectFile> Lowerer::toObject(mlir::ModuleOp module, const std::string &origin,
                                     MiddleEnd middleEnd) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<char> bytes, generate(module, origin, middleEnd, false));
  return ObjectFile{origin, std::move(bytes)};
}

Result<std::string> Lowerer::toAssembly(mlir::ModuleOp module, const std::string &origin,
                                        MiddleEnd middleEnd) {
  PLATEN_ASSIGN_OR_RETURN(const std::vector<char> bytes, generate(module, origin, middleEnd, true));
  return std::string(bytes.begin(), bytes.end());
}

} // namespace platen::compiler
