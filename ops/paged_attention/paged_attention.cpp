// See paged_attention.md. The reference covers a stateless step: every key is in the step.
#include "ops/paged_attention/paged_attention.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &q = *context.types[0], &k = *context.types[1], &v = *context.types[2],
                   &positions = *context.types[3], &sequences = *context.types[4],
                   *sinks = context.types[5];
  if (q.rank() != 3 || k.rank() != 3 || v.rank() != 3 || !base::isFloat(q.dtype) ||
      k.dtype != q.dtype || v.dtype != q.dtype)
    return invalidArgument("C1: I1 is " + q.toString() + ", I2 " + k.toString() + ", I3 " +
                           v.toString() + "; they must be [T,heads,size] of one float dtype");
  bool fits = mayEqual(q.dims[0], k.dims[0]) && mayEqual(q.dims[2], k.dims[2]);
  for (size_t i = 0; i < 3; ++i)
    fits = fits && mayEqual(k.dims[i], v.dims[i]);
  if (!fits)
    return invalidArgument("C2: I1 " + q.toString() + ", I2 " + k.toString() + " and I3 " +
                           v.toString() + " differ in tokens, head size or key-value heads");
  if (q.dims[1] != kDynamic && k.dims[1] != kDynamic &&
      (k.dims[1] == 0 || q.dims[1] % k.dims[1] != 0))
    return invalidArgument("C3: " + std::to_string(q.dims[1]) + " heads do not share " +
                           std::to_string(k.dims[1]) + " key-value heads evenly");
  for (const TensorType *type : {&positions, &sequences})
    if (type->rank() != 1 || type->dtype != DType::kI32 || !mayEqual(type->dims[0], q.dims[0]))
      return invalidArgument("C4: I4 is " + positions.toString() + " and I5 is " +
                             sequences.toString() + "; both must be i32 with one entry a token");
  if (sinks &&
      (sinks->rank() != 1 || sinks->dtype != q.dtype || !mayEqual(sinks->dims[0], q.dims[1])))
    return invalidArgument("C5: I6 is " + sinks->toString() +
                           "; it must have I1's dtype and one entry a head");
  if (intAttribute(context.attributes, "window") < 0 ||
      floatAttribute(context.attributes, "softcap") < 0)
    return invalidArgument("C6: window and softcap must not be negative");
  return std::vector{q};
}

/// Attention of one head of token t; `scores` holds one entry a token.
void attend(Inputs inputs, const Attributes &attributes, int64_t t, int64_t head,
            std::span<double> scores, Tensor &y) {
  const Tensor &q = *inputs[0], &k = *inputs[1], &v = *inputs[2], &positions = *inputs[3],
               &sequences = *inputs[4];
  int64_t tokens = q.dims()[0], heads = q.dims()[1], size = q.dims()[2], kvHeads = k.dims()[1];
  int64_t kvHead = head / (heads / kvHeads), window = intAttribute(attributes, "window");
  double scale = floatAttribute(attributes, "scale"), cap = floatAttribute(attributes, "softcap");
  constexpr double kMasked = -std::numeric_limits<double>::infinity();
  double greatest = inputs[5] ? inputs[5]->get(head) : kMasked;
  for (int64_t u = 0; u < tokens; ++u) {
    double &score = scores[static_cast<size_t>(u)] = kMasked;
    int64_t distance = positions.getInt(t) - positions.getInt(u);
    if (sequences.getInt(u) != sequences.getInt(t) || distance < 0 ||
        (window > 0 && distance >= window))
      continue;
    score = 0;
    for (int64_t i = 0; i < size; ++i)
      score += q.get((t * heads + head) * size + i) * k.get((u * kvHeads + kvHead) * size + i);
    score *= scale;
    if (cap > 0)
      score = cap * std::tanh(score / cap);
    greatest = std::max(greatest, score);
  }
  double sum = inputs[5] ? std::exp(inputs[5]->get(head) - greatest) : 0;
  for (double &score : scores)
    sum += score = std::exp(score - greatest);
  for (int64_t i = 0; i < size; ++i) {
    double value = 0;
    for (int64_t u = 0; u < tokens; ++u)
      if (scores[static_cast<size_t>(u)] != 0)
        value += scores[static_cast<size_t>(u)] * v.get((u * kvHeads + kvHead) * size + i);
    y.set((t * heads + head) * size + i, value / sum);
  }
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &q = *inputs[0];
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(q.type());
  std::vector<double> scores(static_cast<size_t>(q.dims()[0]));
  for (int64_t t = 0; t < q.dims()[0]; ++t)
    for (int64_t head = 0; head < q.dims()[1]; ++head)
      attend(inputs, attributes, t, head, scores, y);
  return results;
}

} // namespace

const OpSpec kPagedAttention{
    .name = "paged_attention",
    .operands =
        {{"q"}, {"k"}, {"v"}, {"positions"}, {"sequences"}, {.name = "sinks", .optional = true}},
    .attributes = {{"layer", int64_t{0}, true},
                   {"scale", 1.0, true},
                   {"window", int64_t{0}},
                   {"softcap", 0.0}},
    .infer = infer,
    .reference = reference,
    .onnx = {},
};

} // namespace platen::ops
