// See gather.md for the contract. Embedding lookup is this operator with axis 0.
#include "ops/gather/gather.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &indices = *context.types[1];
  if (indices.dtype != DType::kI64 && indices.dtype != DType::kI32)
    return invalidArgument("C1: I2 is " + indices.toString() + "; it must be i64 or i32");
  auto axis = normalizeAxis(intAttribute(context.attributes, "axis"), x.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  TensorType result{x.dtype, {x.dims.begin(), x.dims.begin() + *axis}};
  result.dims.insert(result.dims.end(), indices.dims.begin(), indices.dims.end());
  result.dims.insert(result.dims.end(), x.dims.begin() + *axis + 1, x.dims.end());
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &indices = *inputs[1];
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis, normalizeAxis(intAttribute(attributes, "axis"), x.type().rank(), "C2: axis"));
  auto along = static_cast<size_t>(axis);
  int64_t length = x.dims()[along], outer = productOf(x.dims().first(along)),
          inner = productOf(x.dims().subspan(along + 1)), count = indices.elementCount();
  TensorType type{x.dtype(), {x.dims().begin(), x.dims().begin() + axis}};
  type.dims.insert(type.dims.end(), indices.dims().begin(), indices.dims().end());
  type.dims.insert(type.dims.end(), x.dims().begin() + axis + 1, x.dims().end());
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(std::move(type));
  for (int64_t i = 0; i < count; ++i) {
    int64_t index = indices.getInt(i);
    if (index < -length || index >= length)
      return invalidArgument("C3: index " + std::to_string(index) + " lies outside the " +
                             std::to_string(length) + " elements of axis " + std::to_string(axis));
    index += index < 0 ? length : 0;
    for (int64_t o = 0; o < outer; ++o)
      y.copyFrom(x, (o * length + index) * inner, (o * count + i) * inner, inner);
  }
  return results;
}

/// An index that lies outside gives 0: nothing beyond I1 is read.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), indices = op.operand(1);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  const auto along = static_cast<size_t>(axis);
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value length = s.dim(x, along),
                       index =
                           s.wrapped(s.load(indices, at.subspan(along, indices.rank())), length),
                       inside = s.isInside(index, length);
    std::vector<loops::Value> own(at.begin(), at.begin() + axis);
    own.push_back(s.select(inside, index, s.integer(0)));
    const auto behind = at.subspan(along + indices.rank());
    own.insert(own.end(), behind.begin(), behind.end());
    return s.select(inside, s.load(x, own), s.number(x.kind(), 0));
  });
}

} // namespace

const OpSpec kGather{
    .name = "gather",
    .operands = {{"x"}, {"indices"}},
    .attributes = {{"axis", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Gather", 1}},
    .loops = lower,
};

} // namespace platen::ops
