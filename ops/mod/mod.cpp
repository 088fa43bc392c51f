// See mod.md. A division of integers by 0 gives 0.
#include "ops/mod/mod.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

int64_t truncated(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
int64_t floored(int64_t a, int64_t b) {
  const int64_t rest = truncated(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
double flooredFloat(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  if (intAttribute(attributes, "fmod") != 0)
    return mapBinary(
        inputs, inputs[0]->dtype(), [](double a, double b) { return std::fmod(a, b); }, truncated);
  return mapBinary(inputs, inputs[0]->dtype(), flooredFloat, floored);
}

base::Status lower(loops::Lowering &op) {
  const bool byDivisor = intAttribute(op.attributes(), "fmod") == 0;
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value a = s.loadBroadcast(op.operand(0), at, y.dims),
                       b = s.loadBroadcast(op.operand(1), at, y.dims);
    const loops::Value rest = s.binary(loops::Op::kRem, a, b, y.dtype == DType::kU64);
    if (!byDivisor || y.dtype == DType::kU64)
      return rest;
    const loops::Value zero = s.number(y.kind(), 0),
                       differ = s.binary(loops::Op::kXor, s.less(rest, zero), s.less(b, zero));
    return s.select(s.both(s.negate(s.equal(rest, zero)), differ), s.add(rest, b), rest);
  });
}

} // namespace

const OpSpec kMod{
    .name = "mod",
    .operands = {{"a"}, {"b"}},
    .attributes = {{"fmod", int64_t{0}}},
    .infer = inferBinary,
    .reference = reference,
    .onnx = {{"", "Mod", 10}},
    .loops = lower,
};

} // namespace platen::ops
