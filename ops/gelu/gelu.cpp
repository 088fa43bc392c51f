// See gelu.md; Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2.
#include "ops/gelu/gelu.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <cmath>
#include <numbers>

namespace platen::ops {
namespace {

InferResult infer(const InferContext &context) {
  const std::string &approximate = stringAttribute(context.attributes, "approximate");
  if (approximate != "none" && approximate != "tanh")
    return base::invalidArgument("C2: approximate is \"" + approximate +
                                 "\"; it must be \"none\" or \"tanh\"");
  return inferFloatUnary(context);
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  if (stringAttribute(attributes, "approximate") == "none")
    return mapFloatUnary(
        inputs, [](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); });
  return mapFloatUnary(inputs, [](double x) {
    double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1 + std::tanh(inner));
  });
}

base::Result<OpCall> fromFastGelu(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(refuseInput(node, 1, "C3"));
  return OpCall{{OnnxOperand::ofInput(0)}, {{"approximate", std::string("tanh")}}, {0}};
}

base::Status lower(loops::Lowering &op) {
  const bool exact = stringAttribute(op.attributes(), "approximate") == "none";
  const loops::TensorRef x = op.operand(0);
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value value = s.load(x, at);
    auto number = [&](double constant) { return s.number(x.kind(), constant); };
    const loops::Value half = s.mul(number(0.5), value);
    if (exact)
      return s.mul(half, s.add(number(1), s.unary(loops::Op::kErf,
                                                  s.mul(value, number(1 / std::numbers::sqrt2)))));
    const loops::Value cube = s.mul(s.mul(value, value), value);
    const loops::Value inner =
        s.mul(number(std::sqrt(2 / std::numbers::pi)), s.fma(number(0.044715), cube, value));
    return s.mul(half, s.add(number(1), s.unary(loops::Op::kTanh, inner)));
  });
}

} // namespace

const OpSpec kGelu{
    .name = "gelu",
    .operands = {{"x"}},
    .attributes = {{"approximate", std::string("none")}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Gelu", 20},
             {"com.microsoft", "Gelu", 1},
             {"com.microsoft", "FastGelu", 1, kAnyVersion, fromFastGelu}},
    .loops = lower,
};

} // namespace platen::ops
