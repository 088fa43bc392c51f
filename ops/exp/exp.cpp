// See exp.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/exp/exp.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::exp(x); });
}

} // namespace

const OpSpec kExp{
    .name = "exp",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Exp", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kExp>); },
};

} // namespace platen::ops
