// See cos.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/cos/cos.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::cos(x); });
}

} // namespace

const OpSpec kCos{
    .name = "cos",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Cos", 7}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kCos>); },
};

} // namespace platen::ops
