// Shape rules and references shared by the elementwise operators: one scalar function, ONNX
// broadcasting. Constraint labels are the same in every family: the operators' .md files repeat
// them.
#pragma once

#include "ops/loops/lowering.h"
#include "ops/op.h"

namespace platen::ops {

using InferResult = base::Result<std::vector<TensorType>>;
using EvaluateResult = base::Result<std::vector<Tensor>>;

/// C1: both operands have one dtype. C2: their shapes broadcast. C3: the dtype is numeric. The
/// result has that dtype and shape.
InferResult inferBinary(const InferContext &context);
/// C1, C2; any dtype, boolean result: equality.
InferResult inferEquality(const InferContext &context);
/// C1, C2, C3; boolean result: order.
InferResult inferComparison(const InferContext &context);
/// C1, C2; C3: both are bool; boolean result.
InferResult inferLogical(const InferContext &context);
/// One or more operands. C1: one dtype. C2: all broadcast together. C3: the dtype is numeric.
InferResult inferVariadic(const InferContext &context);

/// One operand; the result has its type. C1: numeric, resp. float, resp. bool.
InferResult inferNumericUnary(const InferContext &context);
InferResult inferFloatUnary(const InferContext &context);
InferResult inferBoolUnary(const InferContext &context);

/// Applies `floating` to float dtypes (in double, rounded once to the dtype) and `integral` to
/// integer dtypes and bool (64 bits, wrapped to the dtype). `out` is the result's dtype.
EvaluateResult mapBinary(Inputs inputs, DType out, double (*floating)(double, double),
                         int64_t (*integral)(int64_t, int64_t));
/// The same over one or more operands, from left to right.
EvaluateResult mapVariadic(Inputs inputs, double (*floating)(double, double),
                           int64_t (*integral)(int64_t, int64_t));
EvaluateResult mapUnary(Inputs inputs, DType out, double (*floating)(double),
                        int64_t (*integral)(int64_t));
/// For operators that inferFloatUnary restricts to floats.
EvaluateResult mapFloatUnary(Inputs inputs, double (*floating)(double));

/// Loops: one scalar expression of the operands' elements, broadcast.
base::Status loopUnary(loops::Lowering &op, loops::Value (*body)(loops::Stage &, loops::Value));
base::Status loopBinary(loops::Lowering &op,
                        loops::Value (*body)(loops::Stage &, loops::Value, loops::Value));
/// The same over one or more operands, from left to right, rounded to the dtype between.
base::Status loopVariadic(loops::Lowering &op,
                          loops::Value (*body)(loops::Stage &, loops::Value, loops::Value));
/// One operation of the loops' own.
template <loops::Op kOp> loops::Value unaryLoop(loops::Stage &s, loops::Value a) {
  return s.unary(kOp, a);
}
template <loops::Op kOp> loops::Value binaryLoop(loops::Stage &s, loops::Value a, loops::Value b) {
  return s.binary(kOp, a, b);
}

} // namespace platen::ops
