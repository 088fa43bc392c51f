// Values of a lane: how the bits of a register lane become a C++ value and back.
//
// take<T>(bits) and give<T>(value) for integers of 16 to 64 bits, float, double, F16, BF16 and
// their packed pairs. Conversions round to nearest even; NaN results of f32, f16 and bf16 are the
// canonical NaN, as the PTX ISA says.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <immintrin.h>
#include <tuple>
#include <type_traits>

namespace platen::ptxsim {

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};
template <class H> struct Pair {
  H lo, hi;
};
using F16x2 = Pair<F16>;
using BF16x2 = Pair<BF16>;

template <class T> using Lane = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T> inline constexpr bool isHalf = std::is_same_v<T, F16> || std::is_same_v<T, BF16>;
template <class T>
inline constexpr bool isPair = std::is_same_v<T, F16x2> || std::is_same_v<T, BF16x2>;

template <class T> inline T take(Lane<T> bits) {
  if constexpr (isHalf<T>)
    return T{static_cast<uint16_t>(bits)};
  else if constexpr (isPair<T>)
    return T{{static_cast<uint16_t>(bits)}, {static_cast<uint16_t>(bits >> 16)}};
  else if constexpr (std::is_floating_point_v<T>)
    return std::bit_cast<T>(bits);
  else
    return static_cast<T>(bits);
}

template <class T> inline Lane<T> give(T value) {
  if constexpr (isHalf<T>)
    return value.bits;
  else if constexpr (isPair<T>)
    return value.lo.bits | uint32_t{value.hi.bits} << 16;
  else if constexpr (std::is_same_v<T, float>)
    return value == value ? std::bit_cast<uint32_t>(value) : 0x7FFFFFFFu;
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<uint64_t>(value);
  else
    return static_cast<Lane<T>>(static_cast<std::make_unsigned_t<T>>(value));
}

inline float toFloat(F16 h) { return _cvtsh_ss(h.bits); }
inline float toFloat(BF16 h) { return std::bit_cast<float>(uint32_t{h.bits} << 16); }
inline float toFloat(float f) { return f; }

/// Rounding of a float format: `mode` 0 rn, 1 rz, 2 rm, 3 rp, 4 rna (ties away), 5 to odd.
struct Format {
  int exponentBits, mantissaBits; // stored bits
  bool hasInfinity;               // false: e4m3, e2m1
  bool hasNan;                    // false: e2m1
  uint32_t nan;
};
inline constexpr Format kF16Format{5, 10, true, true, 0x7FFF},
    kBF16Format{8, 7, true, true, 0x7FFF}, kTF32Format{8, 10, true, true, 0x3FFFF},
    kE4M3Format{4, 3, false, true, 0x7F}, kE5M2Format{5, 2, true, true, 0x7F},
    kE2M1Format{2, 1, false, false, 0x7};
/// The nearest value of `format`, as its bits. Overflow gives infinity, or the largest finite value
/// where `satfinite` (then NaN stays NaN, e2m1's becomes the largest) or the mode rounds inwards.
uint32_t encode(double value, const Format &format, int mode, bool satfinite);
double decode(uint32_t bits, const Format &format);
/// a + b rounded to odd in double: exact for any later rounding to 51 bits or fewer.
double addToOdd(double a, double b);

template <class T> inline T roundTo(double value) {
  if constexpr (std::is_same_v<T, F16>)
    return {static_cast<uint16_t>(encode(value, kF16Format, 0, false))};
  else if constexpr (std::is_same_v<T, BF16>)
    return {static_cast<uint16_t>(encode(value, kBF16Format, 0, false))};
  else
    return static_cast<T>(value);
}
inline F16 toF16(float f) {
  return {static_cast<uint16_t>(f == f ? _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT) : 0x7FFF)};
}
inline BF16 toBF16(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  return {static_cast<uint16_t>(f == f ? (u + 0x7FFF + (u >> 16 & 1)) >> 16 : 0x7FFF)};
}

/// Flushes a subnormal to a zero of its sign.
inline float flush(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  return std::bit_cast<float>((u & 0x7F800000u) == 0 ? u & 0x80000000u : u);
}
inline float saturate(float f) { return f > 0.0f ? (f < 1.0f ? f : 1.0f) : 0.0f; } // NaN: 0

} // namespace platen::ptxsim
