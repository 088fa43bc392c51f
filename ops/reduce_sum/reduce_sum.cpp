// See reduce_sum.md for the contract; the constraints are those of inferReduction.
#include "ops/reduce_sum/reduce_sum.h"
#include "ops/onnx_map.h"
#include "ops/reduction.h"

namespace platen::ops {
namespace {

double floating(std::span<const double> values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return sum;
}

int64_t integral(std::span<const int64_t> values) {
  uint64_t sum = 0; // wraps
  for (int64_t value : values)
    sum += static_cast<uint64_t>(value);
  return static_cast<int64_t>(sum);
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return mapReduction(inputs, attributes, floating, integral);
}

base::Result<OpCall> fromAttribute(const OnnxNode &node) {
  return mapReductionAxesAttribute(kReduceSum, node);
}

const LoopReduction kLoops{
    .initial = [](loops::Stage &s, loops::Kind kind) { return s.number(kind, 0); },
    .combine = binaryLoop<loops::Op::kAdd>,
    .anyOrder = true};

} // namespace

const OpSpec kReduceSum{
    .name = "reduce_sum",
    .operands = {{"x"}, {.name = "axes", .optional = true}},
    .attributes = reductionAttributes(),
    .infer = inferReduction,
    .reference = reference,
    .onnx = {{"", "ReduceSum", 13}, {"", "ReduceSum", 1, 12, fromAttribute}},
    .loops = [](loops::Lowering &op) { return loopReduction(op, kLoops); },
};

} // namespace platen::ops
