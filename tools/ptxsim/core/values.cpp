// Formats of few bits: a double rounded to one, and back.
#include "tools/ptxsim/core/values.h"

#include "tools/ptxsim/core/rounding.h"

#include <algorithm>

namespace platen::ptxsim {
namespace {

uint32_t largestFinite(const Format &format) {
  uint32_t allOnes = (1u << (format.exponentBits + format.mantissaBits)) - 1;
  if (format.hasInfinity)
    return allOnes - (1u << format.mantissaBits);
  return format.hasNan ? allOnes - 1 : allOnes;
}

/// Whether a magnitude with `rest` of a unit beyond `kept` (in 1/2^shift) rounds up.
bool roundsUp(uint64_t kept, uint64_t rest, uint64_t half, bool negative, int mode) {
  switch (mode) {
  case 0:
    return rest > half || (rest == half && (kept & 1));
  case 2:
    return negative && rest != 0;
  case 3:
    return !negative && rest != 0;
  case 4:
    return rest >= half;
  case 5:
    return rest != 0 && !(kept & 1);
  default:
    return false;
  }
}

} // namespace

uint32_t encode(double value, const Format &format, int mode, bool satfinite) {
  const int width = format.exponentBits + format.mantissaBits,
            bias = (1 << (format.exponentBits - 1)) - 1;
  if (value != value)
    return format.nan;
  bool negative = std::signbit(value);
  uint32_t sign = negative ? 1u << width : 0, largest = largestFinite(format);
  uint32_t infinity = format.hasInfinity ? largest + 1 : format.hasNan ? format.nan : largest;
  if (std::isinf(value))
    return sign | (satfinite ? largest : infinity);
  if (value == 0)
    return sign;
  int exponent = 0;
  double fraction = std::frexp(std::fabs(value), &exponent); // in [0.5, 1)
  auto mantissa = static_cast<uint64_t>(std::ldexp(fraction, 53));
  int field = std::max(exponent - 1 + bias, 1);
  // One unit of the result is 2^(field - bias - mantissaBits); one of `mantissa` 2^(exponent - 53).
  int shift = field - bias - format.mantissaBits - (exponent - 53);
  uint64_t kept = 0;
  if (shift <= 0) {
    kept = mantissa << -shift;
  } else if (shift >= 64) {
    kept = roundsUp(0, 1, 2, negative, mode) ? 1 : 0;
  } else {
    uint64_t half = uint64_t{1} << (shift - 1), rest = mantissa & (half * 2 - 1);
    kept = shift == 63 ? mantissa >> 63 : mantissa >> shift;
    kept += roundsUp(kept, rest, half, negative, mode);
  }
  uint64_t bits = (static_cast<uint64_t>(field - 1) << format.mantissaBits) + kept;
  if (bits > largest) {
    bool inwards = mode == 1 || mode == 5 || (mode == 2 && !negative) || (mode == 3 && negative);
    bits = satfinite || inwards ? largest : infinity;
  }
  return sign | static_cast<uint32_t>(bits);
}

double decode(uint32_t bits, const Format &format) {
  const int width = format.exponentBits + format.mantissaBits,
            bias = (1 << (format.exponentBits - 1)) - 1;
  uint32_t magnitude = bits & ((1u << width) - 1), largest = largestFinite(format);
  double sign = bits >> width & 1 ? -1.0 : 1.0;
  if (magnitude > largest)
    return format.hasInfinity && magnitude == largest + 1 ? sign * HUGE_VAL : std::nan("");
  auto field = static_cast<int>(magnitude >> format.mantissaBits);
  uint32_t mantissa = magnitude & ((1u << format.mantissaBits) - 1);
  if (field != 0)
    mantissa |= 1u << format.mantissaBits;
  return sign * std::ldexp(mantissa, std::max(field, 1) - bias - format.mantissaBits);
}

double addToOdd(double a, double b) { return oddSum(a, b); }

} // namespace platen::ptxsim
