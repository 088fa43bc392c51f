// See group_query_attention.md. One head of one query row at a time, in double. What a cache row
// holds (which absolute position) is decided in one place, CacheView.
#include "ops/group_query_attention/group_query_attention.h"
#include "ops/elementwise.h"
#include "ops/group_query_attention/operands.h"
#include "ops/onnx_map.h"
#include "ops/rotation.h"

#include <algorithm>
#include <cmath>

namespace platen::ops {

using namespace group_query_attention;
using base::invalidArgument;
using base::Result;
using base::Status;

namespace {

/// Sizes that operands and attributes fix; dimensions may be kDynamic while inferring.
struct Sizes {
  int64_t batch, length, heads, kvHeads, headSize; ///< length: new tokens S of each batch entry
  bool packed;
};

Result<Sizes> sizesOf(const TensorType &query, const TensorType *key,
                      const Attributes &attributes) {
  Sizes sizes{0,
              0,
              intAttribute(attributes, "num_heads"),
              intAttribute(attributes, "kv_num_heads"),
              0,
              key == nullptr};
  if (query.rank() != 3 || !base::isFloat(query.dtype))
    return invalidArgument("C1: I1 is " + query.toString() +
                           "; it must be a float tensor [batch, length, features]");
  if (sizes.heads < 1 || sizes.kvHeads < 1 || sizes.heads > 4096 ||
      sizes.heads % sizes.kvHeads != 0)
    return invalidArgument("C2: num_heads is " + std::to_string(sizes.heads) +
                           " and kv_num_heads " + std::to_string(sizes.kvHeads) +
                           "; the first must be a positive multiple of the second");
  sizes.batch = query.dims[0];
  sizes.length = query.dims[1];
  int64_t rows = sizes.packed ? sizes.heads + 2 * sizes.kvHeads : sizes.heads;
  if (query.dims[2] == kDynamic || query.dims[2] % rows != 0)
    return invalidArgument("C3: the features of I1 " + query.toString() +
                           " must be known and divide into " + std::to_string(rows) + " heads");
  sizes.headSize = query.dims[2] / rows;
  return sizes;
}

bool hasType(const TensorType &type, DType dtype, std::initializer_list<int64_t> dims) {
  if (type.dtype != dtype || type.dims.size() != dims.size())
    return false;
  return std::equal(dims.begin(), dims.end(), type.dims.begin(), mayEqual);
}

Status checkKeys(const InferContext &context, const Sizes &sizes) {
  const auto &types = context.types;
  DType dtype = types[kQuery]->dtype;
  int64_t features = sizes.kvHeads * sizes.headSize;
  if ((types[kKey] == nullptr) != (types[kValue] == nullptr))
    return invalidArgument("C4: I2 and I3 come both or not at all");
  for (Operand operand : {kKey, kValue})
    if (types[operand] && !hasType(*types[operand], dtype, {sizes.batch, sizes.length, features}))
      return invalidArgument("C4: I2 is " + types[kKey]->toString() + ", I3 " +
                             types[kValue]->toString() + "; both must be [batch, length, " +
                             std::to_string(features) + "] of I1's dtype");
  if ((types[kPastKey] == nullptr) != (types[kPastValue] == nullptr))
    return invalidArgument("C5: I4 and I5 come both or not at all");
  if (types[kPastKey]) {
    int64_t capacity = types[kPastKey]->rank() == 4 ? types[kPastKey]->dims[2] : 0;
    for (Operand operand : {kPastKey, kPastValue})
      if (!hasType(*types[operand], dtype, {sizes.batch, sizes.kvHeads, capacity, sizes.headSize}))
        return invalidArgument("C5: I4 is " + types[kPastKey]->toString() + ", I5 " +
                               types[kPastValue]->toString() +
                               "; both must be [batch, kv_num_heads, past, head size] (" +
                               std::to_string(sizes.kvHeads) + ", " +
                               std::to_string(sizes.headSize) + ") of I1's dtype");
  }
  if (!hasType(*types[kSeqlensK], DType::kI32, {sizes.batch}) &&
      !hasType(*types[kSeqlensK], DType::kI32, {sizes.batch, 1}))
    return invalidArgument("C6: I6 is " + types[kSeqlensK]->toString() +
                           "; it must be i32 with one entry a batch entry");
  if (types[kTotalLength]->dtype != DType::kI32 || productOf(types[kTotalLength]->dims) != 1)
    return invalidArgument("C6: I7 is " + types[kTotalLength]->toString() + "; it must be one i32");
  return Status::ok();
}

Status checkOptions(const InferContext &context, const Sizes &sizes) {
  const auto &types = context.types;
  DType dtype = types[kQuery]->dtype;
  if (intAttribute(context.attributes, "do_rotary") != 0) {
    const TensorType *cos = types[kCosCache], *sin = types[kSinCache];
    bool fits = cos && sin && cos->rank() == 2 && sin->rank() == 2 && cos->dtype == dtype &&
                sin->dtype == dtype && mayEqual(cos->dims[1], sin->dims[1]) &&
                mayEqual(cos->dims[0], sin->dims[0]) &&
                (cos->dims[1] == kDynamic || 2 * cos->dims[1] <= sizes.headSize);
    if (!fits)
      return invalidArgument("C7: do_rotary needs tables I8 and I9 of one shape [positions, at "
                             "most half the head size of " +
                             std::to_string(sizes.headSize) + "] and I1's dtype");
  }
  if (types[kPositionIds] &&
      !hasType(*types[kPositionIds], DType::kI64, {sizes.batch, sizes.length}))
    return invalidArgument("C8: I10 is " + types[kPositionIds]->toString() +
                           "; it must be i64 [batch, length]");
  if (const TensorType *bias = types[kAttentionBias];
      bias && (bias->rank() != 4 || bias->dtype != dtype ||
               (bias->dims[0] != 1 && !mayEqual(bias->dims[0], sizes.batch)) ||
               (bias->dims[1] != 1 && !mayEqual(bias->dims[1], sizes.heads)) ||
               !mayEqual(bias->dims[2], sizes.length)))
    return invalidArgument("C9: I11 is " + bias->toString() +
                           "; it must be [batch or 1, heads or 1, length, total] of I1's dtype");
  if (types[kHeadSink] && !hasType(*types[kHeadSink], dtype, {sizes.heads}))
    return invalidArgument("C10: I12 is " + types[kHeadSink]->toString() +
                           "; it must have one entry a head and I1's dtype");
  if ((types[kQNormWeight] == nullptr) != (types[kKNormWeight] == nullptr))
    return invalidArgument("C11: I15 and I16 come both or not at all");
  for (Operand operand : {kQNormWeight, kKNormWeight})
    if (types[operand] && !hasType(*types[operand], dtype, {sizes.headSize}))
      return invalidArgument("C11: I15 is " + types[kQNormWeight]->toString() + ", I16 " +
                             types[kKNormWeight]->toString() + "; both must be [head size " +
                             std::to_string(sizes.headSize) + "] of I1's dtype");
  if (types[kKScale] || types[kVScale])
    return base::unsupported("C15: I13 and I14 scale a quantised cache, which is not supported");
  if (intAttribute(context.attributes, "sliding_window_cache") != 0) {
    int64_t window = intAttribute(context.attributes, "local_window_size");
    const TensorType *past = types[kPastKey];
    if (window < 1 || !past || (past->dims[2] != kDynamic && past->dims[2] < window))
      return invalidArgument("C12: sliding_window_cache needs local_window_size (" +
                             std::to_string(window) +
                             ") of 1 or more and a past (I4) of at least that many rows");
  }
  return Status::ok();
}

/// Rows of present_key: the whole sequence, or the buffer that the caller lent as past.
int64_t presentRows(const TensorType *past, const Tensor *total, const Attributes &attributes) {
  if (past && intAttribute(attributes, "sliding_window_cache") != 0)
    return past->dims[2];
  if (!total || (past && past->dims[2] == kDynamic))
    return kDynamic;
  return std::max(total->getInt(0), past ? past->dims[2] : 0);
}

InferResult infer(const InferContext &context) {
  const TensorType &query = *context.types[kQuery];
  PLATEN_ASSIGN_OR_RETURN(Sizes sizes, sizesOf(query, context.types[kKey], context.attributes));
  PLATEN_RETURN_IF_ERROR(checkKeys(context, sizes));
  PLATEN_RETURN_IF_ERROR(checkOptions(context, sizes));
  int64_t rows =
      presentRows(context.types[kPastKey], context.values[kTotalLength], context.attributes);
  if (rows < 0 && rows != kDynamic)
    return invalidArgument("C13: I7, the total sequence length, is negative");
  TensorType output{query.dtype, {sizes.batch, sizes.length, sizes.heads * sizes.headSize}};
  TensorType present{query.dtype, {sizes.batch, sizes.kvHeads, rows, sizes.headSize}};
  return std::vector{output, present, present};
}

/// Which absolute positions the past and present buffers of one batch entry hold.
struct CacheView {
  int64_t past;         ///< tokens before this step; the new ones stand at past, past + 1, …
  int64_t total;        ///< tokens after it
  int64_t pastFirst;    ///< absolute position of row 0 of the past buffer
  int64_t presentFirst; ///< … of the present buffer
};

/// Rows that a window cache of `capacity` holds after `total` tokens; see the .md.
int64_t residentRows(int64_t total, int64_t capacity, int64_t window) {
  if (total <= capacity)
    return total;
  int64_t slack = capacity - window + 1;
  return total - slack * ((total - capacity + slack - 1) / slack);
}

Result<CacheView> viewOf(Inputs inputs, const Attributes &attributes, const Sizes &sizes,
                         int64_t entry) {
  CacheView view{};
  view.total = inputs[kSeqlensK]->getInt(entry) + 1;
  bool prompt = inputs[kTotalLength]->getInt(0) == sizes.length;
  view.past = prompt ? 0 : view.total - sizes.length;
  int64_t capacity = inputs[kPastKey] ? inputs[kPastKey]->dims()[2] : 0;
  int64_t resident = view.past;
  if (intAttribute(attributes, "sliding_window_cache") != 0) {
    int64_t window = intAttribute(attributes, "local_window_size");
    resident = residentRows(view.past, capacity, window);
    view.presentFirst = view.total - residentRows(view.total, capacity, window);
    view.pastFirst = view.past - resident;
  }
  if (view.total < 1 || view.total > inputs[kTotalLength]->getInt(0) || view.past < 0 ||
      resident > capacity)
    return invalidArgument("C13: I6 says that entry " + std::to_string(entry) + " has " +
                           std::to_string(view.total) + " tokens, which does not fit " +
                           std::to_string(sizes.length) + " new ones, a past of " +
                           std::to_string(capacity) + " rows and the total (I7) of " +
                           std::to_string(inputs[kTotalLength]->getInt(0)));
  return view;
}

/// Normalised and rotated features of new token s, head `head` of query (or key) rows.
Status prepare(Inputs inputs, const Attributes &attributes, int64_t entry, int64_t length,
               int64_t s, const CacheView &view, const Tensor *weight, std::span<double> features) {
  if (weight) {
    double sum = 0;
    for (double value : features)
      sum += value * value;
    double inverse = 1 / std::sqrt(sum / static_cast<double>(features.size()) +
                                   floatAttribute(attributes, "qk_norm_epsilon"));
    for (size_t i = 0; i < features.size(); ++i)
      features[i] *= inverse * weight->get(static_cast<int64_t>(i));
  }
  if (intAttribute(attributes, "do_rotary") == 0)
    return Status::ok();
  int64_t position =
      inputs[kPositionIds] ? inputs[kPositionIds]->getInt(entry * length + s) : view.past + s;
  if (position < 0 || position >= inputs[kCosCache]->dims()[0])
    return invalidArgument("C14: position " + std::to_string(position) + " lies outside the " +
                           std::to_string(inputs[kCosCache]->dims()[0]) + " rows of I8");
  rotateHead(features, *inputs[kCosCache], *inputs[kSinCache], position,
             intAttribute(attributes, "rotary_interleaved") != 0);
  return Status::ok();
}

/// All heads of one batch entry, widened: q [S][heads][size], k and v [kvHeads][positions][size]
/// where position 0 stands at absolute position view.pastFirst.
struct Entry {
  std::vector<double> q, k, v;
  int64_t positions;
};

Result<Entry> loadEntry(Inputs inputs, const Attributes &attributes, const Sizes &sizes,
                        const CacheView &view, int64_t entry) {
  int64_t size = sizes.headSize, held = view.past - view.pastFirst;
  Entry data{{}, {}, {}, held + sizes.length};
  data.q.resize(static_cast<size_t>(sizes.length * sizes.heads * size));
  data.k.resize(static_cast<size_t>(sizes.kvHeads * data.positions * size));
  data.v.resize(data.k.size());
  const Tensor &key = *inputs[sizes.packed ? kQuery : kKey],
               &value = *inputs[sizes.packed ? kQuery : kValue];
  int64_t rowHeads = sizes.packed ? sizes.heads + 2 * sizes.kvHeads : sizes.kvHeads;
  int64_t queryHeads = sizes.packed ? rowHeads : sizes.heads;
  int64_t keyStart = sizes.packed ? sizes.heads : 0, valueStart = keyStart;
  valueStart += sizes.packed ? sizes.kvHeads : 0;
  auto row = [&](std::vector<double> &values, int64_t index) {
    return std::span(values).subspan(static_cast<size_t>(index * size), static_cast<size_t>(size));
  };
  for (int64_t s = 0; s < sizes.length; ++s) {
    int64_t token = entry * sizes.length + s;
    for (int64_t h = 0; h < sizes.heads; ++h) {
      auto features = row(data.q, s * sizes.heads + h);
      inputs[kQuery]->read((token * queryHeads + h) * size, features);
      PLATEN_RETURN_IF_ERROR(prepare(inputs, attributes, entry, sizes.length, s, view,
                                     inputs[kQNormWeight], features));
    }
    for (int64_t h = 0; h < sizes.kvHeads; ++h) {
      auto features = row(data.k, h * data.positions + held + s);
      key.read((token * rowHeads + keyStart + h) * size, features);
      PLATEN_RETURN_IF_ERROR(prepare(inputs, attributes, entry, sizes.length, s, view,
                                     inputs[kKNormWeight], features));
      value.read((token * rowHeads + valueStart + h) * size,
                 row(data.v, h * data.positions + held + s));
    }
  }
  for (int64_t h = 0; h < sizes.kvHeads && held > 0; ++h)
    for (int64_t i = 0; i < held; ++i) {
      int64_t from = ((entry * sizes.kvHeads + h) * inputs[kPastKey]->dims()[2] + i) * size;
      inputs[kPastKey]->read(from, row(data.k, h * data.positions + i));
      inputs[kPastValue]->read(from, row(data.v, h * data.positions + i));
    }
  return data;
}

/// Output of query row s, head h: scores over the positions [first, last] of `data`.
void attend(Inputs inputs, const Attributes &attributes, const Sizes &sizes, const Entry &data,
            const CacheView &view, int64_t entry, int64_t s, int64_t h, Tensor &output) {
  int64_t size = sizes.headSize, kvHead = h / (sizes.heads / sizes.kvHeads);
  double scale = floatAttribute(attributes, "scale"), cap = floatAttribute(attributes, "softcap");
  if (scale == 0)
    scale = 1 / std::sqrt(static_cast<double>(size));
  int64_t window = intAttribute(attributes, "local_window_size");
  int64_t position = view.past + s - view.pastFirst; // as index into data
  int64_t first = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
  const double *q = data.q.data() + (s * sizes.heads + h) * size;
  const double *k = data.k.data() + kvHead * data.positions * size;
  const double *v = data.v.data() + kvHead * data.positions * size;
  const Tensor *bias = inputs[kAttentionBias], *sink = inputs[kHeadSink];
  bool smooth = intAttribute(attributes, "smooth_softmax") > 0 || sink;
  double sinkScore = sink ? sink->get(h) : 0;
  double greatest = smooth ? sinkScore : -HUGE_VAL;
  std::vector<double> scores(static_cast<size_t>(position - first + 1));
  for (int64_t u = first; u <= position; ++u) {
    double &score = scores[static_cast<size_t>(u - first)];
    for (int64_t i = 0; i < size; ++i)
      score += q[i] * k[u * size + i];
    score *= scale;
    if (cap > 0)
      score = cap * std::tanh(score / cap);
    if (bias) {
      auto dims = bias->dims();
      int64_t b = dims[0] == 1 ? 0 : entry, head = dims[1] == 1 ? 0 : h;
      score += bias->get(((b * dims[1] + head) * dims[2] + s) * dims[3] + view.pastFirst + u);
    }
    greatest = std::max(greatest, score);
  }
  double sum = smooth ? std::exp(sinkScore - greatest) : 0;
  for (double &score : scores)
    sum += score = std::exp(score - greatest);
  for (int64_t i = 0; i < size; ++i) {
    double value = 0;
    for (int64_t u = first; u <= position; ++u)
      value += scores[static_cast<size_t>(u - first)] * v[u * size + i];
    output.set(((entry * sizes.length + s) * sizes.heads + h) * size + i, value / sum);
  }
}

void storePresent(const Sizes &sizes, const Entry &data, const CacheView &view, int64_t entry,
                  Tensor &key, Tensor &value) {
  int64_t rows = key.dims()[2], size = sizes.headSize;
  for (int64_t h = 0; h < sizes.kvHeads; ++h)
    for (int64_t u = view.presentFirst; u < view.total; ++u)
      for (int64_t i = 0; i < size; ++i) {
        int64_t to = ((entry * sizes.kvHeads + h) * rows + u - view.presentFirst) * size + i;
        auto from = static_cast<size_t>((h * data.positions + u - view.pastFirst) * size + i);
        key.set(to, data.k[from]);
        value.set(to, data.v[from]);
      }
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const TensorType &query = inputs[kQuery]->type();
  PLATEN_ASSIGN_OR_RETURN(
      Sizes sizes, sizesOf(query, inputs[kKey] ? &inputs[kKey]->type() : nullptr, attributes));
  int64_t rows = presentRows(inputs[kPastKey] ? &inputs[kPastKey]->type() : nullptr,
                             inputs[kTotalLength], attributes);
  if (const Tensor *bias = inputs[kAttentionBias];
      bias && bias->dims()[3] < inputs[kTotalLength]->getInt(0))
    return invalidArgument("C9: the last axis of I11 " + bias->type().toString() +
                           " is shorter than the total sequence length (I7)");
  TensorType present{query.dtype, {sizes.batch, sizes.kvHeads, rows, sizes.headSize}};
  std::vector<Tensor> results;
  results.emplace_back(
      TensorType{query.dtype, {sizes.batch, sizes.length, sizes.heads * sizes.headSize}});
  results.emplace_back(present);
  results.emplace_back(present);
  for (int64_t entry = 0; entry < sizes.batch; ++entry) {
    PLATEN_ASSIGN_OR_RETURN(CacheView view, viewOf(inputs, attributes, sizes, entry));
    PLATEN_ASSIGN_OR_RETURN(Entry data, loadEntry(inputs, attributes, sizes, view, entry));
    for (int64_t s = 0; s < sizes.length; ++s)
      for (int64_t h = 0; h < sizes.heads; ++h)
        attend(inputs, attributes, sizes, data, view, entry, s, h, results[0]);
    storePresent(sizes, data, view, entry, results[1], results[2]);
  }
  return results;
}

Result<OpCall> fromGroupQueryAttention(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(refuseInput(node, 16, "C16"));
  PLATEN_RETURN_IF_ERROR(refuseOutput(node, 3, "C16"));
  PLATEN_RETURN_IF_ERROR(requireInt(node, "causal", 1, "C16"));
  PLATEN_RETURN_IF_ERROR(requireInt(node, "qk_output", 0, "C16"));
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kGroupQueryAttention, node));
  PLATEN_ASSIGN_OR_RETURN(double epsilon, onnxFloat(node, "qk_norm_epsilon", 1e-6));
  PLATEN_ASSIGN_OR_RETURN(double q, onnxFloat(node, "q_norm_epsilon", epsilon));
  PLATEN_ASSIGN_OR_RETURN(double k, onnxFloat(node, "k_norm_epsilon", epsilon));
  if (q != k)
    return base::unsupported("C16: q_norm_epsilon and k_norm_epsilon differ");
  call.attributes["qk_norm_epsilon"] = q;
  call.outputs = {0, 1, 2};
  return call;
}

} // namespace

const OpSpec kGroupQueryAttention{
    .name = "group_query_attention",
    .operands = {{"query"},
                 {.name = "key", .optional = true},
                 {.name = "value", .optional = true},
                 {.name = "past_key", .optional = true},
                 {.name = "past_value", .optional = true},
                 {"seqlens_k"},
                 {"total_sequence_length"},
                 {.name = "cos_cache", .optional = true},
                 {.name = "sin_cache", .optional = true},
                 {.name = "position_ids", .optional = true},
                 {.name = "attention_bias", .optional = true},
                 {.name = "head_sink", .optional = true},
                 {.name = "k_scale", .optional = true},
                 {.name = "v_scale", .optional = true},
                 {.name = "q_norm_weight", .optional = true},
                 {.name = "k_norm_weight", .optional = true}},
    .attributes = {{"num_heads", int64_t{0}, true},
                   {"kv_num_heads", int64_t{0}, true},
                   {"scale", 0.0},
                   {"softcap", 0.0},
                   {"do_rotary", int64_t{0}},
                   {"rotary_interleaved", int64_t{0}},
                   {"local_window_size", int64_t{-1}},
                   {"sliding_window_cache", int64_t{0}},
                   {"smooth_softmax", int64_t{0}},
                   {"qk_norm_epsilon", 1e-6}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"com.microsoft", "GroupQueryAttention", 1, kAnyVersion, fromGroupQueryAttention}},
    .loops = group_query_attention::lower,
};

} // namespace platen::ops
