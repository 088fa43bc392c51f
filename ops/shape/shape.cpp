// See shape.md for the contract. Known as soon as the dimensions are, whatever I1's elements.
#include "ops/shape/shape.h"
#include "ops/elementwise.h"

#include <algorithm>

namespace platen::ops {
namespace {

/// The dimensions from `start` to `end`.
template <typename Dim>
std::vector<Dim> slice(std::span<const Dim> dims, const Attributes &attributes) {
  auto rank = static_cast<int64_t>(dims.size());
  auto clamp = [&](int64_t bound) {
    return std::clamp(bound < 0 && bound >= -rank ? bound + rank : bound, int64_t{0}, rank);
  };
  int64_t start = clamp(intAttribute(attributes, "start"));
  int64_t end = clamp(intAttribute(attributes, "end"));
  if (end <= start)
    return {};
  return {dims.begin() + start, dims.begin() + end};
}

InferResult infer(const InferContext &context) {
  auto count =
      static_cast<int64_t>(slice<int64_t>(context.types[0]->dims, context.attributes).size());
  return std::vector{TensorType{DType::kI64, {count}}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return std::vector{Tensor::vectorI64(slice(inputs[0]->dims(), attributes))};
}

std::optional<Tensor> valueFromTypes(const InferContext &context) {
  std::vector<int64_t> dims = slice<int64_t>(context.types[0]->dims, context.attributes);
  if (std::find(dims.begin(), dims.end(), kDynamic) != dims.end())
    return std::nullopt;
  return Tensor::vectorI64(dims);
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  const std::vector<base::Size> dims = slice<base::Size>(x.dims, op.attributes());
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    loops::Value value = s.integer(0);
    for (size_t i = 0; i < dims.size(); ++i)
      value = s.select(s.equal(at[0], s.integer(static_cast<int64_t>(i))), s.size(dims[i]), value);
    return value;
  });
}

} // namespace

const OpSpec kShape{
    .name = "shape",
    .operands = {{"x"}},
    .attributes = {{"start", int64_t{0}}, {"end", std::numeric_limits<int64_t>::max()}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Shape", 1}},
    .valueFromTypes = valueFromTypes,
    .loops = lower,
};

} // namespace platen::ops
