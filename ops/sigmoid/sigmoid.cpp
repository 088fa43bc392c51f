// See sigmoid.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/sigmoid/sigmoid.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return 1 / (1 + std::exp(-x)); });
}

} // namespace

const OpSpec kSigmoid{
    .name = "sigmoid",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Sigmoid", 6}},
    .loops =
        [](loops::Lowering &op) {
          return loopUnary(op, [](loops::Stage &s, loops::Value x) {
            const loops::Value one = s.number(s.kind(x), 1);
            return s.div(one, s.add(one, s.unary(loops::Op::kExp, s.unary(loops::Op::kNeg, x))));
          });
        },
};

} // namespace platen::ops
