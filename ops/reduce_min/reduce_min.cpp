// See reduce_min.md for the contract; the constraints are those of inferReduction.
#include "ops/reduce_min/reduce_min.h"
#include "ops/onnx_map.h"
#include "ops/reduction.h"

#include <cmath>
#include <limits>

namespace platen::ops {
namespace {

double floating(std::span<const double> values) {
  double best = std::numeric_limits<double>::infinity();
  for (double value : values)
    if (std::isnan(value) || value < best)
      best = value;
  return best;
}

int64_t integral(std::span<const int64_t> values) {
  int64_t best = std::numeric_limits<int64_t>::max();
  for (int64_t value : values)
    best = value < best ? value : best;
  return best;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return mapReduction(inputs, attributes, floating, integral);
}

base::Result<OpCall> fromAttribute(const OnnxNode &node) {
  return mapReductionAxesAttribute(kReduceMin, node);
}

const LoopReduction kLoops{
    .initial = [](loops::Stage &s, loops::Kind kind) { return s.greatest(kind); },
    .combine = binaryLoop<loops::Op::kMin>};

} // namespace

const OpSpec kReduceMin{
    .name = "reduce_min",
    .operands = {{"x"}, {.name = "axes", .optional = true}},
    .attributes = reductionAttributes(),
    .infer = inferReduction,
    .reference = reference,
    .onnx = {{"", "ReduceMin", 18}, {"", "ReduceMin", 1, 17, fromAttribute}},
    .loops = [](loops::Lowering &op) { return loopReduction(op, kLoops); },
};

} // namespace platen::ops
