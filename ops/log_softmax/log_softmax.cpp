// See log_softmax.md for the contract. The greatest element is taken off first, so that nothing
// overflows.
#include "ops/log_softmax/log_softmax.h"
#include "ops/onnx_map.h"
#include "ops/softmax_rows.h"

#include <algorithm>
#include <cmath>

namespace platen::ops {
namespace {

void row(std::span<double> values) {
  double greatest = *std::max_element(values.begin(), values.end()), sum = 0;
  for (double value : values)
    sum += std::exp(value - greatest);
  for (double &value : values)
    value = value - greatest - std::log(sum);
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return mapSoftmaxRows(inputs, attributes, row);
}

} // namespace

const OpSpec kLogSoftmax{
    .name = "log_softmax",
    .operands = {{"x"}},
    .attributes = {{"axis", int64_t{-1}}},
    .infer = inferSoftmax,
    .reference = reference,
    .onnx = {{"", "LogSoftmax", 13}, {"", "LogSoftmax", 1, 12, mapCoercedSoftmax}},
    .loops =
        [](loops::Lowering &op) {
          return loopSoftmaxRows(
              op, [](loops::Stage &s, loops::Value x, loops::Value greatest, loops::Value sum) {
                return s.sub(s.sub(x, greatest), s.unary(loops::Op::kLog, sum));
              });
        },
};

} // namespace platen::ops
