// See size.md.
#include "ops/size/size.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

InferResult infer(const InferContext &) { return std::vector{TensorType{DType::kI64, {}}}; }

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return std::vector{Tensor::scalarI64(inputs[0]->elementCount())};
}

std::optional<Tensor> valueFromTypes(const InferContext &context) {
  const int64_t count = productOf(context.types[0]->dims);
  return count == kDynamic ? std::nullopt : std::optional(Tensor::scalarI64(count));
}

base::Status lower(loops::Lowering &op) {
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates) {
    return s.size(base::productOf(op.operand(0).dims));
  });
}

} // namespace

const OpSpec kSize{
    .name = "size",
    .operands = {{"x"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Size", 1}},
    .valueFromTypes = valueFromTypes,
    .loops = lower,
};

} // namespace platen::ops
