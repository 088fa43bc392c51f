// platen-fuse-rms-norm: the decompositions of RMSNorm that exporters write become platen.rms_norm.
//
//   mean  = reduce_mean(x² over the last axis, keepdims)        x² as pow(x, 2) or mul(x, x)
//   root  = sqrt(mean + ε)
//   unit  = x · reciprocal(root) | x · (1 / root) | x / root | x · pow(mean + ε, -0.5)
//   y     = unit · w | w · unit                                 w [C]
#include "compiler/fuse/fuse.h"
#include "compiler/fuse/match.h"
#include "ops/ir/adaptor.h"

namespace platen::compiler {

namespace {

/// The x whose mean square `value` is, over the last axis with keepdims; null if it is none.
mlir::Value meanSquareOf(mlir::Value value) {
  mlir::Operation *mean = definedBy(value, "reduce_mean");
  if (mean == nullptr || mlir::cast<mlir::RankedTensorType>(value.getType()).getShape().back() != 1)
    return {};
  mlir::Value square = mean->getOperand(0);
  auto squareType = mlir::cast<mlir::RankedTensorType>(square.getType());
  auto meanType = mlir::cast<mlir::RankedTensorType>(value.getType());
  if (squareType.getRank() != meanType.getRank() || squareType.getShape().back() == 1 ||
      squareType.getShape().drop_back() != meanType.getShape().drop_back())
    return {};
  if (mlir::Operation *pow = definedBy(square, "pow"))
    return scalarConstant(pow->getOperand(1)) == 2.0 ? pow->getOperand(0) : mlir::Value();
  if (mlir::Operation *mul = definedBy(square, "mul"))
    return mul->getOperand(0) == mul->getOperand(1) ? mul->getOperand(0) : mlir::Value();
  return {};
}

struct MeanSquare {
  mlir::Value x;
  double epsilon;
};

std::optional<MeanSquare> shiftedMeanSquareOf(mlir::Value value) {
  mlir::Operation *add = definedBy(value, "add");
  for (int side : {0, 1}) {
    if (add == nullptr)
      break;
    auto epsilon = scalarConstant(add->getOperand(side));
    if (mlir::Value x = epsilon ? meanSquareOf(add->getOperand(1 - side)) : mlir::Value())
      return MeanSquare{x, *epsilon};
  }
  return std::nullopt;
}

std::optional<MeanSquare> rootOf(mlir::Value value) {
  mlir::Operation *sqrt = definedBy(value, "sqrt");
  return sqrt != nullptr ? shiftedMeanSquareOf(sqrt->getOperand(0)) : std::nullopt;
}

/// 1 / root.
std::optional<MeanSquare> inverseRootOf(mlir::Value value) {
  if (mlir::Operation *reciprocal = definedBy(value, "reciprocal"))
    return rootOf(reciprocal->getOperand(0));
  if (mlir::Operation *div = definedBy(value, "div"))
    return scalarConstant(div->getOperand(0)) == 1.0 ? rootOf(div->getOperand(1)) : std::nullopt;
  if (mlir::Operation *pow = definedBy(value, "pow"))
    return scalarConstant(pow->getOperand(1)) == -0.5 ? shiftedMeanSquareOf(pow->getOperand(0))
                                                      : std::nullopt;
  return std::nullopt;
}

/// x · (1 / root) or x / root.
std::optional<MeanSquare> unitOf(mlir::Value value) {
  if (mlir::Operation *div = definedBy(value, "div")) {
    auto root = rootOf(div->getOperand(1));
    return root && root->x == div->getOperand(0) ? root : std::nullopt;
  }
  mlir::Operation *mul = definedBy(value, "mul");
  for (int side : {0, 1}) {
    if (mul == nullptr)
      break;
    auto inverse = inverseRootOf(mul->getOperand(side));
    if (inverse && inverse->x == mul->getOperand(1 - side))
      return inverse;
  }
  return std::nullopt;
}

bool isColumn(mlir::Value scale, mlir::Value x) {
  auto type = mlir::cast<mlir::RankedTensorType>(scale.getType());
  return type.getRank() == 1 &&
         type.getShape()[0] == mlir::cast<mlir::RankedTensorType>(x.getType()).getShape().back();
}

struct FuseRmsNorm : mlir::RewritePattern {
  explicit FuseRmsNorm(mlir::MLIRContext *context) : RewritePattern("platen.mul", 1, context) {}

  mlir::LogicalResult matchAndRewrite(mlir::Operation *op,
                                      mlir::PatternRewriter &rewriter) const override {
    for (int side : {0, 1}) {
      auto unit = unitOf(op->getOperand(side));
      mlir::Value scale = op->getOperand(1 - side);
      if (!unit || !isColumn(scale, unit->x))
        continue;
      auto norm = ir::createOp(rewriter, op->getLoc(), "rms_norm", {unit->x, scale},
                               {{"epsilon", unit->epsilon}});
      if (!norm)
        return rewriter.notifyMatchFailure(op, norm.status().toString());
      rewriter.replaceOp(op, *norm);
      return mlir::success();
    }
    return mlir::failure();
  }
};

} // namespace

void populateFuseRmsNorm(mlir::RewritePatternSet &patterns) {
  patterns.add<FuseRmsNorm>(patterns.getContext());
}

} // namespace platen::compiler
