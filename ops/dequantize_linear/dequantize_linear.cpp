// See dequantize_linear.md for the contract.
#include "ops/dequantize_linear/dequantize_linear.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <algorithm>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// How I2 and I3 lie over I1: one for all, one for each index of an axis, one for each block.
enum class Granularity { kTensor, kAxis, kBlock };

struct Geometry {
  Granularity granularity;
  size_t axis;
  int64_t blockSize;
};

Result<Geometry> geometryOf(const TensorType &x, const TensorType &scale,
                            const Attributes &attributes) {
  Geometry g{Granularity::kTensor, 0, intAttribute(attributes, "block_size")};
  if (g.blockSize == 0 && productOf(scale.dims) == 1 && scale.rank() <= 1)
    return g;
  auto axis = normalizeAxis(intAttribute(attributes, "axis"), x.rank(), "C3: axis");
  if (!axis)
    return axis.status();
  g.axis = static_cast<size_t>(*axis);
  g.granularity = g.blockSize == 0 ? Granularity::kAxis : Granularity::kBlock;
  if (g.blockSize < 0)
    return invalidArgument("C4: block_size is negative");
  bool fits = g.granularity == Granularity::kAxis
                  ? scale.rank() == 1 && mayEqual(scale.dims[0], x.dims[g.axis])
                  : scale.rank() == x.rank();
  for (size_t i = 0; fits && g.granularity == Granularity::kBlock && i < x.dims.size(); ++i) {
    int64_t wanted = x.dims[i];
    if (i == g.axis && wanted != kDynamic)
      wanted = (wanted + g.blockSize - 1) / g.blockSize;
    fits = mayEqual(scale.dims[i], wanted);
  }
  if (!fits)
    return invalidArgument("C4: I2 is " + scale.toString() + ", which fits I1 " + x.toString() +
                           " neither as one value, nor along axis " + std::to_string(g.axis) +
                           ", nor in blocks of " + std::to_string(g.blockSize));
  return g;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &scale = *context.types[1], *zero = context.types[2];
  if (base::isFloat(x.dtype) || x.dtype == DType::kBool || x.dtype == DType::kI64 ||
      x.dtype == DType::kU64 || x.dtype == DType::kU32)
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be i4, u4, i8, u8, i16, u16 or i32");
  if (!base::isFloat(scale.dtype) || scale.dtype == DType::kF64)
    return invalidArgument("C2: I2 is " + scale.toString() + "; it must be f32, f16 or bf16");
  bool alike = zero && zero->rank() == scale.rank() &&
               std::equal(zero->dims.begin(), zero->dims.end(), scale.dims.begin(), mayEqual);
  alike = alike || (zero && productOf(zero->dims) == 1 && productOf(scale.dims) == 1);
  if (zero && (zero->dtype != x.dtype || !alike))
    return invalidArgument("C5: I3 is " + zero->toString() + "; it must have I1's dtype and I2's " +
                           "shape " + scale.toString());
  auto geometry = geometryOf(x, scale, context.attributes);
  if (!geometry)
    return geometry.status();
  return std::vector{TensorType{scale.dtype, x.dims}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &scale = *inputs[1], *zero = inputs[2];
  PLATEN_ASSIGN_OR_RETURN(Geometry g, geometryOf(x.type(), scale.type(), attributes));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{scale.dtype(), x.type().dims});
  int64_t length = x.dims().empty() ? 1 : x.dims()[g.axis];
  int64_t inner = x.dims().empty() ? 1 : productOf(x.dims().subspan(g.axis + 1));
  for (int64_t i = 0, count = x.elementCount(); i < count; ++i) {
    int64_t along = i / inner % length, at = 0;
    if (g.granularity == Granularity::kAxis)
      at = along;
    if (g.granularity == Granularity::kBlock)
      at = (i / inner / length * scale.dims()[g.axis] + along / g.blockSize) * inner + i % inner;
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
  const int64_t blockSize = intAttribute(op.attributes(), "block_size");
  const bool perTensor =
      blockSize == 0 && scale.rank() <= 1 && base::productOf(scale.dims) == base::Size(1);
  size_t along = 0;
  if (!perTensor) {
    PLATEN_ASSIGN_OR_RETURN(int64_t axis,
                            normalizeAxis(intAttribute(op.attributes(), "axis"),
                                          static_cast<int64_t>(x.rank()), "C3: axis"));
    along = static_cast<size_t>(axis);
  }
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> own(scale.rank(), s.integer(0));
    if (!perTensor && blockSize == 0)
      own = {at[along]};
    if (blockSize != 0) {
      own.assign(at.begin(), at.end());
      own[along] = s.div(at[along], s.integer(blockSize));
    }
    loops::Value value = s.load(x, at);
    if (op.has(2))
      value = s.sub(value, perTensor ? s.scalar(op.operand(2)) : s.load(op.operand(2), own));
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
