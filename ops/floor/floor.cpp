// See floor.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/floor/floor.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::floor(x); });
}

} // namespace

const OpSpec kFloor{
    .name = "floor",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Floor", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kFloor>); },
};

} // namespace platen::ops
