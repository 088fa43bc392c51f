// The one list of operators. A row here, a line in ir/ops.td and a folder are all that an operator
// needs.
#include "ops/abs/abs.h"
#include "ops/activation/activation.h"
#include "ops/add/add.h"
#include "ops/and/and.h"
#include "ops/arg_extreme/arg_extreme.h"
#include "ops/attention/attention.h"
#include "ops/bitwise/bitwise.h"
#include "ops/bitwise_not/bitwise_not.h"
#include "ops/cast/cast.h"
#include "ops/cast_like/cast_like.h"
#include "ops/ceil/ceil.h"
#include "ops/clip/clip.h"
#include "ops/concat/concat.h"
#include "ops/constant_of_shape/constant_of_shape.h"
#include "ops/conv/conv.h"
#include "ops/cos/cos.h"
#include "ops/cumulative/cumulative.h"
#include "ops/dequantize_linear/dequantize_linear.h"
#include "ops/div/div.h"
#include "ops/einsum/einsum.h"
#include "ops/elementary/elementary.h"
#include "ops/equal/equal.h"
#include "ops/erf/erf.h"
#include "ops/exp/exp.h"
#include "ops/expand/expand.h"
#include "ops/flatten/flatten.h"
#include "ops/floor/floor.h"
#include "ops/gather/gather.h"
#include "ops/gather_block_quantized/gather_block_quantized.h"
#include "ops/gather_elements/gather_elements.h"
#include "ops/gather_nd/gather_nd.h"
#include "ops/gelu/gelu.h"
#include "ops/gemm/gemm.h"
#include "ops/greater/greater.h"
#include "ops/greater_or_equal/greater_or_equal.h"
#include "ops/group_query_attention/group_query_attention.h"
#include "ops/hardmax/hardmax.h"
#include "ops/is_inf/is_inf.h"
#include "ops/is_nan/is_nan.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/less/less.h"
#include "ops/less_or_equal/less_or_equal.h"
#include "ops/log/log.h"
#include "ops/log_softmax/log_softmax.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul_nbits/matmul_nbits.h"
#include "ops/max/max.h"
#include "ops/min/min.h"
#include "ops/mod/mod.h"
#include "ops/mul/mul.h"
#include "ops/neg/neg.h"
#include "ops/not/not.h"
#include "ops/one_hot/one_hot.h"
#include "ops/or/or.h"
#include "ops/pad/pad.h"
#include "ops/paged_attention/paged_attention.h"
#include "ops/pow/pow.h"
#include "ops/quantize_linear/quantize_linear.h"
#include "ops/range/range.h"
#include "ops/reciprocal/reciprocal.h"
#include "ops/reduce/reduce.h"
#include "ops/reduce_max/reduce_max.h"
#include "ops/reduce_mean/reduce_mean.h"
#include "ops/reduce_min/reduce_min.h"
#include "ops/reduce_sum/reduce_sum.h"
#include "ops/relu/relu.h"
#include "ops/reshape/reshape.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/rotary_embedding/rotary_embedding.h"
#include "ops/scatter_elements/scatter_elements.h"
#include "ops/scatter_nd/scatter_nd.h"
#include "ops/select_rows/select_rows.h"
#include "ops/shape/shape.h"
#include "ops/sigmoid/sigmoid.h"
#include "ops/sin/sin.h"
#include "ops/size/size.h"
#include "ops/skip_rms_norm/skip_rms_norm.h"
#include "ops/slice/slice.h"
#include "ops/softmax/softmax.h"
#include "ops/split/split.h"
#include "ops/sqrt/sqrt.h"
#include "ops/squeeze/squeeze.h"
#include "ops/sub/sub.h"
#include "ops/tanh/tanh.h"
#include "ops/tile/tile.h"
#include "ops/top_k/top_k.h"
#include "ops/transpose/transpose.h"
#include "ops/trilu/trilu.h"
#include "ops/unsqueeze/unsqueeze.h"
#include "ops/where/where.h"
#include "ops/xor/xor.h"

#include <unordered_map>

namespace platen::ops {

std::span<const OpSpec *const> catalog() {
  static const OpSpec *const kOps[] = {
      &kAbs,
      &kActivation,
      &kAdd,
      &kAnd,
      &kArgExtreme,
      &kAttention,
      &kBitwise,
      &kBitwiseNot,
      &kCast,
      &kCastLike,
      &kCeil,
      &kClip,
      &kConcat,
      &kConstantOfShape,
      &kConv,
      &kCos,
      &kCumulative,
      &kDequantizeLinear,
      &kDiv,
      &kEinsum,
      &kElementary,
      &kEqual,
      &kErf,
      &kExp,
      &kExpand,
      &kFlatten,
      &kFloor,
      &kGather,
      &kGatherBlockQuantized,
      &kGatherElements,
      &kGatherNd,
      &kGelu,
      &kGemm,
      &kGreater,
      &kGreaterOrEqual,
      &kGroupQueryAttention,
      &kHardmax,
      &kIsInf,
      &kIsNan,
      &kLayerNorm,
      &kLess,
      &kLessOrEqual,
      &kLog,
      &kLogSoftmax,
      &kMatmul,
      &kMatmulNbits,
      &kMax,
      &kMin,
      &kMod,
      &kMul,
      &kNeg,
      &kNot,
      &kOneHot,
      &kOr,
      &kPad,
      &kPagedAttention,
      &kPow,
      &kQuantizeLinear,
      &kRange,
      &kReciprocal,
      &kReduce,
      &kReduceMax,
      &kReduceMean,
      &kReduceMin,
      &kReduceSum,
      &kRelu,
      &kReshape,
      &kRmsNorm,
      &kRope,
      &kRotaryEmbedding,
      &kScatterElements,
      &kScatterNd,
      &kSelectRows,
      &kShape,
      &kSigmoid,
      &kSin,
      &kSize,
      &kSkipRmsNorm,
      &kSlice,
      &kSoftmax,
      &kSplit,
      &kSqrt,
      &kSqueeze,
      &kSub,
      &kTanh,
      &kTile,
      &kTopK,
      &kTranspose,
      &kTrilu,
      &kUnsqueeze,
      &kWhere,
      &kXor,
  };
  return kOps;
}

const OpSpec *findOp(std::string_view name) {
  static const auto kByName = [] {
    std::unordered_map<std::string_view, const OpSpec *> byName;
    for (const OpSpec *op : catalog())
      byName.emplace(op->name, op);
    return byName;
  }();
  auto found = kByName.find(name);
  return found == kByName.end() ? nullptr : found->second;
}

OnnxMatch findOnnx(std::string_view domain, std::string_view opType, int64_t version) {
  if (domain == "ai.onnx")
    domain = "";
  for (const OpSpec *op : catalog())
    for (const OnnxRow &row : op->onnx)
      if (row.opType == opType && row.domain == domain && row.minVersion <= version &&
          version <= row.maxVersion)
        return {op, &row};
  return {};
}

} // namespace platen::ops
