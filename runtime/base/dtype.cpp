// binary16 conversions in integer arithmetic, so that they are exact on every compiler and CPU.
#include "runtime/base/dtype.h"

namespace platen::base {

float f16ToFloat(uint16_t bits) {
  uint32_t sign = (bits & 0x8000U) << 16, exponent = (bits >> 10) & 0x1fU, mantissa = bits & 0x3ffU;
  if (exponent == 31)
    return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Zero or subnormal: mantissa * 2^-24 is exact in binary32.
  float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

uint16_t floatToF16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffffU;
  auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  if (magnitude > 0x7f800000U)
    return static_cast<uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x477ff000U) // rounds to 65536 or more
    return static_cast<uint16_t>(sign | 0x7c00U);
  if (magnitude < 0x38800000U) {
    // Subnormal result: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits.
    float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000U));
  }
  uint32_t rounded = magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

} // namespace platen::base
