// Root-mean-square normalisation over the last axis. Contract: rms_norm.md.
#pragma once

#include "ops/loops/lowering.h"
#include "ops/op.h"

namespace platen::ops {

/// A launch that gives 1 / sqrt(mean of squares + epsilon) of rows of `length` elements, one for
/// each coordinate of `rows`; `element` gets the row's coordinates and the element's.
base::Result<loops::TensorRef>
loopInverseRoots(loops::Lowering &op, const std::vector<base::Size> &rows, const base::Size &length,
                 DType dtype, double epsilon,
                 const std::function<loops::Value(loops::Stage &, loops::Coordinates)> &element);
extern const OpSpec kRmsNorm;
} // namespace platen::ops
