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

} // namespace

const OpSpec kReduceMean{
    .name = "reduce_mean",
    .operands = {{"x"}, {.name = "axes", .optional = true}},
    .attributes = reductionAttributes(),
    .infer = inferFloatReduction,
    .reference = reference,
    .onnx = {{"", "ReduceMean", 18}, {"", "ReduceMean", 1, 17, fromAttribute}},
};

} // namespace platen::ops
