#include "tools/ptxsim/core/elements.h"

#include "tools/ptxsim/core/values.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace platen::ptxsim {
namespace {

struct ElementRow {
  std::string_view name;
  Element element;
  int bits;
};
constexpr ElementRow kElements[] = {
    {"f16", Element::kF16, 16},    {"bf16", Element::kBF16, 16}, {"tf32", Element::kTF32, 32},
    {"f32", Element::kF32, 32},    {"f64", Element::kF64, 64},   {"e4m3", Element::kE4M3, 8},
    {"e5m2", Element::kE5M2, 8},   {"e3m2", Element::kE3M2, 8},  {"e2m3", Element::kE2M3, 8},
    {"e2m1", Element::kE2M1, 8},   {"", Element::kE2M1x2, 4},    {"ue8m0", Element::kUE8M0, 8},
    {"ue4m3", Element::kUE4M3, 8}, {"s8", Element::kS8, 8},      {"u8", Element::kU8, 8},
    {"s4", Element::kS4, 4},       {"u4", Element::kU4, 4},      {"s32", Element::kS32, 32},
    {"b1", Element::kB1, 1},
};

/// A small float of `exponentBits` and `mantissaBits`, bias 2^(exponentBits-1)-1, without infinity.
double smallFloat(uint32_t bits, int exponentBits, int mantissaBits) {
  int bias = (1 << (exponentBits - 1)) - 1;
  auto exponent = static_cast<int>(bits >> mantissaBits & ((1u << exponentBits) - 1));
  auto mantissa = static_cast<double>(bits & ((1u << mantissaBits) - 1));
  double scale = std::ldexp(1.0, -mantissaBits);
  double magnitude = exponent == 0 ? std::ldexp(mantissa * scale, 1 - bias)
                                   : std::ldexp(1.0 + mantissa * scale, exponent - bias);
  return bits >> (exponentBits + mantissaBits) & 1 ? -magnitude : magnitude;
}

double valueOf(Element element, uint32_t bits) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  switch (element) {
  case Element::kE4M3:
    return (bits & 0x7F) == 0x7F ? kNan : smallFloat(bits, 4, 3);
  case Element::kUE4M3:
    return (bits & 0x7F) == 0x7F ? kNan : smallFloat(bits & 0x7F, 4, 3);
  case Element::kE5M2:
    if ((bits & 0x7C) == 0x7C) {
      double infinity = std::numeric_limits<double>::infinity();
      return bits & 3 ? kNan : bits & 0x80 ? -infinity : infinity;
    }
    return smallFloat(bits, 5, 2);
  case Element::kE3M2:
    return smallFloat(bits & 0x3F, 3, 2);
  case Element::kE2M3:
    return smallFloat(bits & 0x3F, 2, 3);
  case Element::kE2M1:
    return smallFloat(bits >> 2 & 0xF, 2, 1);
  case Element::kE2M1x2:
    return smallFloat(bits & 0xF, 2, 1);
  case Element::kUE8M0:
    return bits == 255 ? kNan : std::ldexp(1.0, static_cast<int>(bits) - 127);
  default:
    return 0;
  }
}

template <Element E> const double *table() {
  static const auto values = [] {
    std::array<double, 256> v{};
    for (uint32_t i = 0; i < 256; ++i)
      v[i] = valueOf(E, i);
    return v;
  }();
  return values.data();
}

void decodeHalves(const uint8_t *bytes, int count, double *values, bool isBrain) {
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(bytes + 2 * i));
    __m128 singles = isBrain ? _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(halves), 16))
                             : _mm_cvtph_ps(halves);
    _mm256_storeu_pd(values + i, _mm256_cvtps_pd(singles));
  }
  for (; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes + 2 * i, 2);
    values[i] = isBrain ? toFloat(BF16{half}) : toFloat(F16{half});
  }
}

} // namespace

Element elementFromName(std::string_view name) {
  for (const ElementRow &row : kElements)
    if (row.name == name && !name.empty())
      return row.element;
  return Element::kNone;
}

int bitsOf(Element element) {
  for (const ElementRow &row : kElements)
    if (row.element == element)
      return row.bits;
  return 0;
}

bool isIntegerElement(Element element) {
  return element == Element::kS8 || element == Element::kU8 || element == Element::kS4 ||
         element == Element::kU4 || element == Element::kS32 || element == Element::kB1;
}

const double *valuesOf(Element element) {
  switch (element) {
  case Element::kE4M3:
    return table<Element::kE4M3>();
  case Element::kE5M2:
    return table<Element::kE5M2>();
  case Element::kE3M2:
    return table<Element::kE3M2>();
  case Element::kE2M3:
    return table<Element::kE2M3>();
  case Element::kE2M1:
    return table<Element::kE2M1>();
  case Element::kE2M1x2:
    return table<Element::kE2M1x2>();
  case Element::kUE8M0:
    return table<Element::kUE8M0>();
  case Element::kUE4M3:
    return table<Element::kUE4M3>();
  default:
    return nullptr;
  }
}

void decodeElements(Element element, const void *source, int count, double *values) {
  const auto *bytes = static_cast<const uint8_t *>(source);
  if (element == Element::kF16 || element == Element::kBF16)
    return decodeHalves(bytes, count, values, element == Element::kBF16);
  if (element == Element::kTF32 || element == Element::kF32) {
    uint32_t kept = element == Element::kTF32 ? 0xFFFFE000u : ~0u;
    for (int i = 0; i < count; ++i) {
      uint32_t word;
      std::memcpy(&word, bytes + 4 * i, 4);
      values[i] = std::bit_cast<float>(word & kept);
    }
    return;
  }
  if (element == Element::kF64) {
    std::memcpy(values, bytes, sizeof(double) * static_cast<size_t>(count));
    return;
  }
  const double *value = valuesOf(element);
  if (element == Element::kE2M1x2) // counts are even
    for (int i = 0; i < count; i += 2) {
      values[i] = value[bytes[i / 2] & 0xF];
      values[i + 1] = value[bytes[i / 2] >> 4];
    }
  else
    for (int i = 0; i < count; ++i)
      values[i] = value[bytes[i]];
}

void decodeElements(Element element, const void *source, int count, int16_t *values) {
  const auto *bytes = static_cast<const uint8_t *>(source);
  if (element == Element::kS8) {
    for (int i = 0; i < count; ++i)
      values[i] = static_cast<int8_t>(bytes[i]);
  } else if (element == Element::kU8) {
    for (int i = 0; i < count; ++i)
      values[i] = bytes[i];
  } else {
    int sign = element == Element::kS4 ? 8 : 0;
    for (int i = 0; i < count; ++i) {
      int nibble = bytes[i / 2] >> (i & 1 ? 4 : 0) & 0xF;
      values[i] = static_cast<int16_t>((nibble ^ sign) - sign);
    }
  }
}

uint16_t roundToF16(double value) {
  if (value != value)
    return 0x7FFF;
  auto single = static_cast<float>(value);
  // Make the float the neighbour with the odd last bit if it is not exact: then one rounding
  // counts.
  if (static_cast<double>(single) != value && std::isfinite(single)) {
    auto bits = std::bit_cast<uint32_t>(single);
    bool away = std::fabs(static_cast<double>(single)) > std::fabs(value);
    bits = (bits - (away ? 1 : 0)) | 1;
    single = std::bit_cast<float>(bits);
  }
  return static_cast<uint16_t>(_cvtss_sh(single, _MM_FROUND_TO_NEAREST_INT));
}

} // namespace platen::ptxsim
