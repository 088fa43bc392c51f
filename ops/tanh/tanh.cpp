// See tanh.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/tanh/tanh.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::tanh(x); });
}

} // namespace

const OpSpec kTanh{
    .name = "tanh",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Tanh", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kTanh>); },
};

} // namespace platen::ops
