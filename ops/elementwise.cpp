// See elementwise.h. Integer dtypes never go through double, so 64-bit positions and sizes stay
// exact.
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<TensorType>> inferBroadcast(const InferContext &context, bool toBool) {
  const TensorType &a = *context.types[0], &b = *context.types[1];
  if (a.dtype != b.dtype)
    return invalidArgument("C1: I1 is " + a.toString() + " but I2 is " + b.toString() +
                           "; the dtypes must be equal");
  auto dims = broadcastDims(a.dims, b.dims);
  if (!dims)
    return invalidArgument("C2: I1 " + a.toString() + " and I2 " + b.toString() +
                           " do not broadcast: " + std::string(dims.status().message()));
  return std::vector{TensorType{toBool ? DType::kBool : a.dtype, std::move(*dims)}};
}

} // namespace

Result<std::vector<TensorType>> inferBinary(const InferContext &context) {
  return inferBroadcast(context, false);
}
Result<std::vector<TensorType>> inferComparison(const InferContext &context) {
  return inferBroadcast(context, true);
}

Result<std::vector<TensorType>> inferUnary(const InferContext &context) {
  return std::vector{*context.types[0]};
}

Result<std::vector<Tensor>> mapBinary(Inputs inputs, DType out, double (*floating)(double, double),
                                      int64_t (*integral)(int64_t, int64_t)) {
  const Tensor &a = *inputs[0], &b = *inputs[1];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, broadcastDims(a.dims(), b.dims()));
  std::vector<Tensor> results;
  Tensor &result = results.emplace_back(TensorType{out, dims});
  for (int64_t i = 0; i < result.elementCount(); ++i) {
    int64_t left = broadcastIndex(i, dims, a.dims()), right = broadcastIndex(i, dims, b.dims());
    if (base::isFloat(a.dtype()))
      result.set(i, floating(a.get(left), b.get(right)));
    else
      result.setInt(i, integral(a.getInt(left), b.getInt(right)));
  }
  return results;
}

Result<std::vector<Tensor>> mapUnary(Inputs inputs, DType out, double (*floating)(double),
                                     int64_t (*integral)(int64_t)) {
  const Tensor &x = *inputs[0];
  std::vector<Tensor> results;
  Tensor &result = results.emplace_back(TensorType{out, {x.dims().begin(), x.dims().end()}});
  for (int64_t i = 0; i < result.elementCount(); ++i) {
    if (base::isFloat(x.dtype()))
      result.set(i, floating(x.get(i)));
    else
      result.setInt(i, integral(x.getInt(i)));
  }
  return results;
}

} // namespace platen::ops
