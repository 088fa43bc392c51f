// See gather_elements.md.
#include "ops/gather_elements/gather_elements.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<size_t> checked(const TensorType &x, const TensorType &indices,
                       const Attributes &attributes) {
  if (indices.dtype != DType::kI64 && indices.dtype != DType::kI32)
    return invalidArgument("C1: I2 is " + indices.toString() + "; it must be i64 or i32");
  auto axis = normalizeAxis(intAttribute(attributes, "axis"), x.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  bool fits = x.rank() == indices.rank();
  for (size_t i = 0; fits && i < x.dims.size(); ++i)
    fits = i == static_cast<size_t>(*axis) || x.dims[i] == kDynamic ||
           indices.dims[i] == kDynamic || indices.dims[i] <= x.dims[i];
  if (!fits)
    return invalidArgument("C3: I2 " + indices.toString() + " does not lie within I1 " +
                           x.toString());
  return static_cast<size_t>(*axis);
}

InferResult infer(const InferContext &context) {
  auto axis = checked(*context.types[0], *context.types[1], context.attributes);
  if (!axis)
    return axis.status();
  return std::vector{TensorType{context.types[0]->dtype, context.types[1]->dims}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &indices = *inputs[1];
  PLATEN_ASSIGN_OR_RETURN(const size_t axis, checked(x.type(), indices.type(), attributes));
  const int64_t length = x.dims()[axis];
  std::vector<int64_t> strides = stridesOf(x.dims());
  const int64_t along = strides[axis];
  strides[axis] = 0;
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{x.dtype(), indices.type().dims});
  StridedWalk walk(indices.dims(), {strides});
  for (int64_t i = 0; i < y.elementCount(); ++i, walk.next()) {
    const int64_t index = indices.getInt(i);
    if (index < -length || index >= length)
      return invalidArgument("C4: index " + std::to_string(index) + " lies outside the " +
                             std::to_string(length) + " elements of axis " + std::to_string(axis));
    y.copyFrom(x, walk.index(0) + (index < 0 ? index + length : index) * along, i, 1);
  }
  return results;
}

/// An index that lies outside gives 0: nothing beyond I1 is read.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value length = s.dim(x, static_cast<size_t>(axis)),
                       index = s.wrapped(s.load(op.operand(1), at), length);
    std::vector<loops::Value> own(at.begin(), at.end());
    own[static_cast<size_t>(axis)] = index;
    return s.loadWhere(s.isInside(index, length), x, own, s.number(x.kind(), 0));
  });
}

} // namespace

const OpSpec kGatherElements{
    .name = "gather_elements",
    .operands = {{"x"}, {"indices"}},
    .attributes = {{"axis", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "GatherElements", 11}},
    .loops = lower,
};

} // namespace platen::ops
