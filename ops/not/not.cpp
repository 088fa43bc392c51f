// See not.md for the contract; constraint C1 is that of inferBoolUnary.
#include "ops/not/not.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapUnary(inputs, DType::kBool, nullptr, [](int64_t x) { return int64_t{x == 0}; });
}

} // namespace

const OpSpec kNot{
    .name = "not",
    .operands = {{"x"}},
    .attributes = {},
    .infer = inferBoolUnary,
    .reference = reference,
    .onnx = {{"", "Not", 1}},
    .loops = [](loops::Lowering &op) { return loopUnary(op, unaryLoop<loops::Op::kNot>); },
};

} // namespace platen::ops
