// See matmul_nbits.md. One row of W (output feature) is dequantised at a time, in double.
#include "ops/matmul_nbits/matmul_nbits.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"
#include "ops/packed_bits.h"

#include <array>
#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

struct Geometry {
  int64_t k, n, bits, blockSize, blocks; ///< blocks: of one row, the last may be partly unused
};

Result<Geometry> geometryOf(const Attributes &attributes) {
  Geometry g{intAttribute(attributes, "K"), intAttribute(attributes, "N"),
             intAttribute(attributes, "bits"), intAttribute(attributes, "block_size"), 0};
  bool powerOfTwo = g.blockSize >= 16 && (g.blockSize & (g.blockSize - 1)) == 0;
  if (g.k < 1 || g.n < 1 || (g.bits != 2 && g.bits != 4 && g.bits != 8) || !powerOfTwo ||
      g.k > (int64_t{1} << 31) || g.n > (int64_t{1} << 31) || g.blockSize > (int64_t{1} << 31))
    return invalidArgument("C1: K is " + std::to_string(g.k) + ", N " + std::to_string(g.n) +
                           ", bits " + std::to_string(g.bits) + ", block_size " +
                           std::to_string(g.blockSize) +
                           "; K and N must be positive, bits 2, 4 or 8, block_size a power of two "
                           "of 16 or more");
  g.blocks = (g.k + g.blockSize - 1) / g.blockSize;
  return g;
}

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(Geometry g, geometryOf(context.attributes));
  const TensorType &a = *context.types[0], &b = *context.types[1], &scales = *context.types[2],
                   *zeros = context.types[3], *bias = context.types[4];
  if (a.rank() < 1 || !base::isFloat(a.dtype) || !mayEqual(a.dims.back(), g.k))
    return invalidArgument("C2: I1 is " + a.toString() +
                           "; it must be a float tensor […, K = " + std::to_string(g.k) + "]");
  int64_t blob = g.blockSize * g.bits / 8;
  if (b.dtype != DType::kU8 || b.rank() != 3 || b.dims[0] != g.n || b.dims[1] != g.blocks ||
      b.dims[2] != blob)
    return invalidArgument("C3: I2 is " + b.toString() + "; it must be u8[" + std::to_string(g.n) +
                           "," + std::to_string(g.blocks) + "," + std::to_string(blob) + "]");
  if (scales.dtype != a.dtype || productOf(scales.dims) != g.n * g.blocks)
    return invalidArgument("C4: I3 is " + scales.toString() + "; it must have I1's dtype and N·" +
                           std::to_string(g.blocks) + " elements");
  if (zeros) {
    int64_t packed = g.n * ((g.blocks * g.bits + 7) / 8);
    bool fits = zeros->dtype == DType::kU8
                    ? productOf(zeros->dims) == packed
                    : zeros->dtype == a.dtype && productOf(zeros->dims) == g.n * g.blocks;
    if (!fits)
      return invalidArgument("C5: I4 is " + zeros->toString() + "; it must be u8 with " +
                             std::to_string(packed) + " bytes, or one element of I1's dtype for " +
                             "each scale");
  }
  if (bias && (bias->dtype != a.dtype || bias->rank() != 1 || !mayEqual(bias->dims[0], g.n)))
    return invalidArgument("C6: I5 is " + bias->toString() + "; it must be [N] of I1's dtype");
  TensorType result = a;
  result.dims.back() = g.n;
  return std::vector{std::move(result)};
}

/// Row n of W, [K].
void dequantizeRow(Inputs inputs, const Geometry &g, int64_t n, std::span<double> row) {
  const Tensor &b = *inputs[1], &scales = *inputs[2], *zeros = inputs[3];
  int64_t blob = g.blockSize * g.bits / 8, zeroBytes = (g.blocks * g.bits + 7) / 8;
  for (int64_t block = 0; block < g.blocks; ++block) {
    double zero = std::ldexp(1.0, static_cast<int>(g.bits) - 1);
    if (zeros && zeros->dtype() == DType::kU8)
      zero = packedBits(zeros->bytes().subspan(static_cast<size_t>(n * zeroBytes)), block, g.bits);
    else if (zeros)
      zero = zeros->get(n * g.blocks + block);
    double scale = scales.get(n * g.blocks + block);
    auto bytes = b.bytes().subspan(static_cast<size_t>((n * g.blocks + block) * blob));
    int64_t begin = block * g.blockSize, count = std::min(g.blockSize, g.k - begin);
    for (int64_t i = 0; i < count; ++i)
      row[static_cast<size_t>(begin + i)] = (packedBits(bytes, i, g.bits) - zero) * scale;
  }
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(Geometry g, geometryOf(attributes));
  const Tensor &a = *inputs[0], *bias = inputs[4];
  TensorType type = a.type();
  type.dims.back() = g.n;
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(std::move(type));
  int64_t rows = a.elementCount() / g.k;
  std::vector<double> left(static_cast<size_t>(rows * g.k)), weights(static_cast<size_t>(g.k));
  a.read(0, left);
  for (int64_t n = 0; n < g.n; ++n) {
    dequantizeRow(inputs, g, n, weights);
    for (int64_t m = 0; m < rows; ++m) {
      double sum = 0;
      for (int64_t k = 0; k < g.k; ++k)
        sum += left[static_cast<size_t>(m * g.k + k)] * weights[static_cast<size_t>(k)];
      y.set(m * g.n + n, sum + (bias ? bias->get(n) : 0));
    }
  }
  return results;
}

Result<OpCall> fromMatMulNBits(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(refuseInput(node, 4, "C7"));
  PLATEN_RETURN_IF_ERROR(requireInt(node, "weight_prepacked", 0, "C7"));
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kMatmulNbits, node));
  call.operands = {OnnxOperand::ofInput(0), OnnxOperand::ofInput(1), OnnxOperand::ofInput(2),
                   inputOrAbsent(node, 3), inputOrAbsent(node, 5)};
  return call;
}

/// Element (row, column) of rows of values packed low bits first, `bytes` of them a row.
loops::Value unpack(loops::Stage &s, loops::Value byte, loops::Value column, int64_t bits) {
  if (bits == 8)
    return byte;
  const loops::Value slot = s.rem(column, s.integer(8 / bits));
  return s.binary(loops::Op::kAnd,
                  s.binary(loops::Op::kShiftRight, byte, s.mul(slot, s.integer(bits))),
                  s.integer((int64_t{1} << bits) - 1));
}

/// The zero point of block `block` of row n, in the kind of the products.
loops::Value zeroLoop(loops::Lowering &op, loops::Stage &s, const Geometry &g, loops::Value n,
                      loops::Value block) {
  const loops::Kind kind = op.result(0).kind();
  if (!op.has(3))
    return s.number(kind, std::ldexp(1.0, static_cast<int>(g.bits) - 1));
  const loops::TensorRef zeros = op.operand(3);
  auto flat = [&](loops::Value row, int64_t columns, loops::Value column) {
    return s.load(zeros, s.coordinates(s.add(s.mul(row, s.integer(columns)), column), zeros.dims));
  };
  if (zeros.dtype != DType::kU8)
    return s.convert(kind, flat(n, g.blocks, block));
  const loops::Value byte =
      flat(n, (g.blocks * g.bits + 7) / 8, s.div(block, s.integer(8 / g.bits)));
  return s.convert(kind, unpack(s, byte, block, g.bits));
}

base::Status lower(loops::Lowering &op) {
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(op.attributes()));
  const loops::TensorRef a = op.operand(0), b = op.operand(1), scales = op.operand(2),
                         y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value n = at.back();
    const loops::Value sum = s.sum(s.integer(g.blocks), y.kind(), [&](loops::Value block) {
      const loops::Value first = s.mul(block, s.integer(g.blockSize)),
                         left = g.k % g.blockSize == 0
                                    ? s.integer(g.blockSize)
                                    : s.min(s.integer(g.blockSize), s.sub(s.integer(g.k), first)),
                         zero = zeroLoop(op, s, g, n, block);
      const loops::Value scale =
          s.load(scales, s.coordinates(s.add(s.mul(n, s.integer(g.blocks)), block), scales.dims));
      const loops::Value part = s.sum(left, y.kind(), [&](loops::Value i) {
        std::vector<loops::Value> from(at.begin(), at.end());
        from.back() = s.add(first, i);
        const std::array byte = {n, block, s.div(i, s.integer(8 / g.bits))};
        const loops::Value q = s.convert(y.kind(), unpack(s, s.load(b, byte), i, g.bits));
        return s.mul(s.load(a, from), s.sub(q, zero));
      });
      return s.mul(part, scale);
    });
    return op.has(4) ? s.add(sum, s.load(op.operand(4), std::array{n})) : sum;
  });
}

} // namespace

const OpSpec kMatmulNbits{
    .name = "matmul_nbits",
    .operands = {{"a"},
                 {"b"},
                 {"scales"},
                 {.name = "zero_points", .optional = true},
                 {.name = "bias", .optional = true}},
    .attributes = {{"K", int64_t{0}, true},
                   {"N", int64_t{0}, true},
                   {"bits", int64_t{4}},
                   {"block_size", int64_t{0}, true},
                   {"accuracy_level", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"com.microsoft", "MatMulNBits", 1, kAnyVersion, fromMatMulNBits}},
    .loops = lower,
};

} // namespace platen::ops
