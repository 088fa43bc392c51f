// Elements of matrices: the number formats that tensor instructions multiply, and their decoding.
//
// Every float format here is exact in double, and so is the product of any two of them. Formats of
// eight bits and fewer are decoded by tables.
#pragma once

#include <cstdint>
#include <string_view>

namespace platen::ptxsim {

enum class Element : uint8_t {
  kNone,
  kF16,
  kBF16,
  kTF32, // the low 13 bits of the word are not read
  kF32,
  kF64,
  kE4M3,
  kE5M2,
  kE3M2,   // in the low 6 bits of a byte
  kE2M3,   // in the low 6 bits of a byte
  kE2M1,   // in bits 2 to 5 of a byte
  kE2M1x2, // two in a byte, the first in the low half
  kUE8M0,  // scale: 2^(x - 127), 255 is NaN
  kUE4M3,  // scale: e4m3 without sign
  kS8,
  kU8,
  kS4,
  kU4,
  kS32,
  kB1,
};

/// kNone where `name` (without the dot) is no element; e2m1 is the one in a byte.
Element elementFromName(std::string_view name);
int bitsOf(Element element); // in the operand, the padding of a byte included
bool isIntegerElement(Element element);

/// The 256 values of a format of eight bits or fewer (kE2M1x2: 16 values).
const double *valuesOf(Element element);

/// `count` elements that lie packed at `bytes`, as doubles. Not for integers.
void decodeElements(Element element, const void *bytes, int count, double *values);
/// Integer elements of 8 or 4 bits.
void decodeElements(Element element, const void *bytes, int count, int16_t *values);

/// Rounds to the nearest even f16 in one step (through a float rounded to odd).
uint16_t roundToF16(double value);

} // namespace platen::ptxsim
