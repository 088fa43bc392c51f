// See log.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/log/log.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::log(x); });
}

} // namespace

const OpSpec kLog{
    .name = "log",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Log", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kLog>); },
};

} // namespace platen::ops
