#include "kernels/scalar_block.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace platen::kernels {

std::string ScalarBlock::key() const {
  std::string text;
  for (const ScalarOp &op : ops_) {
    text += static_cast<char>('a' + static_cast<int>(op.kind));
    switch (op.kind) {
    case ScalarOpKind::kInput:
      text += std::to_string(op.index);
      break;
    case ScalarOpKind::kConstant: // by bits: -0, NaN and last digits count
      text += std::to_string(std::bit_cast<uint32_t>(op.constant));
      break;
    default:
      text += std::to_string(op.a) + "," + std::to_string(op.b) + "," + std::to_string(op.c);
    }
    text += ';';
  }
  return text + ">" + std::to_string(result_);
}

ScalarBlock::Value ScalarBlock::sigmoid(Value x) {
  const Value one = constant(1.0F);
  return div(one, add(one, unary(ScalarOpKind::kExp, unary(ScalarOpKind::kNeg, x))));
}

ScalarBlock::Value ScalarBlock::silu(Value x) { return mul(x, sigmoid(x)); }

ScalarBlock::Value ScalarBlock::geluTanh(Value x) {
  // (1 + tanh u) / 2 = sigmoid(2u), one exp instead of a tanh.
  const auto twoRoot = static_cast<float>(2.0 * std::sqrt(2.0 / std::numbers::pi));
  const Value cubic = mul(mul(x, x), constant(0.044715F));
  return mul(x, sigmoid(mul(constant(twoRoot), fma(cubic, x, x))));
}

ScalarBlock::Value ScalarBlock::geluErf(Value x) {
  const auto rootHalf = static_cast<float>(std::numbers::sqrt2 / 2.0);
  const Value erf = unary(ScalarOpKind::kErf, mul(x, constant(rootHalf)));
  return mul(mul(constant(0.5F), x), add(constant(1.0F), erf));
}

ScalarBlock::Value ScalarBlock::softcap(Value x, float cap) {
  return mul(constant(cap), unary(ScalarOpKind::kTanh, div(x, constant(cap))));
}

} // namespace platen::kernels
