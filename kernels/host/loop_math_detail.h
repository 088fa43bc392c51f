// Arithmetic in f64 (scalars, or vectors of them) for the functions of loop_math.h.
#pragma once

#include "kernels/host/ir.h"

#include <span>

namespace platen::kernels {

class Wide {
public:
  /// `type`: f64 or a vector of f64.
  Wide(Ir &ir, Type type);

  Ir &ir() { return ir_; }
  Value k(double value);
  Value integer(int64_t value) { return ir_.intConst(integers_, value); }
  Value add(Value a, Value b) { return ir_.add(a, b); }
  Value sub(Value a, Value b) { return ir_.sub(a, b); }
  Value mul(Value a, Value b) { return ir_.mul(a, b); }
  Value div(Value a, Value b) { return ir_.div(a, b); }
  Value fma(Value a, Value b, Value c) { return ir_.fma(a, b, c); }
  /// c - a * b, rounded once.
  Value fnma(Value a, Value b, Value c) { return ir_.fma(ir_.neg(a), b, c); }
  Value abs(Value a) { return ir_.abs(a); }
  Value select(Value condition, Value a, Value b) { return ir_.select(condition, a, b); }
  /// a < b ? a : b with NaN of `a` kept.
  Value atMost(Value a, double b) { return select(less(k(b), a), k(b), a); }
  Value atLeast(Value a, double b) { return select(less(a, k(b)), k(b), a); }
  /// Ordered comparisons.
  Value less(Value a, Value b) { return ir_.lessThan(a, b); }
  Value lessEqual(Value a, Value b);
  Value equal(Value a, Value b);
  Value both(Value a, Value b) { return ir_.bitAnd(a, b); }
  Value negate(Value a);
  Value truncated(Value a);

  Value bits(Value a) { return ir_.bitcast(a, integers_); }
  Value real(Value bits) { return ir_.bitcast(bits, type_); }
  Value copySign(Value magnitude, Value sign);
  /// An integer of less than 52 bits, and the reverse: the integer nearest to a * factor, both
  /// ways. Nothing is undefined where it does not fit.
  Value toReal(Value a);
  struct Rounded {
    Value real, integer;
  };
  Rounded nearest(Value a, double factor);
  /// 2^n, -1023 < n < 1024.
  Value powerOfTwo(Value n);
  /// c[0] + c[1] x + …
  Value polynomial(Value x, std::span<const double> c);
  struct Pair {
    Value high, low; ///< the exact value is their sum
  };
  Pair sum(Value a, Value b);
  Pair product(Value a, Value b);

private:
  Ir &ir_;
  Type type_, integers_;
};

/// e^(x + low) * 2^shift within 1 ulp; low is tiny, or null.
Value exponential(Wide &w, Value x, int shift = 0, Value low = {});
/// e^x - 1 for 0 <= x <= 700.
Value exponentialLess1(Wide &w, Value x);
/// x = (1 + f) 2^e with 1 + f in [sqrt(1/2), sqrt(2)), for positive finite x.
struct Binary {
  Value e, f;
};
Binary splitBinary(Wide &w, Value x);
/// ln(x + low) + more * ln 2 within 1 ulp: -infinity of 0, NaN below.
Value logarithm(Wide &w, Value x, Value low = {}, Value more = {});
Value logarithmOf1Plus(Wide &w, Value x, bool half = false);

Value errorFunction(Wide &w, Value x);
/// x^y. `exact`: within 1 ulp of f64, else good for a result in f32.
Value power(Wide &w, Value x, Value y, bool exact);
/// The remainder of x / y with x's sign, exact. For scalars: it is a loop.
Value remainder(Wide &w, Value x, Value y);

// Of circles: sine, cosine and tangent of arguments up to 2^45 are within 1 to 2 ulp. Beyond, where
// neighbouring f32 lie a million turns apart, they are NaN, as of infinity.
Value sine(Wide &w, Value x);
Value cosine(Wide &w, Value x);
Value tangent(Wide &w, Value x);
Value arcSine(Wide &w, Value x);
Value arcCosine(Wide &w, Value x);
Value arcTangent(Wide &w, Value x);

} // namespace platen::kernels
