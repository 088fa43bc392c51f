// Rounding that the compiler can vectorise: half types from and to float, and rounding to odd,
// which lets a value pass through a wider format and be rounded once in the end.
//
// Rounding to odd keeps a representable value and otherwise takes the neighbour whose last bit
// is 1. A later rounding to a format with at least two bits less then gives what one rounding
// would.
#pragma once

#include "tools/ptxsim/core/values.h"

namespace platen::ptxsim {

/// `rounded` is the nearest double to an exact value that exceeds it by `error`; to odd instead.
/// An infinity or NaN stays (its error is NaN).
inline double makeOdd(double rounded, double error) {
  uint64_t bits = std::bit_cast<uint64_t>(rounded);
  bool outwards = (error > 0) == (rounded > 0);
  bool moves = (error < 0 || error > 0) && (bits & 1) == 0;
  return std::bit_cast<double>(moves ? (outwards ? bits + 1 : bits - 1) : bits);
}
inline double oddSum(double a, double b) {
  double sum = a + b, bPart = sum - a, aPart = sum - bPart;
  return makeOdd(sum, (a - aPart) + (b - bPart));
}
inline float oddFloat(double value) {
  auto nearest = static_cast<float>(value);
  double back = nearest;
  uint32_t bits = std::bit_cast<uint32_t>(nearest);
  bool moves = (back < value || back > value) && (bits & 1) == 0;
  bool outwards = (back < 0 ? -back : back) < (value < 0 ? -value : value);
  // A zero takes the sign of what it was.
  uint32_t sign = value < 0 ? 0x80000000u : 0;
  bits = back == 0 ? (bits | sign) : bits;
  return std::bit_cast<float>(moves ? (outwards ? bits + 1 : bits - 1) : bits);
}

/// Exact.
template <class H> inline float widen(H h) {
  uint32_t bits = h.bits;
  if constexpr (std::is_same_v<H, BF16>) {
    return std::bit_cast<float>(bits << 16);
  } else {
    float magnitude = std::bit_cast<float>((bits & 0x7FFF) << 13) * 0x1p112f;
    uint32_t special = (bits & 0x7C00) == 0x7C00 ? 0x7F800000u : 0;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special |
                                (bits & 0x8000) << 16);
  }
}

/// The nearest half, ties to even; NaN becomes the canonical one.
template <class H> inline H narrow(float f) {
  uint32_t bits = std::bit_cast<uint32_t>(f), magnitude = bits & 0x7FFFFFFFu;
  uint32_t sign = bits >> 16 & 0x8000, result;
  if constexpr (std::is_same_v<H, BF16>) {
    result = (magnitude + 0x7FFF + (magnitude >> 16 & 1)) >> 16;
  } else {
    uint32_t normal = ((magnitude + 0xFFF + (magnitude >> 13 & 1)) >> 13) - (112 << 10);
    normal = normal > 0x7C00 ? 0x7C00 : normal;
    // 0.5 has the distance of f16's subnormals between its neighbours.
    float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    uint32_t subnormal = std::bit_cast<uint32_t>(shifted) - 0x3F000000u;
    result = magnitude < 0x38800000u ? subnormal : normal;
  }
  return H{static_cast<uint16_t>(magnitude > 0x7F800000u ? 0x7FFFu : result | sign)};
}

template <class H>
inline constexpr uint32_t kExponentMask = std::is_same_v<H, F16> ? 0x7C00 : 0x7F80;
template <class H> inline constexpr uint32_t kOneBits = std::is_same_v<H, F16> ? 0x3C00 : 0x3F80;
template <class H> inline H flushHalf(H h) {
  uint32_t bits = h.bits;
  return H{static_cast<uint16_t>((bits & kExponentMask<H>) == 0 ? bits & 0x8000 : bits)};
}

} // namespace platen::ptxsim
