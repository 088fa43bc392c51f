#include "compiler/emit/host/optimize.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Operator.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/IndVarSimplify.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopDeletion.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/LoopRotation.h"
#include "llvm/Transforms/Scalar/LoopUnrollPass.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "llvm/Transforms/Utils/LoopUtils.h"
#include "llvm/Transforms/Vectorize/LoopVectorize.h"

namespace platen::compiler {

namespace {

bool mayRegroup(const llvm::Instruction &instruction) {
  return llvm::isa<llvm::FPMathOperator>(instruction) && instruction.hasAllowReassoc();
}

/// Keeps loops whose sums may be regrouped whole, for the vectoriser.
struct KeepReductions : llvm::PassInfoMixin<KeepReductions> {
  llvm::PreservedAnalyses run(llvm::Function &function, llvm::FunctionAnalysisManager &analyses) {
    const llvm::LoopInfo &loops = analyses.getResult<llvm::LoopAnalysis>(function);
    for (llvm::BasicBlock &block : function)
      if (llvm::Loop *loop = loops.getLoopFor(&block); loop && llvm::any_of(block, mayRegroup))
        llvm::addStringMetadataToLoop(loop, "llvm.loop.unroll.disable");
    return llvm::PreservedAnalyses::all();
  }
};

/// What the vectoriser left keeps its order.
struct KeepOrder : llvm::PassInfoMixin<KeepOrder> {
  llvm::PreservedAnalyses run(llvm::Function &function, llvm::FunctionAnalysisManager &) {
    for (llvm::Instruction &instruction : llvm::instructions(function))
      if (llvm::isa<llvm::FPMathOperator>(instruction))
        instruction.setFastMathFlags(llvm::FastMathFlags());
    return llvm::PreservedAnalyses::all();
  }
};

llvm::FunctionPassManager passes() {
  llvm::FunctionPassManager all;
  all.addPass(llvm::SimplifyCFGPass());
  all.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
  all.addPass(llvm::InstCombinePass());
  llvm::LoopPassManager hoist;
  hoist.addPass(llvm::LoopRotatePass());
  hoist.addPass(llvm::LICMPass(llvm::LICMOptions()));
  all.addPass(llvm::createFunctionToLoopPassAdaptor(std::move(hoist), /*UseMemorySSA=*/true));
  all.addPass(KeepReductions());
  llvm::LoopPassManager shorten;
  shorten.addPass(llvm::IndVarSimplifyPass());
  shorten.addPass(llvm::LoopDeletionPass());
  shorten.addPass(llvm::LoopFullUnrollPass());
  all.addPass(llvm::createFunctionToLoopPassAdaptor(std::move(shorten)));
  all.addPass(llvm::EarlyCSEPass(/*UseMemorySSA=*/true));
  all.addPass(llvm::InstCombinePass());
  all.addPass(llvm::LoopVectorizePass());
  all.addPass(KeepOrder());
  all.addPass(llvm::InstCombinePass());
  all.addPass(llvm::SimplifyCFGPass());
  all.addPass(llvm::EarlyCSEPass());
  llvm::LoopPassManager invariants;
  invariants.addPass(llvm::LICMPass(llvm::LICMOptions()));
  all.addPass(llvm::createFunctionToLoopPassAdaptor(std::move(invariants), /*UseMemorySSA=*/true));
  return all;
}

} // namespace

void optimizeLoops(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::TargetLibraryInfoImpl library(machine.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::ModulePassManager all;
  all.addPass(llvm::createModuleToFunctionPassAdaptor(passes()));
  all.run(module, modules);
}

} // namespace platen::compiler
