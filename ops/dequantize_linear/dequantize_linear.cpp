// See dequantize_linear.md for the contract.
#include "ops/dequantize_linear/dequantize_linear.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"
#include "ops/quantization.h"

#include <algorithm>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &scale = *context.types[1], *zero = context.types[2];
  if (base::isFloat(x.dtype) || x.dtype == DType::kBool || x.dtype == DType::kI64 ||
      x.dtype == DType::kU64 || x.dtype == DType::kU32)
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be i4, u4, i8, u8, i16, u16 or i32");
  if (!base::isFloat(scale.dtype) || scale.dtype == DType::kF64)
    return invalidArgument("C2: I2 is " + scale.toString() + "; it must be f32, f16 or bf16");
  PLATEN_RETURN_IF_ERROR(checkZeroPoint(zero, x.dtype, scale));
  auto geometry = quantizationOf(x, scale, context.attributes);
  if (!geometry)
    return geometry.status();
  return std::vector{TensorType{scale.dtype, x.dims}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &scale = *inputs[1], *zero = inputs[2];
  PLATEN_ASSIGN_OR_RETURN(QuantizationGeometry g,
                          quantizationOf(x.type(), scale.type(), attributes));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{scale.dtype(), x.type().dims});
  for (int64_t i = 0, count = x.elementCount(); i < count; ++i) {
    const int64_t at = g.scaleOf(i, x.dims(), scale.dims());
    double offset = zero ? zero->get(at) : 0;
    y.set(i, (x.get(i) - offset) * scale.get(at));
  }
  return results;
}

Result<OpCall> fromDequantizeLinear(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(requireInt(node, "output_dtype", 0, "C6"));
  return defaultOnnxMap(kDequantizeLinear, node);
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), scale = op.operand(1), y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(const QuantizationLoop lie, quantizationLoop(x, scale, op.attributes()));
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const std::vector<loops::Value> own = lie.at(s, at);
    loops::Value value = s.load(x, at);
    if (op.has(2))
      value = s.sub(value, lie.one ? s.scalar(op.operand(2)) : s.load(op.operand(2), own));
    return s.mul(s.convert(y.kind(), value), s.load(scale, own));
  });
}

} // namespace

const OpSpec kDequantizeLinear{
    .name = "dequantize_linear",
    .operands = {{"x"}, {"scale"}, {.name = "zero_point", .optional = true}},
    .attributes = {{"axis", int64_t{1}}, {"block_size", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "DequantizeLinear", 10, kAnyVersion, fromDequantizeLinear}},
    .loops = lower,
};

} // namespace platen::ops
