// platen-fuse-qkv: the projections that feed one "attention" become one region "qkv" with results
// q, k, v.
//
// Either three matmuls by weights that share their input, or one matmul whose result a split cuts
// into q, k, v. One kernel then streams all three weights and writes them side by side, as the
// attention's first kernel reads them.
#include "compiler/fuse/fuse.h"
#include "compiler/fuse/match.h"
#include "compiler/fuse/outline.h"

#include <algorithm>
#include <array>

namespace platen::compiler {

namespace {

/// The region's outer inputs that become q, k and v.
std::array<mlir::Value, 3> projectionsOf(ir::FusedOp attention) {
  std::array<mlir::Value, 3> inputs;
  for (mlir::Operation &op : attention.getBody().front()) {
    if (!isOp(&op, "paged_attention"))
      continue;
    for (int i : {0, 1, 2}) {
      mlir::Value value = op.getOperand(i);
      while (mlir::Operation *def = value.getDefiningOp())
        value = def->getOperand(isOp(def, "mul") && scalarConstant(def->getOperand(0)) ? 1 : 0);
      inputs[i] = attention.getInputs()[mlir::cast<mlir::BlockArgument>(value).getArgNumber()];
    }
  }
  return inputs;
}

struct FuseQkv : mlir::OpRewritePattern<ir::FusedOp> {
  using OpRewritePattern::OpRewritePattern;

  mlir::LogicalResult matchAndRewrite(ir::FusedOp attention,
                                      mlir::PatternRewriter &rewriter) const override {
    if (attention.getKind() != "attention")
      return mlir::failure();
    std::array<mlir::Value, 3> qkv = projectionsOf(attention);
    llvm::SmallVector<mlir::Operation *> ops;
    for (mlir::Value value : qkv) {
      mlir::Operation *op = value.getDefiningOp();
      if (op == nullptr || !value.hasOneUse())
        return mlir::failure();
      if (!llvm::is_contained(ops, op))
        ops.push_back(op);
    }
    if (ops.size() == 1) {
      mlir::Operation *matmul = ops[0]->getOperand(0).getDefiningOp();
      if (!isOp(ops[0], "split") || ops[0]->getNumResults() != 3 || !isWeightMatmul(matmul) ||
          !matmul->hasOneUse())
        return mlir::failure();
      ops.insert(ops.begin(), matmul);
    } else if (ops.size() != 3 || !llvm::all_of(ops, [&](mlir::Operation *op) {
                 return isWeightMatmul(op) && op->getOperand(0) == ops[0]->getOperand(0);
               })) {
      return mlir::failure();
    }
    std::sort(ops.begin(), ops.end(),
              [](mlir::Operation *a, mlir::Operation *b) { return a->isBeforeInBlock(b); });
    outline(rewriter, ops, "qkv", qkv);
    return mlir::success();
  }
};

} // namespace

void populateFuseQkv(mlir::RewritePatternSet &patterns) {
  patterns.add<FuseQkv>(patterns.getContext());
}

} // namespace platen::compiler
