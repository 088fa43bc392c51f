// Shape rule, reference and ONNX mappings shared by the reductions: I1 `x`, I2 `axes` (optional i64
// vector), attributes `keepdims` and `noop_with_empty_axes`.
#pragma once

#include "ops/elementwise.h"
#include "ops/loops/lowering.h"

namespace platen::ops {

/// The attributes that every reduction has, with ONNX' defaults.
std::vector<AttributeSpec> reductionAttributes();

/// C1: I1 is numeric (resp. float). C2: I2 is a vector of i64 or i32. C3: every axis lies in
/// [-rank, rank) and none comes twice. C4: with unknown I2 the rank must be decided, so keepdims
/// is 1.
InferResult inferReduction(const InferContext &context);
InferResult inferFloatReduction(const InferContext &context);

/// Applies `floating` resp. `integral` to the elements that fall together, in row-major order.
EvaluateResult mapReduction(Inputs inputs, const Attributes &attributes,
                            double (*floating)(std::span<const double>),
                            int64_t (*integral)(std::span<const int64_t>));

/// Loops: one fold for each result over what falls on it. `initial` and `combine` in the kind that
/// `accumulates` says for the elements; `finish` (may be null) gets the count of elements too.
struct LoopReduction {
  loops::Value (*initial)(loops::Stage &, loops::Kind);
  loops::Value (*combine)(loops::Stage &, loops::Value sum, loops::Value element);
  loops::Value (*finish)(loops::Stage &, loops::Value sum, loops::Value count) = nullptr;
  bool anyOrder = false; ///< sums and products
};
base::Status loopReduction(loops::Lowering &op, const LoopReduction &reduction);
/// The same with several carried values.
base::Status loopReductionOf(
    loops::Lowering &op,
    const std::function<std::vector<loops::Value>(loops::Stage &, loops::Kind)> &initial,
    const std::function<std::vector<loops::Value>(
        loops::Stage &, std::span<const loops::Value> carried, loops::Value element)> &combine,
    const std::function<loops::Value(loops::Stage &, std::span<const loops::Value> carried,
                                     loops::Value count)> &finish,
    bool anyOrder);

/// For the opsets in which the axes were an attribute.
base::Result<OpCall> mapReductionAxesAttribute(const OpSpec &op, const OnnxNode &node);

} // namespace platen::ops
