// See sin.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/sin/sin.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::sin(x); });
}

} // namespace

const OpSpec kSin{
    .name = "sin",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Sin", 7}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kSin>); },
};

} // namespace platen::ops
