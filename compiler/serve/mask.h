// Masks told by their values: causal, causal within a sliding window, or refused.
//
// A mask is what is added to the scores (0 or very negative) or chooses them (bool), broadcast to
// [b, heads, s, p+s]. Query i of a run stands at slot p+i and may see key slots k ≤ p+i, and with
// window W only k > p+i−W. Pure functions of plain tensors.
#pragma once

#include "compiler/serve/layout.h"
#include "ops/tensor.h"

namespace platen::compiler::serve {

/// One evaluation of a mask.
struct MaskSample {
  Sizes sizes;
  const ops::Tensor &mask;
  const ops::Tensor *attentionMask = nullptr; ///< i64[b, p+s]; null: all ones
  bool hides = false;                         ///< a bool mask in which true means hidden
};

/// The window of a mask that one query at the end of a long context sees: 0 if that query sees
/// every slot, else the number of most recent slots. Requires sizes.sequence == 1. Unsupported if
/// what it sees is no suffix.
base::Result<int64_t> windowOf(const MaskSample &sample);

/// Ok if the mask is causal with that window (0: none); padded slots may be hidden or not. Else
/// Unsupported, naming the first query and key that contradict.
base::Status checkMask(const MaskSample &sample, int64_t window);

} // namespace platen::compiler::serve
