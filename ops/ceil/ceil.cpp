// See ceil.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/ceil/ceil.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::ceil(x); });
}

} // namespace

const OpSpec kCeil{
    .name = "ceil",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Ceil", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kCeil>); },
};

} // namespace platen::ops
