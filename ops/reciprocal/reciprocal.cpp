// See reciprocal.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/reciprocal/reciprocal.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return 1 / x; });
}

} // namespace

const OpSpec kReciprocal{
    .name = "reciprocal",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Reciprocal", 6}},
    .loops =
        [](loops::Lowering &op) {
          return loopUnary(
              op, [](loops::Stage &s, loops::Value x) { return s.div(s.number(s.kind(x), 1), x); });
        },
};

} // namespace platen::ops
