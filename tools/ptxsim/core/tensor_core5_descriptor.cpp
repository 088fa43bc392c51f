// tcgen05.mma: the instruction descriptor, 32 bits whose meaning depends on the kind.
#include "tools/ptxsim/core/tensor_core5_mma.h"

namespace platen::ptxsim {
namespace {

uint32_t field(uint32_t bits, int low, int size) { return bits >> low & ((1u << size) - 1); }

[[noreturn]] void illegal(uint32_t descriptor, const std::string &why) {
  stop(ViolationKind::kIllegalInstruction,
       "the instruction descriptor " + hexOf(descriptor) + " is illegal: " + why);
}

Element narrowElement(uint32_t code, uint32_t descriptor) {
  constexpr Element kTypes[] = {Element::kE4M3, Element::kE5M2, Element::kNone,
                                Element::kE2M3, Element::kE3M2, Element::kE2M1};
  if (code > 5 || kTypes[code] == Element::kNone)
    illegal(descriptor, "no such type of A or B");
  return kTypes[code];
}

void decodeTypes(const MmaOpcode &opcode, uint32_t bits, TensorShape &s) {
  uint32_t a = field(bits, 7, 3), b = field(bits, 10, 3), d = field(bits, 4, 2);
  auto known = [&](bool fits) {
    if (!fits)
      illegal(bits, "no such types for this kind");
  };
  switch (opcode.kind) {
  case MmaKind::kF16:
    known(a < 2 && a == b && (d == 1 || (d == 0 && a == 0)));
    s.a = s.b = a == 0 ? Element::kF16 : Element::kBF16;
    s.d = d == 0 ? Element::kF16 : Element::kF32;
    break;
  case MmaKind::kTF32:
    known(a == 2 && b == 2 && d == 1);
    s.a = s.b = Element::kTF32;
    break;
  case MmaKind::kF8F6F4:
    known(d < 2);
    s.d = d == 0 ? Element::kF16 : Element::kF32;
    [[fallthrough]];
  case MmaKind::kMxF8F6F4:
    s.a = narrowElement(a, bits);
    s.b = narrowElement(b, bits);
    break;
  case MmaKind::kI8:
    known(a < 2 && b < 2 && d == 2);
    s.a = a ? Element::kS8 : Element::kU8;
    s.b = b ? Element::kS8 : Element::kU8;
    s.d = Element::kS32;
    break;
  default:
    known(a == 1 && field(bits, 10, 2) == 1);
    s.a = s.b = Element::kE2M1x2;
  }
}

void checkShape(const MmaOpcode &opcode, uint32_t bits, const TensorShape &s) {
  bool isScaled = opcode.scales != 0;
  uint32_t least = isScaled ? 128 : 64;
  bool fits = s.m == 128 || s.m == (opcode.group == 2 ? 256u : least);
  uint32_t step = 8u * opcode.group;
  if (opcode.kind == MmaKind::kI8 && (opcode.group == 2 || s.n > 32))
    step = 16u * opcode.group;
  if (s.transposeB && bitsOf(s.b) == 8)
    step = 16u * opcode.group;
  if (!fits || s.n < step || s.n > 256 || s.n % step != 0)
    illegal(bits, "no shape of " + std::to_string(s.m) + " x " + std::to_string(s.n) +
                      " for this kind and .cta_group");
  auto isWhole = [](Element e) {
    return e != Element::kE3M2 && e != Element::kE2M3 && e != Element::kE2M1 &&
           e != Element::kE2M1x2;
  };
  if ((s.transposeA && !isWhole(s.a)) || (s.transposeB && !isWhole(s.b)))
    illegal(bits, "elements of 4 and 6 bits cannot be transposed");
}

} // namespace

TensorShape decodeInstruction(const MmaOpcode &opcode, uint32_t bits) {
  bool isScaled = opcode.scales != 0;
  TensorShape s{};
  s.d = Element::kF32;
  if (field(bits, 2, 1) != 0)
    illegal(bits, "it says sparse, the instruction does not");
  if (field(bits, 6, 1) != 0 || field(bits, 0, 2) != 0 ||
      (isScaled ? field(bits, 24, 3) != 0 : field(bits, 23, 1) != 0 || field(bits, 29, 3) != 0))
    illegal(bits, "reserved bits are set");
  decodeTypes(opcode, bits, s);
  s.saturate = !isScaled && field(bits, 3, 1) != 0;
  if (s.saturate && opcode.kind != MmaKind::kI8)
    illegal(bits, "saturation is for integers");
  s.negate = field(bits, 13, 1) != field(bits, 14, 1);
  if (opcode.kind == MmaKind::kI8 && field(bits, 13, 2) != 0)
    illegal(bits, "integers cannot be negated");
  s.transposeA = field(bits, 15, 1);
  s.transposeB = field(bits, 16, 1);
  s.n = field(bits, 17, 6) * 8;
  s.m = field(bits, 24, 5) * 16;
  s.k = kTensorRowBytes * 8 / static_cast<uint32_t>(bitsOf(s.a));
  if (isScaled) {
    s.scale = field(bits, 23, 1) ? Element::kUE8M0 : Element::kUE4M3;
    s.scaleB = field(bits, 4, 2);
    s.scaleA = field(bits, 29, 2);
    if (opcode.kind != MmaKind::kMxF8F6F4 && field(bits, 31, 1))
      illegal(bits, "K = 96 is not executed");
    if (s.scale == Element::kUE4M3 && (opcode.kind != MmaKind::kMxF4NvF4 || opcode.scales != 4))
      illegal(bits, "scales of ue4m3 are for mxf4nvf4 with blocks of 16");
    uint32_t step = opcode.scales;
    if (s.scaleA % step != 0 || s.scaleB % step != 0)
      illegal(bits, "a scale-factor id does not fit the number of scales");
  }
  checkShape(opcode, bits, s);
  return s;
}
} // namespace platen::ptxsim
