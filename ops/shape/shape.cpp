// See shape.md for the contract. Known as soon as the dimensions are, whatever I1's elements.
#include "ops/shape/shape.h"
#include "ops/elementwise.h"

#include <algorithm>

namespace platen::ops {
namespace {

std::vector<int64_t> slice(std::span<const int64_t> dims, const Attributes &attributes) {
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
  auto count = static_cast<int64_t>(slice(context.types[0]->dims, context.attributes).size());
  return std::vector{TensorType{DType::kI64, {count}}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return std::vector{Tensor::vectorI64(slice(inputs[0]->dims(), attributes))};
}

std::optional<Tensor> valueFromTypes(const InferContext &context) {
  std::vector<int64_t> dims = slice(context.types[0]->dims, context.attributes);
  if (std::find(dims.begin(), dims.end(), kDynamic) != dims.end())
    return std::nullopt;
  return Tensor::vectorI64(dims);
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
};

} // namespace platen::ops
