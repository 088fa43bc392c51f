// See neg.md for the contract; constraint C1 is that of inferNumericUnary.
#include "ops/neg/neg.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapUnary(
      inputs, inputs[0]->dtype(), [](double x) { return -x; },
      [](int64_t x) { return static_cast<int64_t>(-static_cast<uint64_t>(x)); });
}

} // namespace

const OpSpec kNeg{
    .name = "neg",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferNumericUnary,
    .reference = reference,
    .onnx = {{"", "Neg", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kNeg>); },
};

} // namespace platen::ops
