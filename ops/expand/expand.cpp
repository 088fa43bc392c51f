// See expand.md for the contract.
#include "ops/expand/expand.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<int64_t>> targetDims(const TensorType &x, const Tensor &shape) {
  std::vector<int64_t> target = shape.toInts();
  for (int64_t dim : target)
    if (dim < 0)
      return invalidArgument("C2: I2 holds " + std::to_string(dim) +
                             "; a dimension must be 0 or more");
  auto dims = broadcastDims(x.dims, target);
  if (!dims)
    return invalidArgument("C3: I1 " + x.toString() +
                           " does not broadcast with I2: " + std::string(dims.status().message()));
  return dims;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &shape = *context.types[1];
  if (shape.rank() != 1 || shape.dtype != DType::kI64 || shape.dims[0] == kDynamic)
    return invalidArgument("C1: I2 is " + shape.toString() +
                           "; it must be an i64 vector of known length");
  if (!context.values[1]) {
    auto rank = static_cast<size_t>(std::max(shape.dims[0], x.rank()));
    std::vector<int64_t> dims(rank, kDynamic);
    // A dimension of I1 other than 1 can only stay what it is.
    for (size_t i = 0; i < x.dims.size(); ++i)
      if (x.dims[i] != 1)
        dims[rank - x.dims.size() + i] = x.dims[i];
    return std::vector{TensorType{x.dtype, std::move(dims)}};
  }
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, targetDims(x, *context.values[1]));
  return std::vector{TensorType{x.dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, targetDims(x.type(), *inputs[1]));
  std::vector<int64_t> strides = broadcastStrides(x.dims(), dims);
  return std::vector{gatherStrided(x, std::move(dims), std::move(strides))};
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    return s.loadBroadcast(op.operand(0), at, y.dims);
  });
}

} // namespace

const OpSpec kExpand{
    .name = "expand",
    .operands = {{"x"}, {"shape"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Expand", 8}},
    .loops = lower,
};

} // namespace platen::ops
