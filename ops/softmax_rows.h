// What softmax and log_softmax share: the shape rule, the walk over rows and the ONNX mapping.
#pragma once

#include "ops/elementwise.h"

namespace platen::ops {

/// C1: float tensor of rank 1 or more. C2: axis in [-rank, rank).
InferResult inferSoftmax(const InferContext &context);

/// Applies `row` in place to the elements along `axis`, for every position of the other axes.
EvaluateResult mapSoftmaxRows(Inputs inputs, const Attributes &attributes,
                              void (*row)(std::span<double>));

/// C3: before opset 13 the axes from `axis` on were one row; that is the same for the last axis
/// only.
base::Result<OpCall> mapCoercedSoftmax(const OnnxNode &node);

} // namespace platen::ops
