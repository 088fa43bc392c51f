// See tile.md.
#include "ops/tile/tile.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<int64_t>> resultDims(const TensorType &x, const Tensor *repeats) {
  std::vector<int64_t> dims(x.dims.size(), kDynamic);
  for (size_t i = 0; repeats && i < dims.size(); ++i) {
    const int64_t times = repeats->getInt(static_cast<int64_t>(i));
    if (times < 0 || (x.dims[i] != kDynamic && __builtin_mul_overflow(x.dims[i], times, &dims[i])))
      return invalidArgument("C2: I2 holds " + std::to_string(times) + " for axis " +
                             std::to_string(i) + " of I1 " + x.toString());
  }
  return dims;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &repeats = *context.types[1];
  if (repeats.rank() != 1 || repeats.dtype != DType::kI64 || !mayEqual(repeats.dims[0], x.rank()))
    return invalidArgument("C1: I2 is " + repeats.toString() +
                           "; it must be i64 with one entry for "
                           "each axis of I1 " +
                           x.toString());
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x, context.values[1]));
  return std::vector{TensorType{x.dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x.type(), inputs[1]));
  const std::vector<int64_t> strides = stridesOf(x.dims());
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{x.dtype(), dims});
  StridedWalk walk(dims, {std::vector<int64_t>(dims.size(), 0)});
  for (int64_t i = 0; i < y.elementCount(); ++i, walk.next()) {
    int64_t from = 0;
    for (size_t axis = 0; axis < dims.size(); ++axis)
      from += walk.coordinates()[axis] % x.dims()[axis] * strides[axis];
    y.copyFrom(x, from, i, 1);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> own(at.begin(), at.end());
    for (size_t axis = 0; axis < own.size(); ++axis)
      if (x.dims[axis] != y.dims[axis])
        own[axis] = s.rem(at[axis], s.dim(x, axis));
    return s.load(x, own);
  });
}

} // namespace

const OpSpec kTile{
    .name = "tile",
    .operands = {{"x"}, {"repeats"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Tile", 6}},
    .loops = lower,
};

} // namespace platen::ops
