// See elementwise.h. Integer dtypes never go through double, so 64-bit positions and sizes stay
// exact.
#include "ops/elementwise.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

enum class Wanted { kAny, kNumeric, kFloat, kBool };

bool isWanted(DType dtype, Wanted wanted) {
  switch (wanted) {
  case Wanted::kAny:
    return true;
  case Wanted::kNumeric:
    return dtype != DType::kBool;
  case Wanted::kFloat:
    return base::isFloat(dtype);
  case Wanted::kBool:
    return dtype == DType::kBool;
  }
  return false;
}

std::string wantedText(Wanted wanted) {
  return wanted == Wanted::kNumeric ? "a number" : wanted == Wanted::kFloat ? "a float" : "bool";
}

InferResult inferBroadcast(const InferContext &context, Wanted wanted, bool toBool) {
  TensorType result = *context.types[0];
  for (size_t i = 1; i < context.types.size(); ++i) {
    const TensorType &other = *context.types[i];
    std::string label("I");
    label += std::to_string(i + 1);
    if (other.dtype != result.dtype)
      return invalidArgument("C1: I1 is " + context.types[0]->toString() + " but " + label +
                             " is " + other.toString() + "; the dtypes must be equal");
    auto dims = broadcastDims(result.dims, other.dims);
    if (!dims)
      return invalidArgument("C2: " + result.toString() + " and " + label + " " + other.toString() +
                             " do not broadcast: " + std::string(dims.status().message()));
    result.dims = std::move(*dims);
  }
  if (!isWanted(result.dtype, wanted))
    return invalidArgument("C3: the operands are " + std::string(base::dtypeName(result.dtype)) +
                           "; they must be " + wantedText(wanted));
  if (toBool)
    result.dtype = DType::kBool;
  return std::vector{std::move(result)};
}

InferResult inferUnary(const InferContext &context, Wanted wanted) {
  const TensorType &x = *context.types[0];
  if (!isWanted(x.dtype, wanted))
    return invalidArgument("C1: I1 is " + x.toString() + "; its dtype must be " +
                           wantedText(wanted));
  return std::vector{x};
}

} // namespace

InferResult inferBinary(const InferContext &context) {
  return inferBroadcast(context, Wanted::kNumeric, false);
}
InferResult inferEquality(const InferContext &context) {
  return inferBroadcast(context, Wanted::kAny, true);
}
InferResult inferComparison(const InferContext &context) {
  return inferBroadcast(context, Wanted::kNumeric, true);
}
InferResult inferLogical(const InferContext &context) {
  return inferBroadcast(context, Wanted::kBool, true);
}
InferResult inferVariadic(const InferContext &context) {
  if (context.types.empty())
    return invalidArgument("C4: there must be one operand at least");
  return inferBroadcast(context, Wanted::kNumeric, false);
}
InferResult inferNumericUnary(const InferContext &context) {
  return inferUnary(context, Wanted::kNumeric);
}
InferResult inferFloatUnary(const InferContext &context) {
  return inferUnary(context, Wanted::kFloat);
}
InferResult inferBoolUnary(const InferContext &context) {
  return inferUnary(context, Wanted::kBool);
}

EvaluateResult mapBinary(Inputs inputs, DType out, double (*floating)(double, double),
                         int64_t (*integral)(int64_t, int64_t)) {
  const Tensor &a = *inputs[0], &b = *inputs[1];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, broadcastDims(a.dims(), b.dims()));
  std::vector<Tensor> results;
  Tensor &result = results.emplace_back(TensorType{out, dims});
  StridedWalk walk(dims, {broadcastStrides(a.dims(), dims), broadcastStrides(b.dims(), dims)});
  bool isFloat = base::isFloat(a.dtype());
  for (int64_t i = 0, count = result.elementCount(); i < count; ++i, walk.next()) {
    if (isFloat)
      result.set(i, floating(a.get(walk.index(0)), b.get(walk.index(1))));
    else
      result.setInt(i, integral(a.getInt(walk.index(0)), b.getInt(walk.index(1))));
  }
  return results;
}

EvaluateResult mapVariadic(Inputs inputs, double (*floating)(double, double),
                           int64_t (*integral)(int64_t, int64_t)) {
  std::vector<Tensor> results{*inputs[0]};
  for (size_t i = 1; i < inputs.size(); ++i) {
    const Tensor *pair[] = {&results[0], inputs[i]};
    PLATEN_ASSIGN_OR_RETURN(results, mapBinary(pair, results[0].dtype(), floating, integral));
  }
  return results;
}

EvaluateResult mapUnary(Inputs inputs, DType out, double (*floating)(double),
                        int64_t (*integral)(int64_t)) {
  const Tensor &x = *inputs[0];
  std::vector<Tensor> results;
  Tensor &result = results.emplace_back(TensorType{out, {x.dims().begin(), x.dims().end()}});
  bool isFloat = base::isFloat(x.dtype());
  for (int64_t i = 0, count = result.elementCount(); i < count; ++i) {
    if (isFloat)
      result.set(i, floating(x.get(i)));
    else
      result.setInt(i, integral(x.getInt(i)));
  }
  return results;
}

EvaluateResult mapFloatUnary(Inputs inputs, double (*floating)(double)) {
  return mapUnary(inputs, inputs[0]->dtype(), floating, nullptr);
}

base::Status loopUnary(loops::Lowering &op, loops::Value (*body)(loops::Stage &, loops::Value)) {
  const loops::TensorRef x = op.operand(0);
  return op.compute(op.result(0),
                    [&](loops::Stage &s, loops::Coordinates at) { return body(s, s.load(x, at)); });
}

base::Status loopBinary(loops::Lowering &op,
                        loops::Value (*body)(loops::Stage &, loops::Value, loops::Value)) {
  const loops::TensorRef a = op.operand(0), b = op.operand(1), y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    return body(s, s.loadBroadcast(a, at, y.dims), s.loadBroadcast(b, at, y.dims));
  });
}

base::Status loopVariadic(loops::Lowering &op,
                          loops::Value (*body)(loops::Stage &, loops::Value, loops::Value)) {
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    loops::Value sum = s.loadBroadcast(op.operand(0), at, y.dims);
    for (size_t i = 1; i < op.operandCount(); ++i)
      sum = s.round(y.dtype, body(s, sum, s.loadBroadcast(op.operand(i), at, y.dims)));
    return sum;
  });
}

} // namespace platen::ops
