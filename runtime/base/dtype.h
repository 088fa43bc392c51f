// Element types of tensors, as ONNX names them, and exact conversions of the 16-bit floats.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace platen::base {

/// The numeric values are stored in plans and never change.
enum class DType : uint8_t {
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,
  kF64 = 4,
  kI64 = 5,
  kI32 = 6,
  kI16 = 7,
  kI8 = 8,
  kI4 = 9, ///< two a byte, low nibble first
  kU64 = 10,
  kU32 = 11,
  kU16 = 12,
  kU8 = 13,
  kU4 = 14,   ///< two a byte, low nibble first
  kBool = 15, ///< one byte, 0 or 1
};

/// Bits one element takes in memory.
constexpr int bitWidth(DType dtype) {
  switch (dtype) {
  case DType::kF64:
  case DType::kI64:
  case DType::kU64:
    return 64;
  case DType::kF32:
  case DType::kI32:
  case DType::kU32:
    return 32;
  case DType::kF16:
  case DType::kBF16:
  case DType::kI16:
  case DType::kU16:
    return 16;
  case DType::kI4:
  case DType::kU4:
    return 4;
  case DType::kI8:
  case DType::kU8:
  case DType::kBool:
    return 8;
  }
  return 0;
}

/// "f32", "bf16", "i4", ...; the spelling in kernel names, dumps and messages.
constexpr std::string_view dtypeName(DType dtype) {
  switch (dtype) {
  case DType::kF32:
    return "f32";
  case DType::kF16:
    return "f16";
  case DType::kBF16:
    return "bf16";
  case DType::kF64:
    return "f64";
  case DType::kI64:
    return "i64";
  case DType::kI32:
    return "i32";
  case DType::kI16:
    return "i16";
  case DType::kI8:
    return "i8";
  case DType::kI4:
    return "i4";
  case DType::kU64:
    return "u64";
  case DType::kU32:
    return "u32";
  case DType::kU16:
    return "u16";
  case DType::kU8:
    return "u8";
  case DType::kU4:
    return "u4";
  case DType::kBool:
    return "bool";
  }
  return "?";
}

constexpr bool isFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kF64;
}

inline float bf16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

/// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t floatToBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U)
    return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

float f16ToFloat(uint16_t bits);
/// IEEE 754 binary16, round to nearest, ties to even; overflow gives infinity, NaN stays NaN.
uint16_t floatToF16(float value);

} // namespace platen::base
