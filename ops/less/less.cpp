// See less.md for the contract; the constraints are those of inferComparison.
#include "ops/less/less.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapBinary(
      inputs, DType::kBool, [](double a, double b) { return a < b ? 1.0 : 0.0; },
      [](int64_t a, int64_t b) { return int64_t{a < b}; });
}

} // namespace

const OpSpec kLess{
    .name = "less",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = inferComparison,
    .reference = reference,
    .onnx = {{"", "Less", 7}},
    .loops = [](loops::Lowering &op) { return loopBinary(op, binaryLoop<loops::Op::kLess>); },
};

} // namespace platen::ops
