// What softmax and log_softmax share: the shape rule, the walk over rows and the ONNX mapping.
#pragma once

#include "ops/elementwise.h"
#include "ops/loops/lowering.h"

namespace platen::ops {

/// C1: float tensor of rank 1 or more. C2: axis in [-rank, rank).
InferResult inferSoftmax(const InferContext &context);

/// Applies `row` in place to the elements along `axis`, for every position of the other axes.
EvaluateResult mapSoftmaxRows(Inputs inputs, const Attributes &attributes,
                              void (*row)(std::span<double>));

/// Loops, two launches: each row's greatest element and the sum of exp(element - greatest), then
/// one value for each element.
base::Status loopSoftmaxRows(loops::Lowering &op,
                             loops::Value (*body)(loops::Stage &, loops::Value element,
                                                  loops::Value greatest, loops::Value sum));

/// The first of them, for rows along axis `along` of what `element` computes; of the dims of the
/// rows with that axis made 1.
struct RowStatistics {
  loops::TensorRef greatest, sum;
};
base::Result<RowStatistics>
loopRowStatistics(loops::Lowering &op, DType dtype, const std::vector<base::Size> &dims,
                  size_t along,
                  const std::function<loops::Value(loops::Stage &, loops::Coordinates)> &element);

/// C3: before opset 13 the axes from `axis` on were one row; that is the same for the last axis
/// only.
base::Result<OpCall> mapCoercedSoftmax(const OnnxNode &node);

} // namespace platen::ops
