// See attention.md. One query row of one head at a time, in double.
#include "ops/attention/attention.h"
#include "ops/attention/operands.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <algorithm>
#include <cmath>

namespace platen::ops {

using namespace attention;
using base::invalidArgument;
using base::Result;

namespace {

/// Sizes that the operands' types fix; dimensions may be kDynamic while inferring.
struct Geometry {
  int64_t batch, heads, kvHeads, queries, keys, past, size, valueSize;
  bool flat; ///< rank 3: heads lie side by side in the features
  int64_t total() const { return past == kDynamic || keys == kDynamic ? kDynamic : past + keys; }
};

/// batch, heads, length and head size of one of I1 to I3.
struct Heads {
  int64_t batch, heads, length, size;
};
Result<Heads> headsOf(const TensorType &type, int64_t heads) {
  if (type.rank() == 4)
    return Heads{type.dims[0], type.dims[1], type.dims[2], type.dims[3]};
  const int64_t features = type.dims[2];
  if (heads < 1 || heads > 65536 || (features != kDynamic && features % heads != 0))
    return invalidArgument("C2: " + type.toString() + " does not divide into " +
                           std::to_string(heads) + " heads");
  return Heads{type.dims[0], heads, type.dims[1],
               features == kDynamic ? kDynamic : features / heads};
}

Result<Geometry> geometryOf(std::span<const TensorType *const> types,
                            const Attributes &attributes) {
  const TensorType &query = *types[kQuery], &key = *types[kKey], &value = *types[kValue];
  const bool ranks = (query.rank() == 3 || query.rank() == 4) && key.rank() == query.rank() &&
                     value.rank() == query.rank();
  if (!ranks || !base::isFloat(query.dtype) || key.dtype != query.dtype ||
      !base::isFloat(value.dtype))
    return invalidArgument("C1: I1 is " + query.toString() + ", I2 " + key.toString() + ", I3 " +
                           value.toString() +
                           "; they must be float tensors of one rank, 3 or 4, I2 of I1's dtype");
  PLATEN_ASSIGN_OR_RETURN(const Heads q, headsOf(query, intAttribute(attributes, "q_num_heads")));
  const int64_t kvHeads = intAttribute(attributes, "kv_num_heads");
  PLATEN_ASSIGN_OR_RETURN(const Heads k, headsOf(key, kvHeads));
  PLATEN_ASSIGN_OR_RETURN(const Heads v, headsOf(value, kvHeads));
  const bool fits = mayEqual(q.batch, k.batch) && mayEqual(q.batch, v.batch) &&
                    mayEqual(k.heads, v.heads) && mayEqual(k.length, v.length) &&
                    mayEqual(q.size, k.size);
  if (!fits || q.heads == kDynamic || k.heads == kDynamic || k.heads < 1 || q.heads % k.heads != 0)
    return invalidArgument("C3: I1 " + query.toString() + ", I2 " + key.toString() + " and I3 " +
                           value.toString() + " do not fit: " + std::to_string(q.heads) +
                           " heads of queries, " + std::to_string(k.heads) + " of keys");
  const int64_t past =
      types[kPastKey] && types[kPastKey]->rank() == 4 ? types[kPastKey]->dims[2] : 0;
  return Geometry{q.batch, q.heads, k.heads, q.length,         k.length,
                  past,    q.size,  v.size,  query.rank() == 3};
}

base::Status checkMask(const TensorType &mask, DType dtype, const Geometry &g) {
  const int64_t wanted[] = {g.batch, g.heads, g.queries};
  bool fits =
      mask.rank() >= 1 && mask.rank() <= 4 && (mask.dtype == DType::kBool || mask.dtype == dtype);
  for (int64_t axis = 0; fits && axis + 1 < mask.rank(); ++axis)
    fits = mask.dims[static_cast<size_t>(axis)] == 1 ||
           mayEqual(mask.dims[static_cast<size_t>(axis)], wanted[axis + 4 - mask.rank()]);
  if (!fits)
    return invalidArgument("C4: I4 is " + mask.toString() +
                           "; it must be bool or of I1's dtype and its axes but the last must "
                           "broadcast to batch, heads and queries");
  return base::Status::ok();
}

bool isPast(const TensorType &past, DType dtype, const Geometry &g, int64_t size) {
  return past.dtype == dtype && past.rank() == 4 && mayEqual(past.dims[0], g.batch) &&
         mayEqual(past.dims[1], g.kvHeads) && mayEqual(past.dims[2], g.past) &&
         mayEqual(past.dims[3], size);
}

InferResult infer(const InferContext &context) {
  const auto &types = context.types;
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(types, context.attributes));
  const DType dtype = types[kQuery]->dtype;
  if (types[kMask])
    PLATEN_RETURN_IF_ERROR(checkMask(*types[kMask], dtype, g));
  if ((types[kPastKey] == nullptr) != (types[kPastValue] == nullptr) ||
      (types[kPastKey] && types[kValidKeys]) ||
      (types[kPastKey] && (!isPast(*types[kPastKey], dtype, g, g.size) ||
                           !isPast(*types[kPastValue], types[kValue]->dtype, g, g.valueSize))))
    return invalidArgument("C5: I5 and I6 must come together, without I7, and be [batch, " +
                           std::to_string(g.kvHeads) + ", past, head size] like I2 and I3");
  if (const TensorType *valid = types[kValidKeys];
      valid &&
      (valid->dtype != DType::kI64 || valid->rank() != 1 || !mayEqual(valid->dims[0], g.batch)))
    return invalidArgument("C6: I7 is " + valid->toString() + "; it must be i64 [batch]");
  const int64_t mode = intAttribute(context.attributes, "qk_matmul_output_mode");
  if (mode < 0 || mode > 3)
    return invalidArgument("C7: qk_matmul_output_mode is " + std::to_string(mode) +
                           "; it must be 0, 1, 2 or 3");
  TensorType output{dtype, {g.batch, g.heads, g.queries, g.valueSize}};
  if (g.flat)
    output.dims = {g.batch, g.queries, g.valueSize == kDynamic ? kDynamic : g.heads * g.valueSize};
  return std::vector{output, TensorType{dtype, {g.batch, g.kvHeads, g.total(), g.size}},
                     TensorType{types[kValue]->dtype, {g.batch, g.kvHeads, g.total(), g.valueSize}},
                     TensorType{dtype, {g.batch, g.heads, g.queries, g.total()}}};
}

/// Index of feature 0 of token s of head h of entry b.
int64_t rowOf(bool flat, int64_t b, int64_t h, int64_t s, int64_t heads, int64_t length,
              int64_t size) {
  return (flat ? (b * length + s) * heads + h : (b * heads + h) * length + s) * size;
}

/// O2 or O3: the past's rows, then the new ones.
Tensor presentOf(const Tensor &fresh, const Tensor *past, const Geometry &g, int64_t size) {
  Tensor present(TensorType{fresh.dtype(), {g.batch, g.kvHeads, g.total(), size}});
  for (int64_t b = 0; b < g.batch; ++b)
    for (int64_t h = 0; h < g.kvHeads; ++h) {
      const int64_t to = (b * g.kvHeads + h) * g.total() * size;
      if (past)
        present.copyFrom(*past, (b * g.kvHeads + h) * g.past * size, to, g.past * size);
      for (int64_t s = 0; s < g.keys; ++s)
        present.copyFrom(fresh, rowOf(g.flat, b, h, s, g.kvHeads, g.keys, size),
                         to + (g.past + s) * size, size);
    }
  return present;
}

/// What is added to the score of key u for query s: -infinity where it is not seen.
double biasOf(Inputs inputs, const Attributes &attributes, const Geometry &g, int64_t b, int64_t h,
              int64_t s, int64_t u) {
  constexpr double kUnseen = -HUGE_VAL;
  const Tensor *mask = inputs[kMask], *valid = inputs[kValidKeys];
  int64_t offset = inputs[kPastKey] ? g.past : 0;
  if (valid)
    offset = valid->getInt(b) - g.queries;
  const int64_t distance = s + offset - u, left = intAttribute(attributes, "left_window_size"),
                right = intAttribute(attributes, "right_window_size");
  if ((intAttribute(attributes, "is_causal") != 0 && distance < 0) ||
      (left >= 0 && distance > left) || (right >= 0 && -distance > right) ||
      (valid && u >= valid->getInt(b)))
    return kUnseen;
  if (!mask)
    return 0;
  if (u >= mask->dims().back())
    return kUnseen;
  const int64_t at[] = {b, h, s, u};
  int64_t index = 0;
  const size_t rank = mask->dims().size();
  for (size_t axis = 0; axis < rank; ++axis)
    index = index * mask->dims()[axis] +
            (axis + 1 < rank && mask->dims()[axis] == 1 ? 0 : at[axis + 4 - rank]);
  if (mask->dtype() == DType::kBool)
    return mask->getInt(index) != 0 ? 0 : kUnseen;
  return mask->get(index);
}

/// Scores of one row become weights; a row that sees nothing becomes 0.
void softmax(std::span<double> scores) {
  double greatest = -HUGE_VAL, sum = 0;
  for (double score : scores)
    greatest = std::max(greatest, score);
  for (double &score : scores) {
    score = greatest == -HUGE_VAL ? 0 : std::exp(score - greatest);
    sum += score;
  }
  for (double &score : scores)
    score = sum == 0 ? 0 : score / sum;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  std::vector<const TensorType *> types;
  for (const Tensor *input : inputs)
    types.push_back(input ? &input->type() : nullptr);
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(types, attributes));
  double scale = floatAttribute(attributes, "scale"), cap = floatAttribute(attributes, "softcap");
  scale = scale == 0 ? 1 / std::sqrt(static_cast<double>(g.size)) : scale;
  const int64_t mode = intAttribute(attributes, "qk_matmul_output_mode");
  const Tensor &query = *inputs[kQuery];
  std::vector<Tensor> results;
  results.emplace_back(
      TensorType{query.dtype(), g.flat ? std::vector{g.batch, g.queries, g.heads * g.valueSize}
                                       : std::vector{g.batch, g.heads, g.queries, g.valueSize}});
  results.push_back(presentOf(*inputs[kKey], inputs[kPastKey], g, g.size));
  results.push_back(presentOf(*inputs[kValue], inputs[kPastValue], g, g.valueSize));
  results.emplace_back(TensorType{query.dtype(), {g.batch, g.heads, g.queries, g.total()}});
  std::vector<double> q(static_cast<size_t>(g.size)), k(q.size()),
      scores(static_cast<size_t>(g.total()));
  for (int64_t row = 0; row < g.batch * g.heads * g.queries; ++row) {
    const int64_t b = row / g.queries / g.heads, h = row / g.queries % g.heads, s = row % g.queries;
    const int64_t keys = (b * g.kvHeads + h / (g.heads / g.kvHeads)) * g.total();
    query.read(rowOf(g.flat, b, h, s, g.heads, g.queries, g.size), q);
    auto show = [&](int64_t u, double value, int64_t when) {
      if (mode == when)
        results[3].set(row * g.total() + u, value);
    };
    for (int64_t u = 0; u < g.total(); ++u) {
      results[1].read((keys + u) * g.size, k);
      double score = 0;
      for (size_t i = 0; i < q.size(); ++i)
        score += q[i] * k[i];
      score *= scale;
      show(u, score, 0);
      score = cap > 0 ? cap * std::tanh(score / cap) : score;
      show(u, score, 1);
      score += biasOf(inputs, attributes, g, b, h, s, u);
      show(u, score, 2);
      scores[static_cast<size_t>(u)] = score;
    }
    softmax(scores);
    for (int64_t u = 0; u < g.total(); ++u)
      show(u, scores[static_cast<size_t>(u)], 3);
    for (int64_t i = 0; i < g.valueSize; ++i) {
      double value = 0;
      for (int64_t u = 0; u < g.total(); ++u)
        if (scores[static_cast<size_t>(u)] != 0)
          value += scores[static_cast<size_t>(u)] * results[2].get((keys + u) * g.valueSize + i);
      results[0].set(rowOf(g.flat, b, h, s, g.heads, g.queries, g.valueSize) + i, value);
    }
  }
  return results;
}

Result<OpCall> fromAttention(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(const double scale, onnxFloat(node, "scale", 1));
  if (!(scale > 0))
    return base::unsupported("C8: scale is " + std::to_string(scale) + "; it must be positive");
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kAttention, node));
  call.outputs = {0, 1, 2, 3};
  return call;
}

} // namespace

const OpSpec kAttention{
    .name = "attention",
    .operands = {{"query"},
                 {"key"},
                 {"value"},
                 {.name = "mask", .optional = true},
                 {.name = "past_key", .optional = true},
                 {.name = "past_value", .optional = true},
                 {.name = "valid_keys", .optional = true}},
    .attributes = {{"is_causal", int64_t{0}},
                   {"q_num_heads", int64_t{0}},
                   {"kv_num_heads", int64_t{0}},
                   {"scale", 0.0},
                   {"softcap", 0.0},
                   {"qk_matmul_output_mode", int64_t{0}},
                   {"left_window_size", int64_t{-1}},
                   {"right_window_size", int64_t{-1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Attention", 23, kAnyVersion, fromAttention}},
    .loops = attention::lower,
};

} // namespace platen::ops
