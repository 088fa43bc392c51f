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

ir::WeightOp weightOf(mlir::Value value) {
  while (mlir::Operation *op = value.getDefiningOp()) {
    if (auto weight = mlir::dyn_cast<ir::WeightOp>(op))
      return weight;
    if (!isOp(op, "transpose") && !isOp(op, "reshape"))
      break;
    value = op->getOperand(0);
  }
  return {};
}

mlir::Value outerValue(mlir::Value value) {
  auto argument = mlir::dyn_cast<mlir::BlockArgument>(value);
  if (!argument)
    return value;
  auto fused = mlir::dyn_cast<ir::FusedOp>(argument.getOwner()->getParentOp());
  return fused ? fused.getInputs()[argument.getArgNumber()] : value;
}

bool hasOperand(mlir::Operation *op, unsigned index) {
  return op->getNumOperands() > index &&
         !mlir::isa<mlir::NoneType>(op->getOperand(index).getType());
}

namespace {

/// The catalog's attribute row; the name is one that the op's contract has.
const ops::AttributeSpec &attributeSpec(mlir::Operation *op, llvm::StringRef name) {
  llvm::StringRef mnemonic = op->getName().stripDialect();
  const ops::OpSpec *spec = ops::findOp({mnemonic.data(), mnemonic.size()});
  return *llvm::find_if(spec->attributes, [&](const ops::AttributeSpec &row) {
    return row.name == std::string_view(name);
  });
}

} // namespace

int64_t intAttributeOf(mlir::Operation *op, llvm::StringRef name) {
  if (auto attribute = op->getAttrOfType<mlir::IntegerAttr>(name))
    return attribute.getInt();
  return std::get<int64_t>(attributeSpec(op, name).example);
}

double floatAttributeOf(mlir::Operation *op, llvm::StringRef name) {
  if (auto attribute = op->getAttrOfType<mlir::FloatAttr>(name))
    return attribute.getValueAsDouble();
  return std::get<double>(attributeSpec(op, name).example);
}

std::string nodeName(mlir::Operation *op) {
  if (auto name = op->getLoc()->findInstanceOf<mlir::NameLoc>())
    return "node '" + name.getName().str() + "'";
  return "an op without ONNX name";
}

bool isWeightMatmul(mlir::Operation *op) {
  return isOp(op, "matmul_nbits") || (isOp(op, "matmul") && isWeight(op->getOperand(1)));
}

bool isTopLevel(mlir::Operation *op) { return !op->getParentOfType<ir::FusedOp>(); }

} // namespace platen::compiler
