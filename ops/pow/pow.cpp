// See pow.md. The two dtypes may differ (ONNX Pow-12), so the rule is not that of inferBinary.
#include "ops/pow/pow.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &a = *context.types[0], &b = *context.types[1];
  if (a.dtype == DType::kBool || b.dtype == DType::kBool)
    return invalidArgument("C1: I1 is " + a.toString() + " and I2 is " + b.toString() +
                           "; both must be numeric");
  auto dims = broadcastDims(a.dims, b.dims);
  if (!dims)
    return invalidArgument("C2: I1 " + a.toString() + " and I2 " + b.toString() +
                           " do not broadcast: " + std::string(dims.status().message()));
  return std::vector{TensorType{a.dtype, std::move(*dims)}};
}

int64_t integerPower(int64_t base, int64_t exponent) {
  uint64_t result = 1, square = static_cast<uint64_t>(base);
  for (; exponent > 0; exponent /= 2, square *= square)
    if (exponent % 2 != 0)
      result *= square;
  return static_cast<int64_t>(result);
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &a = *inputs[0], &b = *inputs[1];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, broadcastDims(a.dims(), b.dims()));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{a.dtype(), dims});
  StridedWalk walk(dims, {broadcastStrides(a.dims(), dims), broadcastStrides(b.dims(), dims)});
  bool integers = !base::isFloat(a.dtype()) && !base::isFloat(b.dtype());
  for (int64_t i = 0, count = y.elementCount(); i < count; ++i, walk.next()) {
    if (integers && b.getInt(walk.index(1)) >= 0)
      y.setInt(i, integerPower(a.getInt(walk.index(0)), b.getInt(walk.index(1))));
    else
      y.set(i, std::pow(a.get(walk.index(0)), b.get(walk.index(1))));
  }
  return results;
}

/// base ** exponent by squaring, in as many turns as an exponent has bits.
loops::Value integerPowerLoop(loops::Stage &s, loops::Value base, loops::Value exponent) {
  return s.fold(s.integer(0), s.integer(63), {s.integer(1), base, exponent},
                [&](loops::Value, std::span<const loops::Value> carried) {
                  const loops::Value odd =
                      s.equal(s.binary(loops::Op::kAnd, carried[2], s.integer(1)), s.integer(1));
                  return std::vector{s.select(odd, s.mul(carried[0], carried[1]), carried[0]),
                                     s.mul(carried[1], carried[1]),
                                     s.binary(loops::Op::kShiftRight, carried[2], s.integer(1))};
                })[0];
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef a = op.operand(0), b = op.operand(1), y = op.result(0);
  const bool floats = base::isFloat(a.dtype) || base::isFloat(b.dtype);
  const bool wide = !floats || a.dtype == DType::kF64 || b.dtype == DType::kF64;
  const loops::Kind kind = wide ? loops::Kind::kF64 : loops::Kind::kF32;
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value base = s.loadBroadcast(a, at, y.dims),
                       exponent = s.loadBroadcast(b, at, y.dims);
    const loops::Value power =
        s.as(y, s.binary(loops::Op::kPow, s.convert(kind, base, a.dtype == DType::kU64),
                         s.convert(kind, exponent, b.dtype == DType::kU64)));
    if (floats)
      return power;
    const bool isSigned = b.dtype == DType::kI64 || b.dtype == DType::kI32 ||
                          b.dtype == DType::kI16 || b.dtype == DType::kI8 || b.dtype == DType::kI4;
    const loops::Value exact = integerPowerLoop(s, base, exponent);
    return isSigned ? s.select(s.less(exponent, s.integer(0)), power, exact) : exact;
  });
}

} // namespace

const OpSpec kPow{
    .name = "pow",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Pow", 7}},
    .loops = lower,
};

} // namespace platen::ops
