// See div.md for the contract; the constraints are those of inferBinary.
#include "ops/div/div.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

int64_t divide(int64_t a, int64_t b) {
  if (b == 0)
    return 0;
  return b == -1 ? static_cast<int64_t>(-static_cast<uint64_t>(a)) : a / b;
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapBinary(
      inputs, inputs[0]->dtype(), [](double a, double b) { return a / b; },
      [](int64_t a, int64_t b) { return divide(a, b); });
}

} // namespace

const OpSpec kDiv{
    .name = "div",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = inferBinary,
    .reference = reference,
    .onnx = {{"", "Div", 7}},
    .loops = [](loops::Lowering &op) { return loopBinary(op, binaryLoop<loops::Op::kDiv>); },
};

} // namespace platen::ops
