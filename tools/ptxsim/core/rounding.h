// Rounding that the compiler can vectorise: half types from and to float, and rounding to odd,
// which lets a value pass through a wider format and be rounded once in the end.
//
// Rounding to odd keeps a representable value and otherwise takes the neighbour whose last bit
// is 1. A later rounding to a format with at least two bits less then gives what one rounding
// would. All is inlined by force: a loop around a call does not vectorise.
#pragma once

#include "tools/ptxsim/core/values.h"

namespace platen::ptxsim {

/// `bits`, the nearest value's, moved to the odd neighbour: towards the exact value where `error`
/// says that it is inexact. `error` holds the upper word of what is missing; NaN where nothing is
/// to be moved. All in whole numbers, without branches.
[[gnu::always_inline]] inline uint32_t moveToOdd(uint32_t bits, uint32_t error, uint32_t infinity) {
  uint32_t inexact = (error & 0x7FFFFFFFu) - 1 < infinity;
  uint32_t outwards = 1 - 2 * ((bits ^ error) >> 31); // one up in magnitude, or one down
  return bits + (outwards & (0 - (inexact & ~bits & 1)));
}
/// a + b to odd.
[[gnu::always_inline]] inline double oddSum(double a, double b) {
  double sum = a + b, bPart = sum - a, aPart = sum - bPart;
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  uint64_t error = std::bit_cast<uint64_t>((a - aPart) + (b - bPart));
  uint64_t inexact = (error & ~uint64_t{0} >> 1) - 1 < 0x7FF0000000000000u;
  uint64_t outwards = 1 - 2 * ((bits ^ error) >> 63);
  return std::bit_cast<double>(bits + (outwards & (0 - (inexact & ~bits & 1))));
}
/// The same for floats, where the sum does not overflow.
[[gnu::always_inline]] inline float oddSum(float a, float b) {
  float sum = a + b, bPart = sum - a, aPart = sum - bPart;
  uint32_t error = std::bit_cast<uint32_t>((a - aPart) + (b - bPart));
  return std::bit_cast<float>(moveToOdd(std::bit_cast<uint32_t>(sum), error, 0x7F800000u));
}
[[gnu::always_inline]] inline float oddFloat(double value) {
  auto nearest = static_cast<float>(value);
  auto error = static_cast<uint32_t>(std::bit_cast<uint64_t>(value - double{nearest}) >> 32);
  return std::bit_cast<float>(moveToOdd(std::bit_cast<uint32_t>(nearest), error, 0x7FF00000u));
}

/// Exact.
template <class H> [[gnu::always_inline]] inline float widen(H h) {
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
template <class H> [[gnu::always_inline]] inline H narrow(float f) {
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
template <class H> [[gnu::always_inline]] inline H flushHalf(H h) {
  uint32_t bits = h.bits;
  return H{static_cast<uint16_t>((bits & kExponentMask<H>) == 0 ? bits & 0x8000 : bits)};
}

} // namespace platen::ptxsim
