// See quantize_linear.md. The quotient is rounded to f32 (f64 of f64) before it is rounded to an
// integer, as ONNX does.
#include "ops/quantize_linear/quantize_linear.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"
#include "ops/quantization.h"

#include <algorithm>
#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

struct Limits {
  int64_t least, greatest;
};
std::optional<Limits> limitsOf(DType dtype) {
  switch (dtype) {
  case DType::kI4:
    return Limits{-8, 7};
  case DType::kU4:
    return Limits{0, 15};
  case DType::kI8:
    return Limits{-128, 127};
  case DType::kU8:
    return Limits{0, 255};
  case DType::kI16:
    return Limits{-32768, 32767};
  case DType::kU16:
    return Limits{0, 65535};
  default:
    return std::nullopt;
  }
}

Result<DType> targetOf(const TensorType *zero, const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "output_dtype");
  DType to = zero ? zero->dtype : DType::kU8;
  if (!name.empty())
    for (int code = static_cast<int>(DType::kF32); code <= static_cast<int>(DType::kBool); ++code)
      if (base::dtypeName(static_cast<DType>(code)) == name)
        to = static_cast<DType>(code);
  if (!limitsOf(to) || (!name.empty() && base::dtypeName(to) != name))
    return invalidArgument("C6: the result would be " +
                           (name.empty() ? std::string(base::dtypeName(to)) : name) +
                           "; it must be i4, u4, i8, u8, i16 or u16");
  return to;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &scale = *context.types[1], *zero = context.types[2];
  if (!base::isFloat(x.dtype))
    return invalidArgument("C1: I1 is " + x.toString() + "; it must be a float tensor");
  if (!base::isFloat(scale.dtype))
    return invalidArgument("C2: I2 is " + scale.toString() + "; it must be a float tensor");
  PLATEN_ASSIGN_OR_RETURN(const DType to, targetOf(zero, context.attributes));
  PLATEN_RETURN_IF_ERROR(checkZeroPoint(zero, to, scale));
  auto geometry = quantizationOf(x, scale, context.attributes);
  if (!geometry)
    return geometry.status();
  return std::vector{TensorType{to, x.dims}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &scale = *inputs[1], *zero = inputs[2];
  PLATEN_ASSIGN_OR_RETURN(const QuantizationGeometry g,
                          quantizationOf(x.type(), scale.type(), attributes));
  PLATEN_ASSIGN_OR_RETURN(const DType to, targetOf(zero ? &zero->type() : nullptr, attributes));
  const Limits limits = *limitsOf(to);
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{to, x.type().dims});
  for (int64_t i = 0; i < x.elementCount(); ++i) {
    const int64_t at = g.scaleOf(i, x.dims(), scale.dims());
    double quotient = x.get(i) / scale.get(at);
    if (x.dtype() != DType::kF64)
      quotient = static_cast<float>(quotient);
    const double whole = std::isnan(quotient) ? 0 : std::clamp(std::nearbyint(quotient), -1e9, 1e9);
    y.setInt(i, std::clamp(static_cast<int64_t>(whole) + (zero ? zero->getInt(at) : 0),
                           limits.least, limits.greatest));
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), scale = op.operand(1), y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(const QuantizationLoop lie, quantizationLoop(x, scale, op.attributes()));
  const Limits limits = *limitsOf(y.dtype);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const std::vector<loops::Value> own = lie.at(s, at);
    const loops::Value whole =
        s.unary(loops::Op::kRoundEven, s.div(s.load(x, at), s.as(x, s.load(scale, own))));
    const loops::Value limited =
        s.max(s.number(x.kind(), -1e9), s.min(s.number(x.kind(), 1e9), whole));
    loops::Value value = s.convert(loops::Kind::kInt, limited);
    if (op.has(2))
      value = s.add(value, lie.one ? s.scalar(op.operand(2)) : s.load(op.operand(2), own));
    return s.max(s.integer(limits.least), s.min(s.integer(limits.greatest), value));
  });
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(const int64_t number, onnxInt(node, "output_dtype", 0));
  PLATEN_ASSIGN_OR_RETURN(const int64_t axis, onnxInt(node, "axis", 1));
  PLATEN_ASSIGN_OR_RETURN(const int64_t block, onnxInt(node, "block_size", 0));
  OpCall call{{OnnxOperand::ofInput(0), OnnxOperand::ofInput(1), inputOrAbsent(node, 2)},
              {{"axis", axis}, {"block_size", block}},
              {0}};
  if (number != 0) {
    PLATEN_ASSIGN_OR_RETURN(const DType to, onnxDType(number));
    call.attributes["output_dtype"] = std::string(base::dtypeName(to));
  }
  return call;
}

} // namespace

const OpSpec kQuantizeLinear{
    .name = "quantize_linear",
    .operands = {{"x"}, {"scale"}, {.name = "zero_point", .optional = true}},
    .attributes = {{"axis", int64_t{1}},
                   {"block_size", int64_t{0}},
                   {"output_dtype", std::string()}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "QuantizeLinear", 10, kAnyVersion, fromOnnx}},
    .loops = lower,
};

} // namespace platen::ops
