// See rope.md for the contract.
#include "ops/rope/rope.h"
#include "ops/elementwise.h"
#include "ops/rotation.h"

#include <array>

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &cos = *context.types[1], &sin = *context.types[2],
                   &positions = *context.types[3];
  if (x.rank() != 3 || !base::isFloat(x.dtype))
    return invalidArgument("C1: I1 is " + x.toString() + "; it must be a float tensor [T,n,hd]");
  bool tables = cos.rank() == 2 && sin.rank() == 2 && base::isFloat(cos.dtype) &&
                cos.dtype == sin.dtype && mayEqual(cos.dims[0], sin.dims[0]) &&
                mayEqual(cos.dims[1], sin.dims[1]);
  if (!tables)
    return invalidArgument("C2: I2 is " + cos.toString() + " and I3 is " + sin.toString() +
                           "; both must be float tables of one shape [P,r/2]");
  if (cos.dims[1] != kDynamic && x.dims[2] != kDynamic && 2 * cos.dims[1] > x.dims[2])
    return invalidArgument("C3: the tables rotate " + std::to_string(2 * cos.dims[1]) +
                           " features, a head of I1 has " + std::to_string(x.dims[2]));
  if (positions.rank() != 1 || positions.dtype != DType::kI32 ||
      !mayEqual(positions.dims[0], x.dims[0]))
    return invalidArgument("C4: I4 is " + positions.toString() +
                           "; it must be i32 with one position for each token of I1 " +
                           x.toString());
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &cos = *inputs[1], &sin = *inputs[2], &positions = *inputs[3];
  bool interleaved = intAttribute(attributes, "interleaved") != 0;
  int64_t tokens = x.dims()[0], heads = x.dims()[1], size = x.dims()[2];
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  std::vector<double> features(static_cast<size_t>(size));
  for (int64_t t = 0; t < tokens; ++t) {
    int64_t position = positions.getInt(t);
    if (position < 0 || position >= cos.dims()[0])
      return invalidArgument("C5: position " + std::to_string(position) + " lies outside the " +
                             std::to_string(cos.dims()[0]) + " rows of the tables");
    for (int64_t head = 0; head < heads; ++head) {
      int64_t start = (t * heads + head) * size;
      x.read(start, features);
      rotateHead(features, cos, sin, position, interleaved);
      for (int64_t i = 0; i < size; ++i)
        y.set(start + i, features[static_cast<size_t>(i)]);
    }
  }
  return results;
}

/// A position outside the tables takes the nearest row: nothing beyond them is read.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), cos = op.operand(1), sin = op.operand(2);
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value row = s.clamped(s.load(op.operand(3), at.first(1)), s.dim(cos, 0));
    auto table = [&](const loops::TensorRef &of) {
      return [&s, of, row, &x](loops::Value entry) {
        return s.as(x, s.load(of, std::array{row, entry}));
      };
    };
    auto feature = [&](loops::Value index) { return s.load(x, std::array{at[0], at[1], index}); };
    return rotatedFeature(s,
                          {feature, table(cos), table(sin), s.dim(cos, 1),
                           cos.dims[1] + cos.dims[1] == x.dims[2],
                           intAttribute(op.attributes(), "interleaved") != 0},
                          at[2]);
  });
}

} // namespace

const OpSpec kRope{
    .name = "rope",
    .operands = {{"x"}, {"cos"}, {"sin"}, {"positions"}},
    .attributes = {{"interleaved", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {},
    .loops = lower,
};

} // namespace platen::ops
