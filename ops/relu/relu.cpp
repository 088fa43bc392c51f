// See relu.md for the contract; constraint C1 is that of inferNumericUnary.
#include "ops/relu/relu.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapUnary(
      inputs, inputs[0]->dtype(), [](double x) { return x < 0 ? 0.0 : x; },
      [](int64_t x) { return x < 0 ? 0 : x; });
}

} // namespace

const OpSpec kRelu{
    .name = "relu",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferNumericUnary,
    .reference = reference,
    .onnx = {{"", "Relu", 6}},
};

} // namespace platen::ops
