// See reshape.md for the contract.
#include "ops/reshape/reshape.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

std::string listText(std::span<const int64_t> values) {
  std::string text("[");
  for (int64_t value : values) {
    if (text.size() > 1)
      text += ',';
    text += std::to_string(value);
  }
  return text + "]";
}

/// The target with 0 and -1 resolved; dimensions that only a run knows are kDynamic.
Result<std::vector<int64_t>> resolve(const TensorType &x, std::vector<int64_t> target,
                                     bool allowZero) {
  std::string text = listText(target);
  size_t inferred = target.size();
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] < -1)
      return invalidArgument("C2: I2 is " + text + "; a dimension must be -1 or more");
    if (target[i] == -1 && inferred != target.size())
      return invalidArgument("C3: I2 is " + text + "; only one dimension may be -1");
    if (target[i] == -1)
      inferred = i;
    if (target[i] == 0 && !allowZero) {
      if (i >= x.dims.size())
        return invalidArgument("C4: I2 is " + text + ", but I1 " + x.toString() + " has no axis " +
                               std::to_string(i) + " to copy");
      target[i] = x.dims[i];
    }
  }
  if (inferred != target.size())
    target[inferred] = 1;
  int64_t have = productOf(x.dims), wanted = productOf(target);
  if (inferred != target.size()) {
    if (have == kDynamic || wanted == kDynamic) {
      target[inferred] = kDynamic;
      return target;
    }
    if (wanted == 0 || have % wanted != 0)
      return invalidArgument("C5: " + x.toString() + " does not divide into " + text);
    target[inferred] = have / wanted;
    return target;
  }
  if (!mayEqual(have, wanted))
    return invalidArgument("C5: " + x.toString() + " has " + std::to_string(have) + " elements, " +
                           text + " has " + std::to_string(wanted));
  return target;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &shape = *context.types[1];
  if (shape.rank() != 1 || shape.dtype != DType::kI64 || shape.dims[0] == kDynamic)
    return invalidArgument("C1: I2 is " + shape.toString() +
                           "; it must be an i64 vector of known length");
  if (!context.values[1])
    return std::vector{
        TensorType{x.dtype, std::vector<int64_t>(static_cast<size_t>(shape.dims[0]), kDynamic)}};
  PLATEN_ASSIGN_OR_RETURN(
      std::vector<int64_t> dims,
      resolve(x, context.values[1]->toInts(), intAttribute(context.attributes, "allowzero") != 0));
  return std::vector{TensorType{x.dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(
      std::vector<int64_t> dims,
      resolve(x.type(), inputs[1]->toInts(), intAttribute(attributes, "allowzero") != 0));
  std::vector<Tensor> results;
  results.emplace_back(TensorType{x.dtype(), std::move(dims)}).copyFrom(x, 0, 0, x.elementCount());
  return results;
}

Result<OpCall> fromAttribute(const OnnxNode &node) {
  return OpCall{{OnnxOperand::ofInput(0), intsAsOperand(node, "shape")}, {}, {0}};
}

} // namespace

const OpSpec kReshape{
    .name = "reshape",
    .operands = {{"x"}, {"shape"}},
    .attributes = {{"allowzero", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Reshape", 5}, {"", "Reshape", 1, 4, fromAttribute}},
    .loops = [](loops::Lowering &op) { return op.copy(op.operand(0), op.result(0)); },
};

} // namespace platen::ops
