// See rotary_embedding.md for the contract.
#include "ops/rotary_embedding/rotary_embedding.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"
#include "ops/rotation.h"

#include <array>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// I1 as [batch][length][heads][size], by strides.
struct Layout {
  int64_t batch, length, heads, size;
  int64_t batchStride, lengthStride, headStride;
};

Result<Layout> layoutOf(const TensorType &x, const TensorType &cos, const Attributes &attributes) {
  if (x.rank() == 4) // [batch, heads, length, size]
    return Layout{x.dims[0],
                  x.dims[2],
                  x.dims[1],
                  x.dims[3],
                  x.dims[1] * x.dims[2] * x.dims[3],
                  x.dims[3],
                  x.dims[2] * x.dims[3]};
  int64_t heads = intAttribute(attributes, "num_heads");
  int64_t size = heads > 0 ? (x.dims[2] % heads == 0 ? x.dims[2] / heads : 0) : 2 * cos.dims[1];
  if (size < 1 || x.dims[2] % size != 0)
    return invalidArgument("C3: the features of I1 " + x.toString() +
                           " do not divide into heads; num_heads is " + std::to_string(heads));
  heads = x.dims[2] / size;
  return Layout{x.dims[0], x.dims[1], heads, size, x.dims[1] * x.dims[2], x.dims[2], size};
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &positions = *context.types[1], &cos = *context.types[2],
                   &sin = *context.types[3];
  if ((x.rank() != 3 && x.rank() != 4) || !base::isFloat(x.dtype))
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a float tensor [batch, length, features] or [batch, "
                           "heads, length, head size]");
  if (cos.rank() != 2 || sin.rank() != 2 || cos.dtype != x.dtype || sin.dtype != x.dtype ||
      !mayEqual(cos.dims[0], sin.dims[0]) || !mayEqual(cos.dims[1], sin.dims[1]) ||
      cos.dims[1] == kDynamic)
    return invalidArgument("C2: I3 is " + cos.toString() + " and I4 is " + sin.toString() +
                           "; both must be tables of one shape [P, r/2] and I1's dtype");
  int64_t features = x.dims.back(), dim = intAttribute(context.attributes, "rotary_embedding_dim");
  if (features == kDynamic)
    return invalidArgument("C3: the last axis of I1 " + x.toString() + " must be known");
  PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(x, cos, context.attributes));
  if (2 * cos.dims[1] > layout.size || (dim > 0 && dim != 2 * cos.dims[1]))
    return invalidArgument("C4: the tables rotate " + std::to_string(2 * cos.dims[1]) +
                           " features; a head has " + std::to_string(layout.size) +
                           ", rotary_embedding_dim is " + std::to_string(dim));
  int64_t length = x.dims[x.rank() == 4 ? 2 : 1];
  bool offset = positions.rank() == 1 && mayEqual(positions.dims[0], 1);
  bool each = positions.rank() == 2 && mayEqual(positions.dims[0], x.dims[0]) &&
              mayEqual(positions.dims[1], length);
  if (positions.dtype != DType::kI64 || (!offset && !each))
    return invalidArgument("C5: I2 is " + positions.toString() +
                           "; it must be i64 [batch, length] or [1]");
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &positions = *inputs[1], &cos = *inputs[2], &sin = *inputs[3];
  PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(x.type(), cos.type(), attributes));
  bool interleaved = intAttribute(attributes, "interleaved") != 0;
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  std::vector<double> head(static_cast<size_t>(layout.size));
  for (int64_t b = 0; b < layout.batch; ++b)
    for (int64_t s = 0; s < layout.length; ++s) {
      int64_t position = positions.dims().size() == 1 ? positions.getInt(0) + s
                                                      : positions.getInt(b * layout.length + s);
      if (position < 0 || position >= cos.dims()[0])
        return invalidArgument("C6: position " + std::to_string(position) + " lies outside the " +
                               std::to_string(cos.dims()[0]) + " rows of the tables");
      for (int64_t h = 0; h < layout.heads; ++h) {
        int64_t start = b * layout.batchStride + s * layout.lengthStride + h * layout.headStride;
        x.read(start, head);
        rotateHead(head, cos, sin, position, interleaved);
        for (int64_t i = 0; i < layout.size; ++i)
          y.set(start + i, head[static_cast<size_t>(i)]);
      }
    }
  return results;
}

Result<OpCall> fromMicrosoft(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(requireInt(node, "is_packed_batching", 0, "C7"));
  PLATEN_ASSIGN_OR_RETURN(double scale, onnxFloat(node, "scale", 1.0));
  if (scale != 1.0)
    return base::unsupported("C7: attribute 'scale' is not 1");
  return defaultOnnxMap(kRotaryEmbedding, node);
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  if (!hasInput(node, 3))
    return base::unsupported("C7: without position_ids the tables are per token, which is not "
                             "supported");
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kRotaryEmbedding, node));
  call.operands = {OnnxOperand::ofInput(0), OnnxOperand::ofInput(3), OnnxOperand::ofInput(1),
                   OnnxOperand::ofInput(2)};
  return call;
}

/// A position outside the tables takes the nearest row: nothing beyond them is read.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), positions = op.operand(1), cos = op.operand(2),
                         sin = op.operand(3);
  TensorType features{x.dtype, {}}, table{cos.dtype, {}};
  for (const base::Size &dim : x.dims)
    features.dims.push_back(dim.constant().value_or(1)); // the last is known
  for (const base::Size &dim : cos.dims)
    table.dims.push_back(dim.constant().value_or(1));
  PLATEN_ASSIGN_OR_RETURN(const Layout layout, layoutOf(features, table, op.attributes()));
  const bool heads = x.rank() == 4; // [batch, heads, length, size]
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value size = s.integer(layout.size), token = at[heads ? 2 : 1];
    const loops::Value position = positions.rank() == 1
                                      ? s.add(s.scalar(positions), token)
                                      : s.load(positions, std::array{at[0], token});
    const loops::Value row = s.clamped(position, s.dim(cos, 0));
    auto entryOf = [&](const loops::TensorRef &of) {
      return [&s, of, row](loops::Value entry) { return s.load(of, std::array{row, entry}); };
    };
    const loops::Value index = heads ? at[3] : s.rem(at[2], size),
                       first = heads ? s.integer(0) : s.sub(at[2], index);
    auto feature = [&](loops::Value i) {
      std::vector<loops::Value> own(at.begin(), at.end());
      own.back() = s.add(first, i);
      return s.load(x, own);
    };
    return rotatedFeature(s,
                          {feature, entryOf(cos), entryOf(sin), s.dim(cos, 1),
                           2 * table.dims[1] == layout.size,
                           intAttribute(op.attributes(), "interleaved") != 0},
                          index);
  });
}

} // namespace

const OpSpec kRotaryEmbedding{
    .name = "rotary_embedding",
    .operands = {{"x"}, {"position_ids"}, {"cos_cache"}, {"sin_cache"}},
    .attributes = {{"interleaved", int64_t{0}},
                   {"num_heads", int64_t{0}},
                   {"rotary_embedding_dim", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"com.microsoft", "RotaryEmbedding", 1, kAnyVersion, fromMicrosoft},
             {"", "RotaryEmbedding", 23, kAnyVersion, fromOnnx}},
    .loops = lower,
};

} // namespace platen::ops
