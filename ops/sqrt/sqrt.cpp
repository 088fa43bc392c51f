// See sqrt.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/sqrt/sqrt.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return std::sqrt(x); });
}

} // namespace

const OpSpec kSqrt{
    .name = "sqrt",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Sqrt", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kSqrt>); },
};

} // namespace platen::ops
