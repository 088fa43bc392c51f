// See gather_block_quantized.md for the contract.
#include "ops/gather_block_quantized/gather_block_quantized.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"
#include "ops/packed_bits.h"

#include <algorithm>
#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// `dims` are the logical dimensions of I1: u8 bytes of 2 or 4 bits count as several elements along
/// the last axis.
struct Geometry {
  std::vector<int64_t> dims;
  size_t gatherAxis, quantizeAxis;
  int64_t bits, blockSize;
};

Result<Geometry> geometryOf(const TensorType &data, const Attributes &attributes) {
  Geometry g{data.dims, 0, 0, intAttribute(attributes, "bits"),
             intAttribute(attributes, "block_size")};
  bool bytes = data.dtype == DType::kU8;
  if (data.rank() < 1 || (!bytes && data.dtype != DType::kI4 && data.dtype != DType::kU4))
    return invalidArgument("C1: I1 is " + data.toString() + "; it must be u8, i4 or u4");
  if ((g.bits != 2 && g.bits != 4 && g.bits != 8) || (!bytes && g.bits != 4) || g.blockSize < 16 ||
      (g.blockSize & (g.blockSize - 1)) != 0)
    return invalidArgument("C2: bits is " + std::to_string(g.bits) + " and block_size " +
                           std::to_string(g.blockSize) +
                           "; bits must be 2, 4 or 8 and fit I1's dtype, block_size a power of "
                           "two of 16 or more");
  PLATEN_ASSIGN_OR_RETURN(int64_t gatherAxis, normalizeAxis(intAttribute(attributes, "gather_axis"),
                                                            data.rank(), "C3: gather_axis"));
  PLATEN_ASSIGN_OR_RETURN(
      int64_t quantizeAxis,
      normalizeAxis(intAttribute(attributes, "quantize_axis"), data.rank(), "C3: quantize_axis"));
  g.gatherAxis = static_cast<size_t>(gatherAxis);
  g.quantizeAxis = static_cast<size_t>(quantizeAxis);
  if (bytes && g.bits < 8 &&
      (gatherAxis != 0 || quantizeAxis != data.rank() - 1 || data.rank() < 2))
    return invalidArgument("C3: packed u8 data is gathered along axis 0 and quantised along the "
                           "last axis, but gather_axis is " +
                           std::to_string(gatherAxis) + " and quantize_axis " +
                           std::to_string(quantizeAxis));
  if (bytes && g.dims.back() != kDynamic)
    g.dims.back() *= 8 / g.bits;
  return g;
}

std::vector<int64_t> resultDims(const Geometry &g, std::span<const int64_t> indices) {
  auto axis = static_cast<std::ptrdiff_t>(g.gatherAxis);
  std::vector<int64_t> dims(g.dims.begin(), g.dims.begin() + axis);
  dims.insert(dims.end(), indices.begin(), indices.end());
  dims.insert(dims.end(), g.dims.begin() + axis + 1, g.dims.end());
  return dims;
}

InferResult infer(const InferContext &context) {
  const TensorType &data = *context.types[0], &indices = *context.types[1],
                   &scales = *context.types[2], *zeros = context.types[3];
  PLATEN_ASSIGN_OR_RETURN(Geometry g, geometryOf(data, context.attributes));
  if (indices.dtype != DType::kI64 && indices.dtype != DType::kI32)
    return invalidArgument("C4: I2 is " + indices.toString() + "; it must be i64 or i32");
  std::vector<int64_t> blocks = g.dims;
  if (int64_t &along = blocks[g.quantizeAxis]; along != kDynamic)
    along = (along + g.blockSize - 1) / g.blockSize;
  if (!base::isFloat(scales.dtype) || scales.rank() != data.rank() ||
      !std::equal(blocks.begin(), blocks.end(), scales.dims.begin(), mayEqual))
    return invalidArgument("C5: I3 is " + scales.toString() + "; it must be " +
                           TensorType{DType::kF32, blocks}.toString() + " or another float dtype");
  if (zeros) {
    if (data.dtype == DType::kU8 && blocks.back() != kDynamic)
      blocks.back() = (blocks.back() * g.bits + 7) / 8;
    if (zeros->dtype != data.dtype || zeros->rank() != data.rank() ||
        !std::equal(blocks.begin(), blocks.end(), zeros->dims.begin(), mayEqual))
      return invalidArgument("C6: I4 is " + zeros->toString() + "; it must be " +
                             TensorType{data.dtype, blocks}.toString());
  }
  return std::vector{TensorType{scales.dtype, resultDims(g, indices.dims)}};
}

/// Zero point of the block whose scale has row-major index `block`.
double zeroPoint(const Tensor &data, const Tensor &scales, const Tensor *zeros, int64_t bits,
                 int64_t block) {
  if (!zeros)
    return data.dtype() == DType::kU8 ? std::ldexp(1.0, static_cast<int>(bits) - 1) : 0;
  if (data.dtype() != DType::kU8)
    return zeros->get(block);
  int64_t row = scales.dims().back(), bytes = zeros->dims().back();
  return packedBits(zeros->bytes().subspan(static_cast<size_t>(block / row * bytes)), block % row,
                    bits);
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &data = *inputs[0], &indices = *inputs[1], &scales = *inputs[2];
  PLATEN_ASSIGN_OR_RETURN(Geometry g, geometryOf(data.type(), attributes));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{scales.dtype(), resultDims(g, indices.dims())});
  std::vector<int64_t> strides = stridesOf(g.dims), blockStrides = stridesOf(scales.dims());
  std::span<const int64_t> dims = g.dims;
  int64_t outer = productOf(dims.first(g.gatherAxis)), length = dims[g.gatherAxis],
          inner = productOf(dims.subspan(g.gatherAxis + 1)), count = indices.elementCount();
  for (int64_t i = 0; i < outer * count * inner; ++i) {
    int64_t index = indices.getInt(i / inner % count);
    index += index < 0 ? length : 0;
    if (index < 0 || index >= length)
      continue; // stays zero
    int64_t element = (i / inner / count * length + index) * inner + i % inner, block = 0;
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      int64_t coordinate = element / strides[axis] % dims[axis];
      block +=
          (axis == g.quantizeAxis ? coordinate / g.blockSize : coordinate) * blockStrides[axis];
    }
    double value =
        data.dtype() == DType::kU8 ? packedBits(data.bytes(), element, g.bits) : data.get(element);
    y.set(i, (value - zeroPoint(data, scales, inputs[3], g.bits, block)) * scales.get(block));
  }
  return results;
}

/// Element `at` of rows of values packed low bits first.
loops::Value unpack(loops::Stage &s, const loops::TensorRef &bytes, std::vector<loops::Value> at,
                    int64_t bits) {
  const loops::Value per = s.integer(8 / bits), slot = s.rem(at.back(), per);
  at.back() = s.div(at.back(), per);
  return s.binary(loops::Op::kAnd,
                  s.binary(loops::Op::kShiftRight, s.load(bytes, at), s.mul(slot, s.integer(bits))),
                  s.integer((int64_t{1} << bits) - 1));
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef data = op.operand(0), indices = op.operand(1), scales = op.operand(2),
                         y = op.result(0);
  TensorType type{data.dtype, std::vector<int64_t>(data.rank(), kDynamic)};
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(type, op.attributes()));
  const bool packed = data.dtype == DType::kU8 && g.bits < 8;
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value length = s.dim(data, g.gatherAxis),
                       index = s.wrapped(s.load(indices, at.subspan(g.gatherAxis, indices.rank())),
                                         length),
                       inside = s.isInside(index, length);
    std::vector<loops::Value> own(at.begin(),
                                  at.begin() + static_cast<std::ptrdiff_t>(g.gatherAxis));
    own.push_back(s.select(inside, index, s.integer(0)));
    const auto behind = at.subspan(g.gatherAxis + indices.rank());
    own.insert(own.end(), behind.begin(), behind.end());
    std::vector<loops::Value> block = own;
    block[g.quantizeAxis] = s.div(own[g.quantizeAxis], s.integer(g.blockSize));
    loops::Value value = packed ? unpack(s, data, own, g.bits) : s.load(data, own);
    if (op.has(3))
      value = s.sub(value, packed ? unpack(s, op.operand(3), block, g.bits)
                                  : s.load(op.operand(3), block));
    else if (data.dtype == DType::kU8)
      value = s.sub(value, s.integer(int64_t{1} << (g.bits - 1)));
    return s.select(inside, s.mul(s.convert(y.kind(), value), s.load(scales, block)),
                    s.number(y.kind(), 0));
  });
}

} // namespace

const OpSpec kGatherBlockQuantized{
    .name = "gather_block_quantized",
    .operands = {{"data"}, {"indices"}, {"scales"}, {.name = "zero_points", .optional = true}},
    .attributes = {{"bits", int64_t{4}},
                   {"block_size", int64_t{128}},
                   {"gather_axis", int64_t{0}},
                   {"quantize_axis", int64_t{1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"com.microsoft", "GatherBlockQuantized", 1}},
    .loops = lower,
};

} // namespace platen::ops
