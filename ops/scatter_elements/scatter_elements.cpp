// See scatter_elements.md. Of equal positions the later update counts.
#include "ops/scatter_elements/scatter_elements.h"
#include "ops/scatter_update.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<size_t> checked(std::span<const TensorType *const> types, const Attributes &attributes) {
  const TensorType &x = *types[0], &indices = *types[1], &updates = *types[2];
  if ((indices.dtype != DType::kI64 && indices.dtype != DType::kI32) || updates.dtype != x.dtype)
    return invalidArgument("C1: I2 is " + indices.toString() + " and I3 " + updates.toString() +
                           "; they must be i64 or i32, resp. of I1's dtype");
  auto axis = normalizeAxis(intAttribute(attributes, "axis"), x.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  bool fits = x.rank() == indices.rank() && indices.rank() == updates.rank();
  for (size_t i = 0; fits && i < x.dims.size(); ++i)
    fits = mayEqual(indices.dims[i], updates.dims[i]) &&
           (i == static_cast<size_t>(*axis) || x.dims[i] == kDynamic ||
            indices.dims[i] == kDynamic || indices.dims[i] <= x.dims[i]);
  if (!fits)
    return invalidArgument("C3: I2 " + indices.toString() + " and I3 " + updates.toString() +
                           " do not lie within I1 " + x.toString());
  return static_cast<size_t>(*axis);
}

InferResult infer(const InferContext &context) {
  auto axis = checked(context.types, context.attributes);
  if (!axis)
    return axis.status();
  auto reduction = scatterReductionOf(context.attributes);
  if (!reduction)
    return reduction.status();
  return std::vector{*context.types[0]};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &indices = *inputs[1], &updates = *inputs[2];
  const TensorType *types[] = {&x.type(), &indices.type(), &updates.type()};
  PLATEN_ASSIGN_OR_RETURN(const size_t axis, checked(types, attributes));
  PLATEN_ASSIGN_OR_RETURN(const ScatterReduction reduction, scatterReductionOf(attributes));
  const int64_t length = x.dims()[axis];
  std::vector<int64_t> strides = stridesOf(x.dims());
  const int64_t along = strides[axis];
  strides[axis] = 0;
  std::vector<Tensor> results{x};
  StridedWalk walk(indices.dims(), {strides});
  for (int64_t i = 0; i < indices.elementCount(); ++i, walk.next()) {
    const int64_t index = indices.getInt(i);
    if (index < -length || index >= length)
      return invalidArgument("C5: index " + std::to_string(index) + " lies outside the " +
                             std::to_string(length) + " elements of axis " + std::to_string(axis));
    scatterUpdate(results[0], walk.index(0) + (index < 0 ? index + length : index) * along, updates,
                  i, reduction);
  }
  return results;
}

/// Two launches: the copy of I1, then the updates. Updates of different rows along the axis never
/// meet, so rows run at once; within a row they follow one another. An index outside changes
/// nothing.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), indices = op.operand(1), y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  PLATEN_ASSIGN_OR_RETURN(const ScatterReduction reduction, scatterReductionOf(op.attributes()));
  PLATEN_RETURN_IF_ERROR(op.copy(x, y));
  std::vector<base::Size> extents = indices.dims;
  extents.erase(extents.begin() + axis);
  extents.push_back(indices.dims[static_cast<size_t>(axis)]);
  return op.launch(extents, extents.size() - 1, [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> from(at.begin(), at.end() - 1);
    from.insert(from.begin() + axis, at.back());
    const loops::Value length = s.dim(x, static_cast<size_t>(axis)),
                       index = s.wrapped(s.load(indices, from), length),
                       inside = s.isInside(index, length);
    std::vector<loops::Value> to = from;
    to[static_cast<size_t>(axis)] = s.select(inside, index, s.integer(0));
    const loops::Value added = s.load(op.operand(2), from);
    s.store(y, to,
            reduction == ScatterReduction::kNone ? added
                                                 : scatterLoop(s, reduction, s.load(y, to), added),
            inside);
  });
}

} // namespace

const OpSpec kScatterElements{
    .name = "scatter_elements",
    .operands = {{"x"}, {"indices"}, {"updates"}},
    .attributes = {{"axis", int64_t{0}}, {"reduction", std::string("none")}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "ScatterElements", 11}, {"", "Scatter", 9}},
    .loops = lower,
};

} // namespace platen::ops
