// How scales and zero points lie over a tensor: what quantize_linear and dequantize_linear share.
#pragma once

#include "ops/elementwise.h"

namespace platen::ops {

/// One scale for all, one for each index of an axis, or one for each block along it.
struct QuantizationGeometry {
  enum Granularity { kTensor, kAxis, kBlock } granularity;
  size_t axis;
  int64_t blockSize;
  /// Index of the scale of x's element i.
  int64_t scaleOf(int64_t i, std::span<const int64_t> dims,
                  std::span<const int64_t> scaleDims) const;
};

/// C3: the attribute axis lies in [-rank, rank). C4: block_size is not negative and the scale fits
/// x as one value, along the axis, or in blocks.
base::Result<QuantizationGeometry> quantizationOf(const TensorType &x, const TensorType &scale,
                                                  const Attributes &attributes);
/// C5: the zero point is absent, or has that dtype and the scale's shape.
base::Status checkZeroPoint(const TensorType *zero, DType dtype, const TensorType &scale);

/// The same in loops: coordinates of the scale of the element `at`.
struct QuantizationLoop {
  bool one; ///< one scale for all
  size_t axis, rank;
  int64_t blockSize;
  std::vector<loops::Value> at(loops::Stage &s, loops::Coordinates at) const;
};
base::Result<QuantizationLoop> quantizationLoop(const loops::TensorRef &x,
                                                const loops::TensorRef &scale,
                                                const Attributes &attributes);

} // namespace platen::ops
