// See flatten.md for the contract.
#include "ops/flatten/flatten.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

base::Result<std::vector<int64_t>> resultDims(const TensorType &x, const Attributes &attributes) {
  int64_t axis = intAttribute(attributes, "axis"), rank = x.rank();
  if (axis < -rank || axis > rank)
    return base::invalidArgument("C1: axis is " + std::to_string(axis) + ", which lies outside [-" +
                                 std::to_string(rank) + ", " + std::to_string(rank) + "]");
  auto split = static_cast<size_t>(axis < 0 ? axis + rank : axis);
  return std::vector<int64_t>{productOf(std::span(x.dims).first(split)),
                              productOf(std::span(x.dims).subspan(split))};
}

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims,
                          resultDims(*context.types[0], context.attributes));
  return std::vector{TensorType{context.types[0]->dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x.type(), attributes));
  std::vector<Tensor> results;
  results.emplace_back(TensorType{x.dtype(), std::move(dims)}).copyFrom(x, 0, 0, x.elementCount());
  return results;
}

} // namespace

const OpSpec kFlatten{
    .name = "flatten",
    .operands = {{"x"}},
    .attributes = {{"axis", int64_t{1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Flatten", 1}},
    .loops = [](loops::Lowering &op) { return op.copy(op.operand(0), op.result(0)); },
};

} // namespace platen::ops
