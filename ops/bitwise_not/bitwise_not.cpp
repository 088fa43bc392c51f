// See bitwise_not.md.
#include "ops/bitwise_not/bitwise_not.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0];
  if (base::isFloat(x.dtype) || x.dtype == DType::kBool)
    return base::invalidArgument("C1: I1 is " + x.toString() + "; it must be an integer tensor");
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapUnary(inputs, inputs[0]->dtype(), nullptr, [](int64_t x) { return ~x; });
}

} // namespace

const OpSpec kBitwiseNot{
    .name = "bitwise_not",
    .operands = {{"x"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "BitwiseNot", 18}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kNot>); },
};

} // namespace platen::ops
