// See sub.md for the contract; the constraints are those of inferBinary.
#include "ops/sub/sub.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapBinary(
      inputs, inputs[0]->dtype(), [](double a, double b) { return a - b; },
      [](int64_t a, int64_t b) {
        return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
      });
}

} // namespace

const OpSpec kSub{
    .name = "sub",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = inferBinary,
    .reference = reference,
    .onnx = {{"", "Sub", 7}},
    .loops = [](loops::Lowering &op) { return loopBinary(op, binaryLoop<loops::Op::kSub>); },
};

} // namespace platen::ops
