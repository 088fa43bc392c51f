// See abs.md for the contract; constraint C1 is that of inferNumericUnary.
#include "ops/abs/abs.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapUnary(
      inputs, inputs[0]->dtype(), [](double x) { return std::abs(x); },
      [](int64_t x) { return x < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(x)) : x; });
}

} // namespace

const OpSpec kAbs{
    .name = "abs",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferNumericUnary,
    .reference = reference,
    .onnx = {{"", "Abs", 6}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kAbs>); },
};

} // namespace platen::ops
