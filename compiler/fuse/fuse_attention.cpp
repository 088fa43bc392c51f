// platen-fuse-attention: paged attention and what shapes its q, k and v becomes one region of kind
// "attention".
//
// Operands are followed back through one use each: reshape of [T, n·d] to [T, n, d], rms_norm over
// d, rope, and multiplication by a scalar. The reshape back to [T, n·d] behind it joins too. Inputs
// and result of the region are then 2-D, as the projections make and read them.
#include "compiler/fuse/fuse.h"
#include "compiler/fuse/match.h"
#include "compiler/fuse/outline.h"
#include "ops/ir/adaptor.h"

#include <algorithm>

namespace platen::compiler {

namespace {

using Ops = llvm::SmallVector<mlir::Operation *>;

int64_t rankOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType()).getRank();
}

/// With one head, exporters norm [T, d] before they reshape it to [T, 1, d]: that norm joins too.
/// (With more heads a norm over [T, n·d] is another operation.)
void collectSingleHeadNorm(mlir::Operation *reshape, Ops &chain) {
  mlir::Value value = reshape->getOperand(0);
  mlir::Operation *norm = definedBy(value, "rms_norm");
  auto shape = mlir::cast<mlir::RankedTensorType>(reshape->getResult(0).getType()).getShape();
  if (norm != nullptr && value.hasOneUse() && shape[1] == 1)
    chain.push_back(norm);
}

/// Collects the chain that makes one attention operand; false unless it starts at a 2-D value.
bool collectChain(mlir::Value value, Ops &chain) {
  while (mlir::Operation *op = value.getDefiningOp()) {
    if (!value.hasOneUse())
      return false;
    if (isOp(op, "reshape") && rankOf(op->getOperand(0)) == 2) {
      chain.push_back(op);
      collectSingleHeadNorm(op, chain);
      return true;
    }
    int next = 0;
    if (isOp(op, "mul") && scalarConstant(op->getOperand(0)))
      next = 1;
    else if (!isOp(op, "rms_norm") && !isOp(op, "rope") &&
             !(isOp(op, "mul") && scalarConstant(op->getOperand(1))))
      return false;
    chain.push_back(op);
    value = op->getOperand(next);
  }
  return false;
}

struct FuseAttention : mlir::RewritePattern {
  explicit FuseAttention(mlir::MLIRContext *context)
      : RewritePattern("platen.paged_attention", 1, context) {}

  mlir::LogicalResult matchAndRewrite(mlir::Operation *op,
                                      mlir::PatternRewriter &rewriter) const override {
    if (!isTopLevel(op))
      return mlir::failure();
    Ops ops{op};
    for (int operand : {0, 1, 2})
      if (!collectChain(op->getOperand(operand), ops))
        return rewriter.notifyMatchFailure(op,
                                           "an operand does not come from a [T, n*d] projection");
    mlir::Value result = op->getResult(0);
    if (!result.hasOneUse() || !isOp(*result.user_begin(), "reshape") ||
        rankOf(result.user_begin()->getResult(0)) != 2)
      return rewriter.notifyMatchFailure(op, "the result is not flattened to [T, n*d]");
    ops.push_back(*result.user_begin());
    std::sort(ops.begin(), ops.end(),
              [](mlir::Operation *a, mlir::Operation *b) { return a->isBeforeInBlock(b); });
    outline(rewriter, ops, "attention");
    return mlir::success();
  }
};

/// reshape(select_rows(x [T, n, d]), [R, n·d]) → select_rows(reshape(x, [T, n·d])): the last
/// attention is then flattened like every other, whatever rows are asked for behind it.
struct FlattenBeforeSelection : mlir::RewritePattern {
  explicit FlattenBeforeSelection(mlir::MLIRContext *context)
      : RewritePattern("platen.reshape", 1, context) {}

  mlir::LogicalResult matchAndRewrite(mlir::Operation *op,
                                      mlir::PatternRewriter &rewriter) const override {
    mlir::Operation *select = definedBy(op->getOperand(0), "select_rows");
    if (select == nullptr || !isTopLevel(op) || rankOf(op->getOperand(0)) != 3 ||
        rankOf(op->getResult(0)) != 2)
      return mlir::failure();
    int64_t columns = mlir::cast<mlir::RankedTensorType>(op->getResult(0).getType()).getShape()[1];
    rewriter.setInsertionPoint(select);
    const int64_t dims[] = {-1, columns};
    auto shape = rewriter.create<ir::ConstantOp>(
        op->getLoc(), ir::toMlirConstant(getContext(), ops::Tensor::vectorI64(dims)));
    auto flat = ir::createOp(rewriter, op->getLoc(), "reshape",
                             {select->getOperand(0), shape.getResult()}, {});
    if (!flat)
      return rewriter.notifyMatchFailure(op, flat.status().toString());
    auto rows = ir::createOp(rewriter, select->getLoc(), "select_rows",
                             {(*flat)->getResult(0), select->getOperand(1)}, {});
    if (!rows)
      return rewriter.notifyMatchFailure(op, rows.status().toString());
    rewriter.replaceOp(op, *rows);
    return mlir::success();
  }
};

} // namespace

void populateFuseAttention(mlir::RewritePatternSet &patterns) {
  patterns.add<FlattenBeforeSelection, FuseAttention>(patterns.getContext());
}

} // namespace platen::compiler
