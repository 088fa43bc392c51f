// See sigmoid.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/sigmoid/sigmoid.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapFloatUnary(inputs, [](double x) { return 1 / (1 + std::exp(-x)); });
}

} // namespace

const OpSpec kSigmoid{
    .name = "sigmoid",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferFloatUnary,
    .reference = reference,
    .onnx = {{"", "Sigmoid", 6}},
};

} // namespace platen::ops
