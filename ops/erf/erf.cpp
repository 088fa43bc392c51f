// See erf.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/erf/erf.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::erf(x); });
}

} // namespace

const OpSpec kErf{
    .name = "erf",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Erf", 9}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kErf>); },
};

} // namespace platen::ops
