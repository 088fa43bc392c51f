// See gather_nd.md for the contract.
#include "ops/gather_nd/gather_nd.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &indices = *context.types[1];
  int64_t batch = intAttribute(context.attributes, "batch_dims");
  if (indices.dtype != DType::kI64 || indices.rank() < 1 || indices.dims.back() == kDynamic)
    return invalidArgument("C1: I2 is " + indices.toString() +
                           "; it must be i64 with a last axis of known length");
  if (batch < 0 || batch >= std::min(x.rank(), indices.rank()))
    return invalidArgument("C2: batch_dims is " + std::to_string(batch) +
                           "; it must be 0 or more and less than both ranks");
  for (int64_t i = 0; i < batch; ++i)
    if (!mayEqual(x.dims[static_cast<size_t>(i)], indices.dims[static_cast<size_t>(i)]))
      return invalidArgument("C3: I1 " + x.toString() + " and I2 " + indices.toString() +
                             " differ in batch axis " + std::to_string(i));
  int64_t tuple = indices.dims.back();
  if (tuple < 1 || batch + tuple > x.rank())
    return invalidArgument("C4: I2's last axis has " + std::to_string(tuple) +
                           " elements; I1 has " + std::to_string(x.rank() - batch) +
                           " axes to index");
  TensorType result{x.dtype, {indices.dims.begin(), indices.dims.end() - 1}};
  result.dims.insert(result.dims.end(), x.dims.begin() + batch + tuple, x.dims.end());
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &indices = *inputs[1];
  auto batch = static_cast<size_t>(intAttribute(attributes, "batch_dims"));
  auto tuple = static_cast<size_t>(indices.dims().back());
  TensorType type{x.dtype(), {indices.dims().begin(), indices.dims().end() - 1}};
  auto tail = x.dims().subspan(batch + tuple);
  type.dims.insert(type.dims.end(), tail.begin(), tail.end());
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(std::move(type));
  int64_t inner = productOf(tail),
          tuples = productOf(indices.dims().first(indices.dims().size() - 1));
  int64_t batches = productOf(x.dims().first(batch)),
          perBatch = batches == 0 ? 0 : tuples / batches;
  for (int64_t t = 0; t < tuples; ++t) {
    int64_t offset = t / perBatch; // index of the batch entry, then of the axes one by one
    for (size_t j = 0; j < tuple; ++j) {
      int64_t index = indices.getInt(t * static_cast<int64_t>(tuple) + static_cast<int64_t>(j));
      int64_t length = x.dims()[batch + j];
      if (index < -length || index >= length)
        return invalidArgument("C5: index " + std::to_string(index) + " lies outside the " +
                               std::to_string(length) + " elements of axis " +
                               std::to_string(batch + j));
      offset = offset * length + (index < 0 ? index + length : index);
    }
    y.copyFrom(x, offset * inner, t * inner, inner);
  }
  return results;
}

/// An index that lies outside gives 0: nothing beyond I1 is read.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), indices = op.operand(1);
  const auto batch = static_cast<size_t>(intAttribute(op.attributes(), "batch_dims"));
  const size_t tuples = indices.rank() - 1; // axes of I2 that choose a tuple
  const std::optional<int64_t> tuple = indices.dims.back().constant();
  if (!tuple)
    return base::unsupported("C1: the last axis of I2 must be known when the plan is compiled");
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> which(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(tuples)),
        own(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(batch));
    loops::Value inside = s.boolean(true);
    which.push_back(loops::kNoValue);
    for (int64_t i = 0; i < *tuple; ++i) {
      which.back() = s.integer(i);
      const loops::Value length = s.dim(x, batch + static_cast<size_t>(i));
      own.push_back(s.wrapped(s.load(indices, which), length));
      inside = s.both(inside, s.isInside(own.back(), length));
    }
    for (size_t i = batch; i < own.size(); ++i)
      own[i] = s.select(inside, own[i], s.integer(0));
    own.insert(own.end(), at.begin() + static_cast<std::ptrdiff_t>(tuples), at.end());
    return s.select(inside, s.load(x, own), s.number(x.kind(), 0));
  });
}

} // namespace

const OpSpec kGatherNd{
    .name = "gather_nd",
    .operands = {{"x"}, {"indices"}},
    .attributes = {{"batch_dims", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "GatherND", 11}},
    .loops = lower,
};

} // namespace platen::ops
