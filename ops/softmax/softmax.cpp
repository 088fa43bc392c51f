// See softmax.md for the contract. The greatest element is taken off first, so that nothing
// overflows.
#include "ops/softmax/softmax.h"
#include "ops/onnx_map.h"
#include "ops/softmax_rows.h"

#include <algorithm>
#include <cmath>

namespace platen::ops {
namespace {

void row(std::span<double> values) {
  double greatest = *std::max_element(values.begin(), values.end()), sum = 0;
  for (double &value : values) {
    value = std::exp(value - greatest);
    sum += value;
  }
  for (double &value : values)
    value /= sum;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return mapSoftmaxRows(inputs, attributes, row);
}

} // namespace

const OpSpec kSoftmax{
    .name = "softmax",
    .operands = {{"x"}},
    .attributes = {{"axis", int64_t{-1}}},
    .infer = inferSoftmax,
    .reference = reference,
    .onnx = {{"", "Softmax", 13}, {"", "Softmax", 1, 12, mapCoercedSoftmax}},
    .loops =
        [](loops::Lowering &op) {
          return loopSoftmaxRows(
              op, [](loops::Stage &s, loops::Value x, loops::Value greatest, loops::Value sum) {
                return s.div(s.unary(loops::Op::kExp, s.sub(x, greatest)), sum);
              });
        },
};

} // namespace platen::ops
