// See xor.md for the contract; the constraints are those of inferLogical.
#include "ops/xor/xor.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapBinary(inputs, DType::kBool, nullptr, [](int64_t a, int64_t b) { return a ^ b; });
}

} // namespace

const OpSpec kXor{
    .name = "xor",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = inferLogical,
    .reference = reference,
    .onnx = {{"", "Xor", 7}},
    .loops = [](loops::Lowering &op) { return loopBinary(op, binaryLoop<loops::Op::kXor>); },
};

} // namespace platen::ops
