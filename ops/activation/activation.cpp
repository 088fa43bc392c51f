// See activation.md. Functions that have an operator of their own (relu, sigmoid, tanh, gelu) are
// not here.
#include "ops/activation/activation.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace platen::ops {

using base::Result;
using loops::Op;
using loops::Stage;
using loops::Value;

namespace {

double softplus(double x) { return std::log1p(std::exp(-std::abs(x))) + std::max(x, 0.0); }
/// ln(1 + e^x) without overflow.
Value softplusLoop(Stage &s, Value x) {
  const Value zero = s.number(s.kind(x), 0), one = s.number(s.kind(x), 1);
  const Value power = s.unary(Op::kExp, s.unary(Op::kNeg, s.unary(Op::kAbs, x)));
  return s.add(s.unary(Op::kLog, s.add(one, power)), s.max(x, zero));
}
/// e^x - 1 of what is not positive.
Value expLessOne(Stage &s, Value x) {
  return s.sub(s.unary(Op::kExp, s.min(x, s.number(s.kind(x), 0))), s.number(s.kind(x), 1));
}
Value isNegative(Stage &s, Value x) { return s.less(x, s.number(s.kind(x), 0)); }
/// x limited to [0, 1].
Value unit(Stage &s, Value x) {
  return s.max(s.number(s.kind(x), 0), s.min(s.number(s.kind(x), 1), x));
}

struct Kind {
  std::string_view name, onnx;
  double alpha, beta; ///< ONNX' defaults
  double (*reference)(double x, double alpha, double beta);
  Value (*loop)(Stage &, Value x, Value alpha, Value beta);
  std::string_view alphaName = "alpha", betaName = "beta"; ///< ONNX' attributes
};

const std::array kKinds = {
    Kind{"celu", "Celu", 1, 0,
         [](double x, double a, double) { return x < 0 ? a * std::expm1(x / a) : x; },
         [](Stage &s, Value x, Value a, Value) {
           return s.select(isNegative(s, x), s.mul(a, expLessOne(s, s.div(x, a))), x);
         }},
    Kind{"elu", "Elu", 1, 0,
         [](double x, double a, double) { return x < 0 ? a * std::expm1(x) : x; },
         [](Stage &s, Value x, Value a, Value) {
           return s.select(isNegative(s, x), s.mul(a, expLessOne(s, x)), x);
         }},
    Kind{"hard_sigmoid", "HardSigmoid", 0.2, 0.5,
         [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); },
         [](Stage &s, Value x, Value a, Value b) { return unit(s, s.fma(a, x, b)); }},
    Kind{"hard_swish", "HardSwish", 0, 0,
         [](double x, double, double) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); },
         [](Stage &s, Value x, Value, Value) {
           const Value six = s.number(s.kind(x), 6), half = s.number(s.kind(x), 0.5);
           return s.mul(x, unit(s, s.add(s.div(x, six), half)));
         }},
    Kind{"leaky_relu", "LeakyRelu", 0.01, 0,
         [](double x, double a, double) { return x < 0 ? a * x : x; },
         [](Stage &s, Value x, Value a, Value) {
           return s.select(isNegative(s, x), s.mul(a, x), x);
         }},
    Kind{"mish", "Mish", 0, 0, [](double x, double, double) { return x * std::tanh(softplus(x)); },
         [](Stage &s, Value x, Value, Value) {
           return s.mul(x, s.unary(Op::kTanh, softplusLoop(s, x)));
         }},
    Kind{"selu", "Selu", 1.67326319217681884765625, 1.05070102214813232421875,
         [](double x, double a, double g) { return g * (x <= 0 ? a * std::expm1(x) : x); },
         [](Stage &s, Value x, Value a, Value g) {
           return s.mul(g, s.select(isNegative(s, x), s.mul(a, expLessOne(s, x)), x));
         },
         "alpha", "gamma"},
    Kind{"shrink", "Shrink", 0, 0.5,
         [](double x, double a, double b) { return x < -b  ? x + a
                                                   : x > b ? x - a
                                                           : 0; },
         [](Stage &s, Value x, Value a, Value b) {
           return s.select(s.less(x, s.unary(Op::kNeg, b)), s.add(x, a),
                           s.select(s.less(b, x), s.sub(x, a), s.number(s.kind(x), 0)));
         },
         "bias", "lambd"},
    Kind{"softplus", "Softplus", 0, 0, [](double x, double, double) { return softplus(x); },
         [](Stage &s, Value x, Value, Value) { return softplusLoop(s, x); }},
    Kind{"softsign", "Softsign", 0, 0,
         [](double x, double, double) { return x / (1 + std::abs(x)); },
         [](Stage &s, Value x, Value, Value) {
           return s.div(x, s.add(s.number(s.kind(x), 1), s.unary(Op::kAbs, x)));
         }},
    Kind{"swish", "Swish", 1, 0,
         [](double x, double a, double) { return x / (1 + std::exp(-a * x)); },
         [](Stage &s, Value x, Value a, Value) {
           const Value power = s.unary(Op::kExp, s.unary(Op::kNeg, s.mul(a, x)));
           return s.div(x, s.add(s.number(s.kind(x), 1), power));
         }},
    Kind{"thresholded_relu", "ThresholdedRelu", 1, 0,
         [](double x, double a, double) { return x > a ? x : 0; },
         [](Stage &s, Value x, Value a, Value) {
           return s.select(s.less(a, x), x, s.number(s.kind(x), 0));
         }},
};

Result<Kind> kindOf(const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "kind");
  for (const Kind &kind : kKinds)
    if (kind.name == name)
      return kind;
  return base::invalidArgument("C2: kind is '" + name + "', which names no activation");
}

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<TensorType> types, inferFloatUnary(context));
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(context.attributes));
  if (kind.name == "celu" && floatAttribute(context.attributes, "alpha") == 0)
    return base::invalidArgument("C3: alpha of celu is 0");
  return types;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(attributes));
  const double alpha = floatAttribute(attributes, "alpha"),
               beta = floatAttribute(attributes, "beta");
  std::vector<Tensor> results{*inputs[0]};
  for (int64_t i = 0; i < results[0].elementCount(); ++i)
    results[0].set(i, kind.reference(inputs[0]->get(i), alpha, beta));
  return results;
}

base::Status lower(loops::Lowering &op) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(op.attributes()));
  const loops::TensorRef x = op.operand(0);
  return op.compute(op.result(0), [&](Stage &s, loops::Coordinates at) {
    return kind.loop(s, s.load(x, at), s.number(x.kind(), floatAttribute(op.attributes(), "alpha")),
                     s.number(x.kind(), floatAttribute(op.attributes(), "beta")));
  });
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  for (const Kind &kind : kKinds)
    if (kind.onnx == node.opType) {
      PLATEN_ASSIGN_OR_RETURN(double alpha, onnxFloat(node, kind.alphaName, kind.alpha));
      PLATEN_ASSIGN_OR_RETURN(double beta, onnxFloat(node, kind.betaName, kind.beta));
      return OpCall{{OnnxOperand::ofInput(0)},
                    {{"kind", std::string(kind.name)}, {"alpha", alpha}, {"beta", beta}},
                    {0}};
    }
  return base::unsupported("there is no activation " + std::string(node.opType));
}

std::vector<OnnxRow> onnxRows() {
  std::vector<OnnxRow> rows;
  for (const Kind &kind : kKinds)
    rows.push_back({"", kind.onnx, 1, kAnyVersion, fromOnnx});
  return rows;
}

} // namespace

const OpSpec kActivation{
    .name = "activation",
    .operands = {{"x"}},
    .attributes = {{"kind", std::string(), true}, {"alpha", 0.0}, {"beta", 0.0}},
    .infer = infer,
    .reference = reference,
    .onnx = onnxRows(),
    .loops = lower,
};

} // namespace platen::ops
