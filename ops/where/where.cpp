// See where.md for the contract.
#include "ops/where/where.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &condition = *context.types[0], &a = *context.types[1], &b = *context.types[2];
  if (condition.dtype != DType::kBool)
    return invalidArgument("C1: I1 is " + condition.toString() + "; it must be bool");
  if (a.dtype != b.dtype)
    return invalidArgument("C2: I2 is " + a.toString() + " but I3 is " + b.toString() +
                           "; the dtypes must be equal");
  auto dims = broadcastDims(a.dims, b.dims);
  if (dims)
    dims = broadcastDims(*dims, condition.dims);
  if (!dims)
    return invalidArgument("C3: I1 " + condition.toString() + ", I2 " + a.toString() + " and I3 " +
                           b.toString() +
                           " do not broadcast: " + std::string(dims.status().message()));
  return std::vector{TensorType{a.dtype, std::move(*dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &condition = *inputs[0], &a = *inputs[1], &b = *inputs[2];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, broadcastDims(a.dims(), b.dims()));
  PLATEN_ASSIGN_OR_RETURN(dims, broadcastDims(dims, condition.dims()));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{a.dtype(), dims});
  StridedWalk walk(dims, {broadcastStrides(condition.dims(), dims),
                          broadcastStrides(a.dims(), dims), broadcastStrides(b.dims(), dims)});
  for (int64_t i = 0, count = y.elementCount(); i < count; ++i, walk.next()) {
    bool first = condition.getInt(walk.index(0)) != 0;
    y.copyFrom(first ? a : b, walk.index(first ? 1 : 2), i, 1);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    return s.select(s.loadBroadcast(op.operand(0), at, y.dims),
                    s.loadBroadcast(op.operand(1), at, y.dims),
                    s.loadBroadcast(op.operand(2), at, y.dims));
  });
}

} // namespace

const OpSpec kWhere{
    .name = "where",
    .operands = {{"condition"}, {"a"}, {"b"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Where", 9}},
    .loops = lower,
};

} // namespace platen::ops
