// What the reference and the loops of group_query_attention share.
#pragma once

#include "ops/loops/lowering.h"

namespace platen::ops::group_query_attention {

/// Numbered like the ONNX operator's inputs.
enum Operand : size_t {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kSeqlensK,
  kTotalLength,
  kCosCache,
  kSinCache,
  kPositionIds,
  kAttentionBias,
  kHeadSink,
  kKScale,
  kVScale,
  kQNormWeight,
  kKNormWeight
};

base::Status lower(loops::Lowering &op);

} // namespace platen::ops::group_query_attention
