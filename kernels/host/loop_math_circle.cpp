// Sine, cosine, tangent and their inverses.
#include "kernels/host/loop_math_detail.h"

#include <array>
#include <limits>
#include <numbers>

namespace platen::kernels {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// pi / 2 in parts of 53 bits.
constexpr double kHalfPi = 0x1.921fb54442d18p+0, kHalfPi2 = 0x1.1a62633145c07p-54,
                 kHalfPi3 = -0x1.f1976b7ed8fbcp-110;

/// (sin(r) / r - 1) / z and (cos(r) - 1 + z / 2) / z^2 with z = r^2, for |r| <= pi / 4.
constexpr std::array kSin = {-0x1.5555555555555p-3, 0x1.1111111111110p-7,   -0x1.a01a01a019937p-13,
                             0x1.71de3a54607a5p-19, -0x1.ae64541295cdfp-26, 0x1.61217ee5cca1bp-33,
                             -0x1.ab17bdcbd3414p-41};
constexpr std::array kCos = {0x1.5555555555555p-5,   -0x1.6c16c16c16c16p-10, 0x1.a01a01a019d0ap-16,
                             -0x1.27e4fb7712ca2p-22, 0x1.1eed8deb82809p-29,  -0x1.9394b9eb4d56dp-37,
                             0x1.ab78473be59d7p-45};

/// x = n pi / 2 + high + low.
struct Turned {
  Value n, high, low;
};
Turned turn(Wide &w, Value x) {
  const auto [n, whole] = w.nearest(x, 2 / std::numbers::pi);
  // The first difference is exact: both sides are multiples of one unit, and it is below 1.
  const Value first = w.fnma(n, w.k(kHalfPi), x);
  const auto [product, error] = w.product(n, w.k(kHalfPi2));
  const auto [high, low] = w.sum(first, w.ir().neg(product));
  return {whole, high, w.fnma(n, w.k(kHalfPi3), w.sub(low, error))};
}

Value sineOf(Wide &w, const Turned &t) {
  const Value z = w.mul(t.high, t.high), half = w.mul(z, w.k(0.5));
  const Value bent = w.mul(w.mul(t.high, z), w.polynomial(z, kSin));
  return w.add(t.high, w.fma(t.low, w.sub(w.k(1), half), bent));
}

Value cosineOf(Wide &w, const Turned &t) {
  const Value z = w.mul(t.high, t.high), half = w.mul(z, w.k(0.5));
  const Value most = w.sub(w.k(1), half), rest = w.sub(w.sub(w.k(1), most), half);
  const Value bent = w.mul(w.mul(z, z), w.polynomial(z, kCos));
  return w.add(most, w.add(rest, w.fnma(t.high, t.low, bent)));
}

Value isOdd(Wide &w, Value n) {
  return w.ir().notEqual(w.ir().bitAnd(n, w.integer(1)), w.integer(0));
}

/// `value` where the argument is small enough to be turned.
Value whereKnown(Wide &w, Value x, Value value) {
  return w.select(w.lessEqual(w.abs(x), w.k(0x1p45)), value, w.k(kNan));
}

/// sin(x + quarters pi / 2).
Value circle(Wide &w, Value x, int64_t quarters) {
  const Turned t = turn(w, x);
  const Value n = w.add(t.n, w.integer(quarters));
  const Value value = w.select(isOdd(w, n), cosineOf(w, t), sineOf(w, t));
  const Value isNegative = w.ir().notEqual(w.ir().bitAnd(n, w.integer(2)), w.integer(0));
  return whereKnown(w, x, w.select(isNegative, w.ir().neg(value), value));
}

} // namespace

Value sine(Wide &w, Value x) {
  return w.select(w.equal(x, w.k(0)), x, circle(w, x, 0)); // keeps the sign of 0
}
Value cosine(Wide &w, Value x) { return circle(w, x, 1); }

Value tangent(Wide &w, Value x) {
  const Turned t = turn(w, x);
  const Value odd = isOdd(w, t.n), s = sineOf(w, t), c = cosineOf(w, t);
  const Value y = w.div(w.select(odd, w.ir().neg(c), s), w.select(odd, s, c));
  return w.select(w.equal(x, w.k(0)), x, whereKnown(w, x, y));
}

namespace {

/// (asin(sqrt(z)) / sqrt(z) - 1) / z for z <= 1/4.
constexpr std::array kAsin = {0x1.5555555555556p-3, 0x1.3333333332ecap-4, 0x1.6db6db6e31f13p-5,
                              0x1.f1c71c1db0623p-6, 0x1.6e8bb1c8209a2p-6, 0x1.1c4d35cf95421p-6,
                              0x1.c9cf07674736ap-7, 0x1.782651caa6547p-7, 0x1.52420b04b37bep-7,
                              0x1.65a9c4dfcf8b2p-8, 0x1.1d189408314eep-6, -0x1.e6aaa8a0a04ccp-7,
                              0x1.d72b2bc8155f8p-6};
/// (atan(u) / u - 1) / u^2 for |u| <= tan(pi / 8).
constexpr std::array kAtan = {-0x1.5555555555555p-2, 0x1.9999999999953p-3,  -0x1.249249248d7d1p-3,
                              0x1.c71c71c3035c8p-4,  -0x1.745d165db0b8dp-4, 0x1.3b1392d24f335p-4,
                              -0x1.110e878213482p-4, 0x1.e19a07798598ep-5,  -0x1.ac7a3950dffbap-5,
                              0x1.74dc387c1a6f4p-5,  -0x1.1b2f96cc7eca8p-5, 0x1.0aca40aeebce0p-6};

/// |x| <= 1/2: asin(|x|) = s + bent; else asin(|x|) = pi / 2 - 2 (s + bent).
struct Arc {
  Value isLarge, s, bent;
};
Arc arc(Wide &w, Value x) {
  const Value a = w.abs(x), isLarge = w.less(w.k(0.5), a);
  const Value z = w.select(isLarge, w.mul(w.sub(w.k(1), a), w.k(0.5)), w.mul(a, a));
  const Value s = w.select(isLarge, w.ir().sqrt(z), a);
  return {isLarge, s, w.mul(w.mul(s, z), w.polynomial(z, kAsin))};
}

} // namespace

Value arcSine(Wide &w, Value x) {
  const Arc a = arc(w, x);
  const Value small = w.add(a.s, a.bent);
  const Value large = w.sub(w.k(kHalfPi), w.sub(w.add(small, small), w.k(kHalfPi2)));
  return w.copySign(w.select(a.isLarge, large, small), x);
}

Value arcCosine(Wide &w, Value x) {
  const Arc a = arc(w, x);
  const Value isNegative = w.less(x, w.k(0)), y = w.add(a.s, a.bent);
  const Value small = w.sub(w.k(kHalfPi), w.sub(x, w.sub(w.k(kHalfPi2), w.copySign(a.bent, x))));
  const Value opposite = w.sub(w.k(kHalfPi), w.add(a.s, w.sub(a.bent, w.k(kHalfPi2))));
  const Value large = w.select(isNegative, opposite, y);
  return w.select(a.isLarge, w.add(large, large), small);
}

Value arcTangent(Wide &w, Value x) {
  constexpr double kTan1 = 0x1.a827999fcef32p-2, kTan3 = 0x1.3504f333f9de6p+1; // of pi/8, 3pi/8
  const Value a = w.abs(x), isMiddle = w.less(w.k(kTan1), a), isLarge = w.less(w.k(kTan3), a);
  // atan(a) = offset + atan(over / under)
  const Value over = w.select(isLarge, w.k(-1), w.select(isMiddle, w.sub(a, w.k(1)), a));
  const Value under = w.select(isLarge, a, w.select(isMiddle, w.add(a, w.k(1)), w.k(1)));
  auto offset = [&](double large) {
    return w.select(isLarge, w.k(large), w.select(isMiddle, w.k(large / 2), w.k(0)));
  };
  const Value u = w.div(over, under), z = w.mul(u, u);
  const Value bent = w.fma(w.mul(u, z), w.polynomial(z, kAtan), offset(kHalfPi2));
  return w.copySign(w.add(offset(kHalfPi), w.add(u, bent)), x);
}

} // namespace platen::kernels
