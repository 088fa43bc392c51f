// Shape rule and reference shared by the elementwise operators: one scalar function, ONNX
// broadcasting.
#pragma once

#include "ops/op.h"

namespace platen::ops {

/// C1: both operands have one dtype. C2: their shapes broadcast. The result has that dtype and
/// shape.
base::Result<std::vector<TensorType>> inferBinary(const InferContext &context);

/// The same with a boolean result, for comparisons.
base::Result<std::vector<TensorType>> inferComparison(const InferContext &context);

/// One operand; the result has its type.
base::Result<std::vector<TensorType>> inferUnary(const InferContext &context);

/// Applies `floating` to float dtypes (in double, rounded once to the dtype) and `integral` to
/// integer dtypes (64 bits, wrapped to the dtype). `out` is the result's dtype.
base::Result<std::vector<Tensor>> mapBinary(Inputs inputs, DType out,
                                            double (*floating)(double, double),
                                            int64_t (*integral)(int64_t, int64_t));
base::Result<std::vector<Tensor>> mapUnary(Inputs inputs, DType out, double (*floating)(double),
                                           int64_t (*integral)(int64_t));

} // namespace platen::ops
