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

} // namespace

const OpSpec kGatherNd{
    .name = "gather_nd",
    .operands = {{"x"}, {"indices"}},
    .attributes = {{"batch_dims", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "GatherND", 11}},
};

} // namespace platen::ops
