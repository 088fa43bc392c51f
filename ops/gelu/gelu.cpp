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
};

} // namespace platen::ops
