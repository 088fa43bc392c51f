// platen-opt: parses textual IR or imports an ONNX model, runs a pipeline of passes over it, prints
// the result.
//
//   platen-opt model.mlir --passes='platen-fold,cse'
//   platen-opt model.onnx --passes=platen-fold --debug-info
//
// Exit status: 0, or 1 with diagnostics on stderr. MLIR's own driver is not used: it registers far
// more than is needed here, and its archive cannot be mixed with libMLIR.so.
#include "compiler/import/importer.h"
#include "compiler/passes.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/Support/SourceMgr.h"

#include <CLI/CLI.hpp>

namespace {

struct Options {
  std::string input = "-";
  std::string passes;
  bool debugInfo = false;
};

mlir::OwningOpRef<mlir::ModuleOp> importModel(const Options &options, mlir::MLIRContext &context) {
  auto imported = platen::compiler::importOnnx(options.input, context);
  if (!imported) {
    llvm::errs() << "platen-opt: " << imported.status().toString() << "\n";
    return nullptr;
  }
  return std::move(imported->module);
}

mlir::OwningOpRef<mlir::ModuleOp> parse(const Options &options, llvm::SourceMgr &sources,
                                        mlir::MLIRContext &context) {
  if (llvm::StringRef(options.input).ends_with(".onnx"))
    return importModel(options, context);
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(options.input);
  if (!buffer) {
    llvm::errs() << "platen-opt: cannot read '" << options.input
                 << "': " << buffer.getError().message() << "\n";
    return nullptr;
  }
  sources.AddNewSourceBuffer(std::move(*buffer), llvm::SMLoc());
  return mlir::parseSourceFile<mlir::ModuleOp>(sources, &context);
}

bool runPasses(const Options &options, mlir::ModuleOp module) {
  mlir::PassManager manager(module.getContext(), mlir::ModuleOp::getOperationName(),
                            mlir::PassManager::Nesting::Implicit);
  return mlir::succeeded(mlir::parsePassPipeline(options.passes, manager)) &&
         mlir::succeeded(manager.run(module));
}

int runTool(const Options &options) {
  platen::compiler::registerPasses();
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<platen::ir::PlatenDialect, mlir::func::FuncDialect>();
  llvm::SourceMgr sources;
  mlir::SourceMgrDiagnosticHandler diagnostics(sources, &context);
  mlir::OwningOpRef<mlir::ModuleOp> module = parse(options, sources, context);
  if (!module || !runPasses(options, *module))
    return 1;
  mlir::OpPrintingFlags flags;
  if (options.debugInfo)
    flags.enableDebugInfo();
  module->print(llvm::outs(), flags);
  llvm::outs() << "\n";
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Runs compiler passes over IR of dialect platen.");
  Options options;
  app.add_option("input", options.input, "a .mlir or .onnx file, or - for standard input (IR)");
  app.add_option("--passes", options.passes, "a pass pipeline, e.g. platen-fold,cse");
  app.add_flag("--debug-info", options.debugInfo, "print locations (the ONNX nodes' names)");
  CLI11_PARSE(app, argc, argv);
  return runTool(options);
}
