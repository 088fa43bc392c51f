// See constant_of_shape.md for the contract.
#include "ops/constant_of_shape/constant_of_shape.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

const Tensor &valueOf(const Attributes &attributes) {
  return std::get<Tensor>(attributes.find("value")->second);
}

InferResult infer(const InferContext &context) {
  const TensorType &shape = *context.types[0];
  const Tensor &value = valueOf(context.attributes);
  if (shape.rank() != 1 || shape.dtype != DType::kI64 || shape.dims[0] == kDynamic)
    return invalidArgument("C1: I1 is " + shape.toString() +
                           "; it must be an i64 vector of known length");
  if (value.elementCount() != 1)
    return invalidArgument("C2: value is " + value.type().toString() + "; it must be one element");
  std::vector<int64_t> dims(static_cast<size_t>(shape.dims[0]), kDynamic);
  if (context.values[0])
    dims = context.values[0]->toInts();
  for (int64_t dim : dims)
    if (context.values[0] && dim < 0)
      return invalidArgument("C3: I1 holds " + std::to_string(dim) +
                             "; a dimension must be 0 or more");
  return std::vector{TensorType{value.dtype(), std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &value = valueOf(attributes);
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{value.dtype(), inputs[0]->toInts()});
  for (int64_t i = 0, count = y.elementCount(); i < count; ++i)
    y.copyFrom(value, 0, i, 1);
  return results;
}

Result<OpCall> fromConstantOfShape(const OnnxNode &node) {
  auto found = node.attributes.find("value");
  Tensor zero(TensorType{DType::kF32, {1}});
  return OpCall{{OnnxOperand::ofInput(0)},
                {{"value", found == node.attributes.end() ? Attribute(zero) : found->second}},
                {0}};
}

base::Status lower(loops::Lowering &op) {
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates) {
    return s.literal(valueOf(op.attributes()));
  });
}

} // namespace

const OpSpec kConstantOfShape{
    .name = "constant_of_shape",
    .operands = {{"shape"}},
    .attributes = {{"value", Tensor(), true}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "ConstantOfShape", 9, std::numeric_limits<int64_t>::max(), fromConstantOfShape}},
    .loops = lower,
};

} // namespace platen::ops
