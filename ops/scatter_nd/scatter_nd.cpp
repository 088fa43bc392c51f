// See scatter_nd.md. Of equal positions the later update counts.
#include "ops/scatter_nd/scatter_nd.h"
#include "ops/scatter_update.h"

#include <algorithm>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

struct Geometry {
  size_t tuple;  ///< axes of I1 that an index tuple chooses
  size_t tuples; ///< axes of I2 that choose a tuple
};

Result<Geometry> checked(std::span<const TensorType *const> types) {
  const TensorType &x = *types[0], &indices = *types[1], &updates = *types[2];
  if (indices.dtype != DType::kI64 || updates.dtype != x.dtype || indices.rank() < 1 ||
      indices.dims.back() == kDynamic)
    return invalidArgument("C1: I2 is " + indices.toString() + " and I3 " + updates.toString() +
                           "; they must be i64 with a last axis of known length, resp. of I1's "
                           "dtype");
  if (indices.dims.back() < 1 || indices.dims.back() > x.rank())
    return invalidArgument("C2: I2's last axis has " + std::to_string(indices.dims.back()) +
                           " elements; I1 has " + std::to_string(x.rank()) + " axes to index");
  const Geometry g{static_cast<size_t>(indices.dims.back()), indices.dims.size() - 1};
  std::vector<int64_t> wanted(indices.dims.begin(), indices.dims.end() - 1);
  wanted.insert(wanted.end(), x.dims.begin() + static_cast<std::ptrdiff_t>(g.tuple), x.dims.end());
  if (wanted.size() != updates.dims.size() ||
      !std::equal(wanted.begin(), wanted.end(), updates.dims.begin(), mayEqual))
    return invalidArgument("C3: I3 is " + updates.toString() + "; it must be " +
                           TensorType{x.dtype, wanted}.toString());
  return g;
}

InferResult infer(const InferContext &context) {
  auto geometry = checked(context.types);
  if (!geometry)
    return geometry.status();
  auto reduction = scatterReductionOf(context.attributes);
  if (!reduction)
    return reduction.status();
  return std::vector{*context.types[0]};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &indices = *inputs[1], &updates = *inputs[2];
  const TensorType *types[] = {&x.type(), &indices.type(), &updates.type()};
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, checked(types));
  PLATEN_ASSIGN_OR_RETURN(const ScatterReduction reduction, scatterReductionOf(attributes));
  const int64_t inner = productOf(x.dims().subspan(g.tuple));
  const auto width = static_cast<int64_t>(g.tuple);
  std::vector<Tensor> results{x};
  for (int64_t t = 0; t < indices.elementCount() / width; ++t) {
    int64_t offset = 0;
    for (size_t j = 0; j < g.tuple; ++j) {
      const int64_t index = indices.getInt(t * width + static_cast<int64_t>(j)),
                    length = x.dims()[j];
      if (index < -length || index >= length)
        return invalidArgument("C5: index " + std::to_string(index) + " lies outside the " +
                               std::to_string(length) + " elements of axis " + std::to_string(j));
      offset = offset * length + (index < 0 ? index + length : index);
    }
    for (int64_t i = 0; i < inner; ++i)
      scatterUpdate(results[0], offset * inner + i, updates, t * inner + i, reduction);
  }
  return results;
}

/// Two launches: the copy of I1, then the updates: elements of a slice at once, tuples one after
/// the other. A tuple outside changes nothing.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), indices = op.operand(1), updates = op.operand(2),
                         y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(const ScatterReduction reduction, scatterReductionOf(op.attributes()));
  const std::optional<int64_t> width = indices.dims.back().constant();
  if (!width)
    return base::unsupported("C1: the last axis of I2 must be known when the plan is compiled");
  const auto tuple = static_cast<size_t>(*width);
  const size_t tuples = indices.rank() - 1, slice = x.rank() - tuple;
  PLATEN_RETURN_IF_ERROR(op.copy(x, y));
  std::vector<base::Size> extents(x.dims.begin() + static_cast<std::ptrdiff_t>(tuple),
                                  x.dims.end());
  extents.insert(extents.end(), indices.dims.begin(), indices.dims.end() - 1);
  return op.launch(extents, slice, [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> which(at.begin() + static_cast<std::ptrdiff_t>(slice), at.end());
    std::vector<loops::Value> from = which, to;
    from.insert(from.end(), at.begin(), at.begin() + static_cast<std::ptrdiff_t>(slice));
    loops::Value inside = s.boolean(true);
    which.push_back(loops::kNoValue);
    for (size_t j = 0; j < tuple; ++j) {
      which[tuples] = s.integer(static_cast<int64_t>(j));
      to.push_back(s.wrapped(s.load(indices, which), s.dim(x, j)));
      inside = s.both(inside, s.isInside(to.back(), s.dim(x, j)));
    }
    for (loops::Value &coordinate : to)
      coordinate = s.select(inside, coordinate, s.integer(0));
    to.insert(to.end(), at.begin(), at.begin() + static_cast<std::ptrdiff_t>(slice));
    const loops::Value added = s.load(updates, from);
    s.store(y, to,
            reduction == ScatterReduction::kNone ? added
                                                 : scatterLoop(s, reduction, s.load(y, to), added),
            inside);
  });
}

} // namespace

const OpSpec kScatterNd{
    .name = "scatter_nd",
    .operands = {{"x"}, {"indices"}, {"updates"}},
    .attributes = {{"reduction", std::string("none")}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "ScatterND", 11}},
    .loops = lower,
};

} // namespace platen::ops
