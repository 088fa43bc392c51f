// The 8- and 4-bit floating-point numbers of weights and activations, as plain functions.
//
//   e4m3  sign, 4 bits of exponent (bias 7), 3 of fraction; 448 is the largest, no infinities, 0x7f
//         and 0xff are not numbers
//   e2m1  sign, 2 bits of exponent (bias 1), 1 of fraction: 0, 0.5, 1, 1.5, 2, 3, 4, 6
// Conversions round to nearest even and saturate, as the GPUs' `cvt.rn.satfinite` does. NaN becomes
// 0x7f in e4m3 and 6 in e2m1.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace platen::kernels {

inline constexpr float kLargestE4m3 = 448, kLargestE2m1 = 6;

/// Magnitude |x| <= largest to a code of `fraction` bits of fraction and exponent bias `bias`.
inline uint8_t roundNarrow(float magnitude, int fraction, int bias) {
  if (magnitude == 0)
    return 0;
  int exponent = 0;
  std::frexp(magnitude, &exponent);                   // magnitude = m * 2^exponent, 0.5 <= m < 1
  const int power = std::max(exponent - 1, 1 - bias); // of the unit digit; subnormals share one
  const float steps = std::nearbyint(std::ldexp(magnitude, fraction - power)); // ties to even
  // Carries move into the exponent by themselves.
  const int code = ((power + bias - 1) << fraction) + static_cast<int>(steps);
  return static_cast<uint8_t>(code);
}
inline float widenNarrow(unsigned code, int fraction, int bias) {
  const int exponent = static_cast<int>(code >> fraction);
  const auto digits = static_cast<float>(code & ((1U << fraction) - 1));
  const auto one = static_cast<float>(1 << fraction);
  return exponent == 0 ? std::ldexp(digits / one, 1 - bias)
                       : std::ldexp(1 + digits / one, exponent - bias);
}

inline uint8_t floatToE4m3(float x) {
  if (std::isnan(x))
    return 0x7f;
  const unsigned sign = std::signbit(x) ? 0x80 : 0;
  const float magnitude = std::abs(x);
  return static_cast<uint8_t>(sign |
                              (magnitude >= kLargestE4m3 ? 0x7e : roundNarrow(magnitude, 3, 7)));
}
inline float e4m3ToFloat(uint8_t code) {
  if ((code & 0x7fU) == 0x7f)
    return std::bit_cast<float>(0x7fc00000U);
  const float magnitude = widenNarrow(code & 0x7fU, 3, 7);
  return (code & 0x80U) != 0 ? -magnitude : magnitude;
}

inline uint8_t floatToE2m1(float x) {
  if (std::isnan(x))
    return 7;
  const unsigned sign = std::signbit(x) ? 8 : 0;
  const float magnitude = std::abs(x);
  return static_cast<uint8_t>(sign |
                              (magnitude >= kLargestE2m1 ? 7 : roundNarrow(magnitude, 1, 1)));
}
inline float e2m1ToFloat(uint8_t code) {
  const float magnitude = widenNarrow(code & 7U, 1, 1);
  return (code & 8U) != 0 ? -magnitude : magnitude;
}

} // namespace platen::kernels
