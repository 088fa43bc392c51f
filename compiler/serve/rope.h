// Rotary position embedding, recognised as x·cos + turned(x)·sin, and its cos/sin tables.
//
// turned(x) is whatever moves and negates elements within the last axis (slices, splits,
// concatenations); what it does is read off element numbers. cos and sin are evaluated at every
// position, so that any scaling of the frequencies is captured exactly as the graph computes it.
#pragma once

#include "compiler/serve/evaluation.h"

namespace platen::compiler::serve {

struct Rope {
  mlir::Value x;        ///< [b,n,s,r] or another order of the same
  mlir::Value cos, sin; ///< known from positions; last axis r
  bool interleaved = false;
  double sinSign = 1; ///< −1 if the sign convention is turned round
};

/// The rotary embedding that `add` completes, or nullopt if it is another sum.
std::optional<Rope> matchRope(const Evaluation &evaluation, mlir::Operation *add);

/// cos and sin for positions 0…positions−1, each f32[positions, r/2].
struct RopeTables {
  ops::Tensor cos, sin;
};

/// Evaluates the tables. Unsupported if they depend on anything but the position (the sequence's
/// length, the past's, the batch), or if the two elements of a pair turn by different angles. Costs
/// O(positions · r).
base::Result<RopeTables> evaluateTables(const Evaluation &evaluation, const Rope &rope,
                                        int64_t positions);

} // namespace platen::compiler::serve
