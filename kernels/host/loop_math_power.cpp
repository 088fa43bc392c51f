// Powers, the remainder of floats, the error function.
#include "kernels/host/loop_math_detail.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <array>
#include <limits>

namespace platen::kernels {

namespace scf = mlir::scf;

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kLn2High = 0x1.62e42fefa3800p-1, kLn2Low = 0x1.ef35793c76730p-45;

/// (2 (atanh(s) / s - 1) / z - 2/3) / z with z = s^2, for |s| <= 0.1716.
constexpr std::array kLogTail = {0x1.999999999999ap-2, 0x1.2492492492521p-2, 0x1.c71c71c6eaa18p-3,
                                 0x1.745d177a95904p-3, 0x1.3b1395d249ed7p-3, 0x1.1118c7da4e209p-3,
                                 0x1.df7ccb122450bp-4, 0x1.e02e59475f3c5p-4};

/// ln(x) of x > 0 to about 2^-63 of itself; of 0 and infinity the infinities.
Wide::Pair preciseLogarithm(Wide &w, Value x) {
  constexpr double kTwoThirds = 0x1.5555555555555p-1, kTwoThirdsLow = 0x1.5555555555555p-55;
  const auto [e, f] = splitBinary(w, x);
  // s = f / (2 + f) in two parts, then its square and its cube.
  const auto [under, underLow] = w.sum(w.k(2), f);
  const Value s = w.div(f, under);
  const Value sLow = w.div(w.fnma(s, underLow, w.fnma(s, under, f)), under);
  const auto [z, zRest] = w.product(s, s);
  const Value zLow = w.fma(w.add(s, s), sLow, zRest);
  const auto [cube, cubeRest] = w.product(s, z);
  const Value cubeLow = w.fma(s, zLow, w.fma(sLow, z, cubeRest));
  const auto [third, thirdRest] = w.product(cube, w.k(kTwoThirds));
  const Value thirdLow =
      w.fma(cube, w.k(kTwoThirdsLow), w.fma(cubeLow, w.k(kTwoThirds), thirdRest));
  const Value tail = w.mul(w.mul(cube, z), w.polynomial(z, kLogTail));
  // e ln 2 + 2 s + 2/3 s^3 + tail, the greatest first.
  const auto [one, oneLow] = w.sum(w.add(s, s), third);
  const auto [two, twoLow] = w.sum(one, tail);
  const auto [three, threeLow] = w.sum(w.mul(e, w.k(kLn2High)), two);
  Value low = w.add(w.add(w.add(sLow, sLow), thirdLow), w.add(oneLow, twoLow));
  low = w.add(threeLow, w.fma(e, w.k(kLn2Low), low));
  const auto [high, rest] = w.sum(three, low);
  const Value isInfinite = w.equal(x, w.k(kInfinity)), isZero = w.equal(x, w.k(0));
  Value y = w.select(isInfinite, x, w.select(isZero, w.k(-kInfinity), high));
  y = w.select(w.equal(x, x), y, x);
  return {y, w.select(w.ir().bitOr(isInfinite, isZero), w.k(0), rest)};
}

} // namespace

Value power(Wide &w, Value x, Value y, bool exact) {
  const Value a = w.abs(x);
  Value result;
  if (exact) {
    const Wide::Pair log = preciseLogarithm(w, a);
    const auto [high, rest] = w.product(y, log.high);
    const Value low = w.fma(y, log.low, rest), isFinite = w.less(w.abs(high), w.k(1000));
    result = exponential(w, high, 0, w.select(isFinite, low, w.k(0)));
  } else {
    result = exponential(w, w.mul(y, logarithm(w, a)));
  }
  const Value half = w.mul(y, w.k(0.5)), isWhole = w.equal(w.truncated(y), y);
  const Value isOdd = w.both(isWhole, w.negate(w.equal(w.truncated(half), half)));
  const Value hasSign = w.ir().lessThan(w.bits(x), w.integer(0));
  result = w.select(w.both(isOdd, hasSign), w.ir().neg(result), result);
  const Value isReal = w.both(w.less(x, w.k(0)), w.less(w.k(-kInfinity), x));
  result = w.select(w.both(isReal, w.negate(isWhole)), w.k(kNan), result);
  const Value isInfinite = w.equal(w.abs(y), w.k(kInfinity));
  const Value isOne = w.ir().bitOr(w.both(w.equal(a, w.k(1)), isInfinite),
                                   w.ir().bitOr(w.equal(x, w.k(1)), w.equal(y, w.k(0))));
  return w.select(isOne, w.k(1), result);
}

namespace {

/// rest - trunc(rest / by) * by, exact where rest / by < 2^52; both positive.
Value remainderStep(Wide &w, Value rest, Value by) {
  const Value r = w.fnma(w.truncated(w.div(rest, by)), by, rest);
  return w.select(w.less(r, w.k(0)), w.add(r, by), r); // the quotient was rounded up
}

Value exponentOf(Wide &w, Value a) { return w.ir().shrLogical(w.bits(a), w.integer(52)); }

} // namespace

Value remainder(Wide &w, Value x, Value y) {
  Ir &ir = w.ir();
  auto &b = ir.builder();
  const Value a = w.abs(x), by = w.abs(y);
  const Value isKnown = w.both(w.less(a, w.k(kInfinity)), w.less(w.k(0), by));
  const Value isFinite = w.both(isKnown, w.less(by, w.k(kInfinity)));
  // Divisors below the normal numbers come last: first the remainder of a multiple that is one.
  const Value divisor = w.select(isFinite, by, w.k(1));
  const Value isTiny = w.less(divisor, w.k(std::numeric_limits<double>::min()));
  const Value normal = w.select(isTiny, w.mul(divisor, w.k(0x1p52)), divisor);
  const Value first = w.select(isFinite, a, w.k(0));
  const Type type = first.getType();
  auto loop = b.create<scf::WhileOp>(
      mlir::TypeRange(llvm::ArrayRef<Type>(type)), mlir::ValueRange(first),
      [&](mlir::OpBuilder &, mlir::Location, mlir::ValueRange rest) {
        b.setInsertionPointToEnd(rest[0].getParentBlock());
        b.create<scf::ConditionOp>(w.lessEqual(normal, rest[0]), rest);
      },
      [&](mlir::OpBuilder &, mlir::Location, mlir::ValueRange rest) {
        b.setInsertionPointToEnd(rest[0].getParentBlock());
        // A multiple of the divisor that is 2^50 to 2^52 times smaller than the rest.
        const Value gap = w.sub(exponentOf(w, rest[0]), exponentOf(w, normal));
        const Value steps = ir.max(w.sub(gap, w.integer(50)), w.integer(0));
        const Value half = ir.shrLogical(steps, w.integer(1));
        const Value by = w.mul(w.mul(normal, w.powerOfTwo(half)), w.powerOfTwo(w.sub(steps, half)));
        b.create<scf::YieldOp>(mlir::ValueRange(remainderStep(w, rest[0], by)));
      });
  b.setInsertionPointAfter(loop);
  Value rest = remainderStep(w, loop.getResult(0), divisor);
  rest = w.select(isFinite, rest, w.select(isKnown, a, w.k(kNan)));
  return w.copySign(w.select(w.both(w.equal(x, x), w.equal(y, y)), rest, w.k(kNan)), x);
}

namespace {
/// erf(x) / x by x^2, for |x| <= 1.
constexpr std::array kErf = {0x1.20dd750429b6dp+0,   -0x1.812746b0379e6p-2,  0x1.ce2f21a042b30p-4,
                             -0x1.b82ce31284e00p-6,  0x1.565bcd0dbaa38p-8,   -0x1.c02db3dac435fp-11,
                             0x1.f9a321d5b8e1ep-14,  -0x1.f4d1e3183f7aep-17, 0x1.b9df224ca4b97p-20,
                             -0x1.5f1ecb6f0764cp-23, 0x1.f7b4bf3b13964p-27,  -0x1.389d4f2641625p-30,
                             0x1.05ffd737fb32ep-34};
/// (1 - erf(x)) e^(x^2) by (x - 2) / (x + 2), for 1 <= x <= 6.
constexpr std::array kErfc = {
    0x1.058671b52c776p-2,   -0x1.b57034efd3f74p-2, 0x1.eeea7dc8a78a1p-3,   -0x1.437f0b68c0489p-4,
    0x1.e9471597be87ap-9,   0x1.ca95ed50b7c81p-8,  -0x1.bc25a48873fcfp-11, -0x1.016b5b63ce721p-10,
    0x1.6d5ee91b54222p-15,  0x1.6da887a2804f7p-13, 0x1.cdd4519ae1742p-16,  -0x1.ce6ac975b91e0p-16,
    -0x1.d5b4578dde1bbp-17, 0x1.5e89dbd23021dp-20, 0x1.0d39558a33004p-18,  0x1.559a2f0faada6p-20,
    -0x1.30be46f379823p-20};
} // namespace

Value errorFunction(Wide &w, Value x) {
  const Value a = w.abs(x), near = w.mul(x, w.polynomial(w.mul(x, x), kErf));
  const Value c = w.atMost(a, 6.0), t = w.div(w.sub(c, w.k(2)), w.add(c, w.k(2)));
  const Value rest = w.mul(exponential(w, w.ir().neg(w.mul(c, c))), w.polynomial(t, kErfc));
  return w.select(w.less(a, w.k(1)), near, w.copySign(w.sub(w.k(1), rest), x));
}

} // namespace platen::kernels
