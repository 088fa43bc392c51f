#include "kernels/host/loop_math.h"

#include "kernels/host/loop_math_detail.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <array>
#include <bit>
#include <limits>
#include <numbers>

namespace platen::kernels {

namespace arith = mlir::arith;
using ops::loops::Op;

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
/// Adding it rounds to integers, which then stand in the low bits.
constexpr double kRounder = 0x1.8p52;
constexpr auto kRounderBits = std::bit_cast<int64_t>(kRounder);
// ln 2 = high + low; high has 42 bits, so that its products with exponents are exact.
constexpr double kLn2High = 0x1.62e42fefa3800p-1, kLn2Low = 0x1.ef35793c76730p-45;
} // namespace

Wide::Wide(Ir &ir, Type type) : ir_(ir), type_(type), integers_(ir.i(64)) {
  if (auto vector = mlir::dyn_cast<mlir::VectorType>(type))
    integers_ = ir.vec(vector.getNumElements(), integers_);
}

Value Wide::k(double value) {
  auto &b = ir_.builder();
  if (auto vector = mlir::dyn_cast<mlir::VectorType>(type_))
    return b.create<arith::ConstantOp>(mlir::DenseElementsAttr::get(vector, value));
  return b.create<arith::ConstantOp>(b.getFloatAttr(type_, value));
}
Value Wide::lessEqual(Value a, Value b) {
  return ir_.builder().create<arith::CmpFOp>(arith::CmpFPredicate::OLE, a, b);
}
Value Wide::equal(Value a, Value b) {
  return ir_.builder().create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, a, b);
}
Value Wide::negate(Value a) { return ir_.bitXor(a, ir_.intConst(a.getType(), 1)); }
Value Wide::truncated(Value a) { return ir_.builder().create<mlir::math::TruncOp>(a); }

Value Wide::copySign(Value magnitude, Value sign) {
  constexpr int64_t kSign = std::numeric_limits<int64_t>::min();
  return real(ir_.bitOr(ir_.bitAnd(bits(magnitude), integer(~kSign)),
                        ir_.bitAnd(bits(sign), integer(kSign))));
}
Value Wide::toReal(Value a) { return sub(real(add(a, integer(kRounderBits))), k(kRounder)); }
Wide::Rounded Wide::nearest(Value a, double factor) {
  const Value rounded = fma(a, k(factor), k(kRounder));
  return {sub(rounded, k(kRounder)), sub(bits(rounded), integer(kRounderBits))};
}
Value Wide::powerOfTwo(Value n) { return real(ir_.shl(add(n, integer(1023)), integer(52))); }

Value Wide::polynomial(Value x, std::span<const double> c) {
  Value sum = k(c.back());
  for (size_t i = c.size() - 1; i-- > 0;)
    sum = fma(sum, x, k(c[i]));
  return sum;
}
Wide::Pair Wide::sum(Value a, Value b) {
  const Value high = add(a, b), second = sub(high, a);
  return {high, add(sub(a, sub(high, second)), sub(b, second))};
}
Wide::Pair Wide::product(Value a, Value b) {
  const Value high = mul(a, b);
  return {high, fma(a, b, ir_.neg(high))};
}

namespace {

// Polynomials here and in the other files interpolate their function at Chebyshev's points; their
// error is below half an ulp of the result.

/// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2.
constexpr std::array kExp = {0x1.0000000000000p-1,  0x1.5555555555557p-3,  0x1.5555555555556p-5,
                             0x1.11111111100dep-7,  0x1.6c16c16c162d6p-10, 0x1.a01a01abe683ap-13,
                             0x1.a01a01a6d7b19p-16, 0x1.71de02364614ap-19, 0x1.27e4db6718a69p-22,
                             0x1.af4ddfbb33a59p-26, 0x1.1f72fdb6c6442p-29};

/// x = n ln 2 + r; p = e^r - 1.
struct Exponent {
  Value n, p;
};
Exponent splitExponent(Wide &w, Value x, Value low) {
  const auto [n, whole] = w.nearest(x, std::numbers::log2e);
  const Value high = w.fnma(n, w.k(kLn2High), x), below = w.mul(n, w.k(kLn2Low));
  const Value r = w.sub(high, below);
  Value rest = w.sub(w.sub(high, r), below);
  if (low)
    rest = w.add(rest, low);
  const Value p = w.add(r, w.fma(w.mul(r, r), w.polynomial(r, kExp), rest));
  return {whole, p};
}

} // namespace

Value exponential(Wide &w, Value x, int shift, Value low) {
  x = w.atMost(w.atLeast(x, -760.0), 720.0);
  auto [n, p] = splitExponent(w, x, low);
  n = w.add(n, w.integer(shift));
  const Value half = w.ir().shrArith(n, w.integer(1)); // 2^n may leave the exponent's range
  return w.mul(w.mul(w.add(p, w.k(1)), w.powerOfTwo(half)), w.powerOfTwo(w.sub(n, half)));
}

Value exponentialLess1(Wide &w, Value x) {
  const auto [n, p] = splitExponent(w, x, {});
  const Value scale = w.powerOfTwo(n);
  return w.fma(scale, p, w.sub(scale, w.k(1)));
}

Binary splitBinary(Wide &w, Value x) {
  constexpr double kLeastNormal = std::numeric_limits<double>::min();
  const Value isTiny = w.less(x, w.k(kLeastNormal));
  const Value bits = w.bits(w.select(isTiny, w.mul(x, w.k(0x1p54)), x));
  const Value e = w.ir().shrArith(
      w.sub(bits, w.integer(std::bit_cast<int64_t>(std::numbers::sqrt2 / 2))), w.integer(52));
  const Value m = w.real(w.sub(bits, w.ir().shl(e, w.integer(52))));
  return {w.sub(w.toReal(e), w.select(isTiny, w.k(54), w.k(0))), w.sub(m, w.k(1))};
}

namespace {
/// 2 (atanh(s) / s - 1) / z with z = s^2, for |s| <= 0.1716.
constexpr std::array kLog = {0x1.5555555555555p-1, 0x1.9999999999a38p-2, 0x1.2492492476c8bp-2,
                             0x1.c71c720160332p-3, 0x1.745cf90196560p-3, 0x1.3b1c35fbecd93p-3,
                             0x1.0fbe84f5caccap-3, 0x1.0c044ccf380aap-3};
} // namespace

Value logarithm(Wide &w, Value x, Value low, Value more) {
  auto [e, f] = splitBinary(w, x);
  if (more)
    e = w.add(e, more);
  // ln(1 + f) = 2 atanh(s) with s = f / (2 + f), and 2 s = f - s f.
  const Value s = w.div(f, w.add(f, w.k(2))), z = w.mul(s, s);
  Value below = w.mul(e, w.k(kLn2Low));
  if (low)
    below = w.add(below, w.div(low, x));
  const Value bent = w.mul(s, w.sub(f, w.mul(z, w.polynomial(z, kLog))));
  Value y = w.fma(e, w.k(kLn2High), w.sub(f, w.sub(bent, below)));
  y = w.select(w.equal(x, w.k(kInfinity)), x, y);
  y = w.select(w.equal(x, w.k(0)), w.k(-kInfinity), y);
  return w.select(w.lessEqual(w.k(0), x), y, w.k(kNan));
}

Value logarithmOf1Plus(Wide &w, Value x, bool half) {
  const auto [high, low] = w.sum(w.k(1), x);
  const Value y = logarithm(w, high, low);
  return half ? w.mul(y, w.k(0.5)) : y;
}

namespace {

Value hyperbolicSine(Wide &w, Value x) {
  const Value a = w.abs(x), near = exponentialLess1(w, w.atMost(a, 22.0));
  const Value small = w.mul(w.add(near, w.div(near, w.add(near, w.k(1)))), w.k(0.5));
  return w.copySign(w.select(w.less(w.k(22), a), exponential(w, a, -1), small), x);
}

Value hyperbolicCosine(Wide &w, Value x) {
  const Value half = exponential(w, w.abs(x), -1);
  return w.add(half, w.div(w.k(0.25), half));
}

Value hyperbolicTangent(Wide &w, Value x) {
  const Value a = w.atMost(w.abs(x), 22.0), y = exponentialLess1(w, w.add(a, a));
  return w.copySign(w.div(y, w.add(y, w.k(2))), x);
}

Value areaSine(Wide &w, Value x) {
  const Value a = w.abs(x), isLarge = w.less(w.k(0x1p28), a), square = w.mul(a, a);
  const Value root = w.ir().sqrt(w.add(square, w.k(1)));
  const auto [high, low] = w.sum(w.k(1), w.add(a, w.div(square, w.add(root, w.k(1)))));
  return w.copySign(logarithm(w, w.select(isLarge, a, high), w.select(isLarge, w.k(0), low),
                              w.select(isLarge, w.k(1), w.k(0))),
                    x);
}

Value areaCosine(Wide &w, Value x) {
  const Value isLarge = w.less(w.k(0x1p28), x), t = w.sub(x, w.k(1));
  const auto [high, low] = w.sum(w.k(1), w.add(t, w.ir().sqrt(w.mul(t, w.add(t, w.k(2))))));
  const Value y = logarithm(w, w.select(isLarge, x, high), w.select(isLarge, w.k(0), low),
                            w.select(isLarge, w.k(1), w.k(0)));
  return w.select(w.lessEqual(w.k(1), x), y, w.k(kNan));
}

Value areaTangent(Wide &w, Value x) {
  const Value a = w.abs(x);
  return w.copySign(logarithmOf1Plus(w, w.div(w.add(a, a), w.sub(w.k(1), a)), true), x);
}

Value wideFunction(Wide &w, Op op, Value a, Value b, bool exact) {
  switch (op) {
  case Op::kExp:
    return exponential(w, a);
  case Op::kLog:
    return logarithm(w, a);
  case Op::kSin:
    return sine(w, a);
  case Op::kCos:
    return cosine(w, a);
  case Op::kTan:
    return tangent(w, a);
  case Op::kAsin:
    return arcSine(w, a);
  case Op::kAcos:
    return arcCosine(w, a);
  case Op::kAtan:
    return arcTangent(w, a);
  case Op::kSinh:
    return hyperbolicSine(w, a);
  case Op::kCosh:
    return hyperbolicCosine(w, a);
  case Op::kTanh:
    return hyperbolicTangent(w, a);
  case Op::kAsinh:
    return areaSine(w, a);
  case Op::kAcosh:
    return areaCosine(w, a);
  case Op::kAtanh:
    return areaTangent(w, a);
  case Op::kErf:
    return errorFunction(w, a);
  case Op::kPow:
    return power(w, a, b, exact);
  case Op::kRem:
    return remainder(w, a, b);
  default:
    return {};
  }
}

} // namespace

Value mathFunction(Ir &ir, Op op, Value a, Value b) {
  const Type given = a.getType();
  Type wide = ir.f64();
  if (auto vector = mlir::dyn_cast<mlir::VectorType>(given))
    wide = ir.vec(vector.getNumElements(), wide);
  Wide w(ir, wide);
  if (given == wide)
    return wideFunction(w, op, a, b, true);
  const Value y =
      wideFunction(w, op, ir.extendFloat(a, wide), b ? ir.extendFloat(b, wide) : Value(), false);
  return y ? ir.builder().create<arith::TruncFOp>(given, y).getResult() : Value();
}

} // namespace platen::kernels
