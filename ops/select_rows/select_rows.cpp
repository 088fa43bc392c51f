// See select_rows.md for the contract.
#include "ops/select_rows/select_rows.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &rows = *context.types[1];
  if (x.rank() < 1)
    return invalidArgument("C1: I1 is " + x.toString() + "; it must have rank 1 or more");
  if (rows.rank() != 1 || rows.dtype != DType::kI32)
    return invalidArgument("C2: I2 is " + rows.toString() + "; it must be an i32 vector");
  TensorType result = x;
  result.dims[0] = rows.dims[0];
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &x = *inputs[0], &rows = *inputs[1];
  TensorType type = x.type();
  type.dims[0] = rows.dims()[0];
  int64_t inner = productOf(x.dims().subspan(1));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(std::move(type));
  for (int64_t r = 0; r < rows.elementCount(); ++r) {
    int64_t row = rows.getInt(r);
    if (row < 0 || row >= x.dims()[0])
      return invalidArgument("C3: row " + std::to_string(row) + " lies outside the " +
                             std::to_string(x.dims()[0]) + " rows of I1");
    y.copyFrom(x, row * inner, r * inner, inner);
  }
  return results;
}

} // namespace

const OpSpec kSelectRows{
    .name = "select_rows",
    .operands = {{"x"}, {"rows"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {},
};

} // namespace platen::ops
