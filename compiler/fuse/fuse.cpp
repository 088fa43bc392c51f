// The list of fusion passes, and the one pass class that runs a set of patterns to its fixpoint.
#include "compiler/fuse/fuse.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace platen::compiler {

namespace {

class PatternPass : public mlir::PassWrapper<PatternPass, mlir::OperationPass<mlir::func::FuncOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PatternPass)

  explicit PatternPass(const FusePass &pass) : pass_(pass) {}
  llvm::StringRef getArgument() const override { return pass_.argument; }
  llvm::StringRef getDescription() const override { return pass_.description; }
  llvm::StringRef getName() const override { return pass_.argument; }
  void getDependentDialects(mlir::DialectRegistry &registry) const override {
    registry.insert<ir::PlatenDialect>();
  }

  void runOnOperation() override {
    mlir::RewritePatternSet patterns(&getContext());
    pass_.populate(patterns);
    mlir::GreedyRewriteConfig config;
    config.useTopDownTraversal = true;
    if (mlir::failed(
            mlir::applyPatternsAndFoldGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }

private:
  FusePass pass_;
};

} // namespace

llvm::ArrayRef<FusePass> fusePasses() {
  static const FusePass kPasses[] = {
      {"platen-fuse-rms-norm", "recognise root-mean-square normalisation", populateFuseRmsNorm},
      {"platen-fuse-attention", "fuse per-head norm, RoPE and scaling with paged attention",
       populateFuseAttention},
      {"platen-fuse-qkv", "fuse the projections that feed an attention into one matmul",
       populateFuseQkv},
      {"platen-fuse-matmul", "fuse matmuls with their elementwise epilogue", populateFuseMatmul},
      {"platen-fuse-embedding", "fuse the embedding gather with its scale", populateFuseEmbedding},
      {"platen-fuse-rows", "fuse neighbouring row-wise ops", populateFuseRows},
  };
  return kPasses;
}

std::unique_ptr<mlir::Pass> createFusePass(const FusePass &pass) {
  return std::make_unique<PatternPass>(pass);
}

void registerFusePasses() {
  for (const FusePass &pass : fusePasses())
    mlir::registerPass([&pass] { return createFusePass(pass); });
}

} // namespace platen::compiler
