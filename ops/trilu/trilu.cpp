// See trilu.md for the contract.
#include "ops/trilu/trilu.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], *k = context.types[1];
  if (x.rank() < 2)
    return invalidArgument("C1: I1 is " + x.toString() + "; it must have rank 2 or more");
  if (k && (k->dtype != DType::kI64 || productOf(k->dims) != 1))
    return invalidArgument("C2: I2 is " + k->toString() + "; it must be one i64");
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  int64_t k = inputs[1] ? inputs[1]->getInt(0) : 0;
  bool upper = intAttribute(attributes, "upper") != 0;
  int64_t columns = x.dims().back(), rows = x.dims()[x.dims().size() - 2];
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  for (int64_t i = 0, count = x.elementCount(); i < count; ++i) {
    int64_t distance = i % columns - i / columns % rows; // column - row
    if (upper ? distance >= k : distance <= k)
      y.copyFrom(x, i, i, 1);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  const bool upper = intAttribute(op.attributes(), "upper") != 0;
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value k = op.has(1) ? s.scalar(op.operand(1)) : s.integer(0),
                       distance = s.sub(at[x.rank() - 1], at[x.rank() - 2]),
                       kept = upper ? s.lessEqual(k, distance) : s.lessEqual(distance, k);
    return s.select(kept, s.load(x, at), s.number(x.kind(), 0));
  });
}

} // namespace

const OpSpec kTrilu{
    .name = "trilu",
    .operands = {{"x"}, {.name = "k", .optional = true}},
    .attributes = {{"upper", int64_t{1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Trilu", 14}},
    .loops = lower,
};

} // namespace platen::ops
