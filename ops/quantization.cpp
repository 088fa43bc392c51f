// See quantization.h.
#include "ops/quantization.h"

#include <algorithm>

namespace platen::ops {

base::Result<QuantizationGeometry> quantizationOf(const TensorType &x, const TensorType &scale,
                                                  const Attributes &attributes) {
  QuantizationGeometry g{QuantizationGeometry::kTensor, 0, intAttribute(attributes, "block_size")};
  if (g.blockSize == 0 && productOf(scale.dims) == 1 && scale.rank() <= 1)
    return g;
  auto axis = normalizeAxis(intAttribute(attributes, "axis"), x.rank(), "C3: axis");
  if (!axis)
    return axis.status();
  g.axis = static_cast<size_t>(*axis);
  g.granularity = g.blockSize == 0 ? QuantizationGeometry::kAxis : QuantizationGeometry::kBlock;
  if (g.blockSize < 0)
    return base::invalidArgument("C4: block_size is negative");
  bool fits = g.granularity == QuantizationGeometry::kAxis
                  ? scale.rank() == 1 && mayEqual(scale.dims[0], x.dims[g.axis])
                  : scale.rank() == x.rank();
  for (size_t i = 0; fits && g.granularity == QuantizationGeometry::kBlock && i < x.dims.size();
       ++i) {
    int64_t wanted = x.dims[i];
    if (i == g.axis && wanted != kDynamic)
      wanted = (wanted + g.blockSize - 1) / g.blockSize;
    fits = mayEqual(scale.dims[i], wanted);
  }
  if (!fits)
    return base::invalidArgument("C4: I2 is " + scale.toString() + ", which fits I1 " +
                                 x.toString() + " neither as one value, nor along axis " +
                                 std::to_string(g.axis) + ", nor in blocks of " +
                                 std::to_string(g.blockSize));
  return g;
}

int64_t QuantizationGeometry::scaleOf(int64_t i, std::span<const int64_t> dims,
                                      std::span<const int64_t> scaleDims) const {
  if (granularity == kTensor)
    return 0;
  const int64_t length = dims[axis], inner = platen::ops::productOf(dims.subspan(axis + 1)),
                along = i / inner % length;
  if (granularity == kAxis)
    return along;
  return (i / inner / length * scaleDims[axis] + along / blockSize) * inner + i % inner;
}

base::Status checkZeroPoint(const TensorType *zero, DType dtype, const TensorType &scale) {
  if (!zero)
    return base::Status::ok();
  bool alike = zero->rank() == scale.rank() &&
               std::equal(zero->dims.begin(), zero->dims.end(), scale.dims.begin(), mayEqual);
  alike = alike || (productOf(zero->dims) == 1 && productOf(scale.dims) == 1);
  if (zero->dtype == dtype && alike)
    return base::Status::ok();
  return base::invalidArgument("C5: I3 is " + zero->toString() + "; it must be " +
                               std::string(base::dtypeName(dtype)) + " and have I2's shape " +
                               scale.toString());
}

std::vector<loops::Value> QuantizationLoop::at(loops::Stage &s, loops::Coordinates at) const {
  if (one)
    return std::vector<loops::Value>(rank, s.integer(0));
  if (blockSize == 0)
    return {at[axis]};
  std::vector<loops::Value> own(at.begin(), at.end());
  own[axis] = s.div(at[axis], s.integer(blockSize));
  return own;
}

base::Result<QuantizationLoop> quantizationLoop(const loops::TensorRef &x,
                                                const loops::TensorRef &scale,
                                                const Attributes &attributes) {
  QuantizationLoop loop{false, 0, scale.rank(), intAttribute(attributes, "block_size")};
  loop.one =
      loop.blockSize == 0 && scale.rank() <= 1 && base::productOf(scale.dims) == base::Size(1);
  if (loop.one)
    return loop;
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(attributes, "axis"),
                                                      static_cast<int64_t>(x.rank()), "C3: axis"));
  loop.axis = static_cast<size_t>(axis);
  return loop;
}

} // namespace platen::ops
