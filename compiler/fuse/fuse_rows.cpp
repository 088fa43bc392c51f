// platen-fuse-rows: row-wise ops that no other region took become regions "rows".
//
// Row-wise: elementwise ops and rms_norm over values [T, …, C] of one type, with columns [C] and
// scalars. A region grows from its first op in block order; an op joins if it reads a value of the
// region and no op outside that stands before it uses one. So Gemma's  h' = h + norm(x)·w1; y =
// norm(h')·w2  is one kernel with two results.
#include "compiler/fuse/fuse.h"
#include "compiler/fuse/match.h"
#include "compiler/fuse/outline.h"

namespace platen::compiler {

namespace {

bool isColumnOrScalar(mlir::Value value, mlir::RankedTensorType row) {
  if (scalarConstant(value))
    return true;
  auto type = mlir::cast<mlir::RankedTensorType>(value.getType());
  bool constant = isWeight(value) || mlir::isa_and_nonnull<ir::ConstantOp>(value.getDefiningOp());
  return constant && type.getRank() == 1 && type.getShape()[0] == row.getShape().back();
}

bool isRowWise(mlir::Operation *op) {
  if (!isTopLevel(op) || (!isElementwise(op) && !isOp(op, "rms_norm")))
    return false;
  auto type = mlir::cast<mlir::RankedTensorType>(op->getResult(0).getType());
  if (type.getRank() < 2 || mlir::ShapedType::isDynamic(type.getShape().back()))
    return false;
  return llvm::all_of(op->getOperands(), [&](mlir::Value operand) {
    return operand.getType() == type || isColumnOrScalar(operand, type);
  });
}

struct FuseRows : mlir::RewritePattern {
  explicit FuseRows(mlir::MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}

  mlir::LogicalResult matchAndRewrite(mlir::Operation *first,
                                      mlir::PatternRewriter &rewriter) const override {
    if (!isRowWise(first))
      return mlir::failure();
    llvm::SmallVector<mlir::Operation *> members{first};
    auto reads = [&](mlir::Operation *op) {
      return llvm::any_of(op->getOperands(), [&](mlir::Value operand) {
        return llvm::is_contained(members, operand.getDefiningOp());
      });
    };
    for (mlir::Operation *op = first->getNextNode(); op != nullptr; op = op->getNextNode()) {
      if (!reads(op))
        continue;
      if (!isRowWise(op) || op->getResult(0).getType() != first->getResult(0).getType())
        break; // a reader outside: what stands behind it cannot join
      members.push_back(op);
    }
    outline(rewriter, members, "rows");
    return mlir::success();
  }
};

} // namespace

void populateFuseRows(mlir::RewritePatternSet &patterns) {
  patterns.add<FuseRows>(patterns.getContext());
}

} // namespace platen::compiler
