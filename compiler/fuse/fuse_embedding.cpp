// platen-fuse-embedding: the gather of token rows and the scale behind it become one region
// "embedding".
#include "compiler/fuse/fuse.h"
#include "compiler/fuse/match.h"
#include "compiler/fuse/outline.h"

namespace platen::compiler {

namespace {

struct FuseEmbedding : mlir::RewritePattern {
  FuseEmbedding(llvm::StringRef op, mlir::MLIRContext *context) : RewritePattern(op, 1, context) {}

  mlir::LogicalResult matchAndRewrite(mlir::Operation *op,
                                      mlir::PatternRewriter &rewriter) const override {
    if (!isTopLevel(op) || !isWeight(op->getOperand(0)))
      return mlir::failure();
    llvm::SmallVector<mlir::Operation *> ops{op};
    if (op->hasOneUse()) {
      mlir::Operation *user = *op->user_begin();
      if (isOp(user, "mul") &&
          (scalarConstant(user->getOperand(0)) || scalarConstant(user->getOperand(1))))
        ops.push_back(user);
    }
    outline(rewriter, ops, "embedding");
    return mlir::success();
  }
};

} // namespace

void populateFuseEmbedding(mlir::RewritePatternSet &patterns) {
  patterns.add<FuseEmbedding>("platen.gather", patterns.getContext());
  patterns.add<FuseEmbedding>("platen.gather_block_quantized", patterns.getContext());
}

} // namespace platen::compiler
