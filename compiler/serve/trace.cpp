#include "compiler/serve/trace.h"
#include "ops/ir/adaptor.h"

#include "llvm/ADT/StringSwitch.h"

namespace platen::compiler::serve {

using ops::Tensor;

namespace {

/// Ops that move (or negate) elements of their first operands.
bool isMovement(llvm::StringRef name) {
  return llvm::StringSwitch<bool>(name)
      .Cases("reshape", "transpose", "squeeze", "unsqueeze", "expand", "slice", "split", "concat",
             "neg", true)
      .Default(false);
}

class Tracer {
public:
  Tracer(const Evaluation &evaluation, mlir::Value source, bool throughScales)
      : evaluation_(evaluation), throughScales_(throughScales) {
    ops::TensorType type{ops::DType::kF64, {}};
    for (const Extent &extent : evaluation.extents(source))
      type.dims.push_back(extent[0]);
    Tensor numbers(type);
    for (int64_t i = 0; i < numbers.elementCount(); ++i)
      numbers.set(i, static_cast<double>(i + 1));
    traced_[source] = std::make_shared<Tensor>(std::move(numbers));
  }

  std::shared_ptr<Tensor> trace(mlir::Value value) {
    if (auto found = traced_.find(value); found != traced_.end())
      return found->second;
    if (mlir::Value behind = behindCasts(value); behind != value)
      return traced_[value] = trace(behind);
    if (throughScales_)
      if (auto scaled = scaledBy(evaluation_, value))
        return traced_[value] = trace(scaled->value);
    mlir::Operation *op = value.getDefiningOp();
    if (!op || !isMovement(op->getName().stripDialect()) || !evaluate(op))
      return traced_[value] = nullptr;
    return traced_[value];
  }

private:
  bool evaluate(mlir::Operation *op) {
    std::vector<std::shared_ptr<Tensor>> held;
    std::vector<const Tensor *> inputs;
    for (mlir::Value operand : op->getOperands()) {
      if (mlir::isa<mlir::NoneType>(operand.getType())) {
        inputs.push_back(nullptr);
      } else if (evaluation_.isData(operand)) {
        if (!held.emplace_back(trace(operand)))
          return false;
        inputs.push_back(held.back().get());
      } else {
        inputs.push_back(evaluation_.valueAt(0, operand));
        if (!inputs.back())
          return false;
      }
    }
    llvm::StringRef name = op->getName().stripDialect();
    const ops::OpSpec *spec = ops::findOp({name.data(), name.size()});
    auto results = ops::evaluate(*spec, inputs, ir::toAttributes(*spec, op->getAttrDictionary()));
    if (!results.isOk())
      return false;
    for (auto [result, tensor] : llvm::zip(op->getResults(), *results))
      traced_[result] = std::make_shared<Tensor>(std::move(tensor));
    return true;
  }

  const Evaluation &evaluation_;
  bool throughScales_;
  llvm::DenseMap<mlir::Value, std::shared_ptr<Tensor>> traced_;
};

} // namespace

mlir::Value behindCasts(mlir::Value value) {
  while (mlir::Operation *op = value.getDefiningOp()) {
    bool keeps = op->getName().stripDialect() == "cast" &&
                 mlir::getElementTypeOrSelf(op->getOperand(0)) == mlir::getElementTypeOrSelf(value);
    if (!keeps)
      break;
    value = op->getOperand(0);
  }
  return value;
}

std::optional<Scaled> scaledBy(const Evaluation &evaluation, mlir::Value value) {
  mlir::Operation *op = value.getDefiningOp();
  if (!op)
    return std::nullopt;
  llvm::StringRef name = op->getName().stripDialect();
  if (name != "mul" && name != "div")
    return std::nullopt;
  if (auto factor = evaluation.scalar(op->getOperand(1));
      factor && evaluation.isData(op->getOperand(0)))
    return Scaled{op->getOperand(0), name == "mul" ? *factor : 1 / *factor};
  if (auto factor = evaluation.scalar(op->getOperand(0)); factor && name == "mul")
    return Scaled{op->getOperand(1), *factor};
  return std::nullopt;
}

std::optional<Tensor> traceElements(const Evaluation &evaluation, mlir::Value target,
                                    mlir::Value source, bool throughScales) {
  auto traced = Tracer(evaluation, source, throughScales).trace(target);
  if (!traced)
    return std::nullopt;
  return *traced;
}

} // namespace platen::compiler::serve
