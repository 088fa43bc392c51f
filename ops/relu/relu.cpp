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
    .loops =
        [](loops::Lowering &op) {
          return loopUnary(op, [](loops::Stage &s, loops::Value x) {
            const loops::Value zero = s.number(s.kind(x), 0);
            return s.select(s.less(x, zero), zero, x);
          });
        },
};

} // namespace platen::ops
