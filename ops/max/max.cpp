// See max.md for the contract; the constraints are those of inferVariadic.
#include "ops/max/max.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapVariadic(
      inputs,
      [](double a, double b) {
        if (std::isnan(a) || std::isnan(b))
          return std::nan("");
        return a > b ? a : b;
      },
      [](int64_t a, int64_t b) { return a > b ? a : b; });
}

} // namespace

const OpSpec kMax{
    .name = "max",
    .operands = {{.name = "inputs", .variadic = true}},
    .attributes = {},
    .infer = inferVariadic,
    .reference = reference,
    .onnx = {{"", "Max", 8}},
    .loops = [](loops::Lowering &op) { return loopVariadic(op, binaryLoop<loops::Op::kMax>); },
};

} // namespace platen::ops
