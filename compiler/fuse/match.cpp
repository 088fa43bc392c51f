// See match.h.
#include "compiler/fuse/match.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include "llvm/ADT/StringSet.h"

namespace platen::compiler {

bool isOp(mlir::Operation *op, llvm::StringRef name) {
  return op != nullptr && op->getName().getDialectNamespace() == "platen" &&
         op->getName().stripDialect() == name;
}

mlir::Operation *definedBy(mlir::Value value, llvm::StringRef name) {
  mlir::Operation *op = value.getDefiningOp();
  return isOp(op, name) ? op : nullptr;
}

std::optional<double> scalarConstant(mlir::Value value) {
  auto constant = value.getDefiningOp<ir::ConstantOp>();
  if (!constant || mlir::cast<mlir::ShapedType>(constant.getType()).getNumElements() != 1)
    return std::nullopt;
  return ir::constantValue(value)->get(0);
}

bool isElementwise(mlir::Operation *op) {
  static const llvm::StringSet<> kNames = {"add",  "sub",  "mul",     "div",        "pow", "neg",
                                           "abs",  "sqrt", "exp",     "reciprocal", "log", "erf",
                                           "tanh", "max",  "sigmoid", "min",        "gelu"};
  if (op == nullptr || op->getName().getDialectNamespace() != "platen" ||
      !kNames.contains(op->getName().stripDialect()))
    return false;
  auto type = mlir::dyn_cast<mlir::RankedTensorType>(op->getResult(0).getType());
  if (!type || !mlir::isa<mlir::FloatType>(type.getElementType()))
    return false;
  return !isOp(op, "pow") || scalarConstant(op->getOperand(1)).has_value();
}

bool isWeight(mlir::Value value) {
  while (mlir::Operation *op = value.getDefiningOp()) {
    if (mlir::isa<ir::WeightOp>(op))
      return true;
    if (!isOp(op, "transpose") && !isOp(op, "reshape"))
      return false;
    value = op->getOperand(0);
  }
  return false;
}

bool isWeightMatmul(mlir::Operation *op) {
  return isOp(op, "matmul_nbits") || (isOp(op, "matmul") && isWeight(op->getOperand(1)));
}

bool isTopLevel(mlir::Operation *op) { return !op->getParentOfType<ir::FusedOp>(); }

} // namespace platen::compiler
