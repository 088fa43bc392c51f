// See reduce_mean.md for the contract; the constraints are those of inferFloatReduction.
#include "ops/reduce_mean/reduce_mean.h"
#include "ops/onnx_map.h"
#include "ops/reduction.h"

namespace platen::ops {
namespace {

double floating(std::span<const double> values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return sum / static_cast<double>(values.size());
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return mapReduction(inputs, attributes, floating, nullptr);
}

base::Result<OpCall> fromAttribute(const OnnxNode &node) {
  return mapReductionAxesAttribute(kReduceMean, node);
}

const LoopReduction kLoops{
    .initial = [](loops::Stage &s, loops::Kind kind) { return s.number(kind, 0); },
    .combine = binaryLoop<loops::Op::kAdd>,
    .finish = [](loops::Stage &s, loops::Value sum,
                 loops::Value count) { return s.div(sum, s.convert(s.kind(sum), count)); },
    .anyOrder = true};

} // namespace

const OpSpec kReduceMean{
    .name = "reduce_mean",
    .operands = {{"x"}, {.name = "axes", .optional = true}},
    .attributes = reductionAttributes(),
    .infer = inferFloatReduction,
    .reference = reference,
    .onnx = {{"", "ReduceMean", 18}, {"", "ReduceMean", 1, 17, fromAttribute}},
    .loops = [](loops::Lowering &op) { return loopReduction(op, kLoops); },
};

} // namespace platen::ops
