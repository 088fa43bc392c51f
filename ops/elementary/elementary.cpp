// See elementary.md.
#include "ops/elementary/elementary.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <array>
#include <cmath>

namespace platen::ops {

using base::Result;

namespace {

struct Kind {
  std::string_view name, onnx;
  double (*reference)(double);
  loops::Op loop;
};
const std::array kKinds = {
    Kind{"acos", "Acos", [](double x) { return std::acos(x); }, loops::Op::kAcos},
    Kind{"acosh", "Acosh", [](double x) { return std::acosh(x); }, loops::Op::kAcosh},
    Kind{"asin", "Asin", [](double x) { return std::asin(x); }, loops::Op::kAsin},
    Kind{"asinh", "Asinh", [](double x) { return std::asinh(x); }, loops::Op::kAsinh},
    Kind{"atan", "Atan", [](double x) { return std::atan(x); }, loops::Op::kAtan},
    Kind{"atanh", "Atanh", [](double x) { return std::atanh(x); }, loops::Op::kAtanh},
    Kind{"cosh", "Cosh", [](double x) { return std::cosh(x); }, loops::Op::kCosh},
    Kind{"round", "Round", [](double x) { return std::nearbyint(x); }, loops::Op::kRoundEven},
    Kind{"sinh", "Sinh", [](double x) { return std::sinh(x); }, loops::Op::kSinh},
    Kind{"tan", "Tan", [](double x) { return std::tan(x); }, loops::Op::kTan},
};

Result<Kind> kindOf(const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "kind");
  for (const Kind &kind : kKinds)
    if (kind.name == name)
      return kind;
  return base::invalidArgument("C2: kind is '" + name + "', which names no elementary function");
}

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<TensorType> types, inferFloatUnary(context));
  auto kind = kindOf(context.attributes);
  if (!kind)
    return kind.status();
  return types;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(attributes));
  return mapFloatUnary(inputs, kind.reference);
}

base::Status lower(loops::Lowering &op) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(op.attributes()));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    return s.unary(kind.loop, s.load(op.operand(0), at));
  });
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  for (const Kind &kind : kKinds)
    if (kind.onnx == node.opType)
      return OpCall{{OnnxOperand::ofInput(0)}, {{"kind", std::string(kind.name)}}, {0}};
  return base::unsupported("there is no elementary function " + std::string(node.opType));
}

std::vector<OnnxRow> onnxRows() {
  std::vector<OnnxRow> rows;
  for (const Kind &kind : kKinds)
    rows.push_back({"", kind.onnx, 1, kAnyVersion, fromOnnx});
  return rows;
}

} // namespace

const OpSpec kElementary{
    .name = "elementary",
    .operands = {{"x"}},
    .attributes = {{"kind", std::string(), true}},
    .infer = infer,
    .reference = reference,
    .onnx = onnxRows(),
    .loops = lower,
};

} // namespace platen::ops
