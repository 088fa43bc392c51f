// cvt to and from packed and narrow formats: f16x2 bf16x2 tf32 e4m3x2 e5m2x2 e2m3x2 e3m2x2 e2m1x2
// ue8m0x2, and cvt.pack of integers. The first source is the upper element.
//
// Stochastic rounding (.rs) is executed for f16x2 and bf16x2; where more bits are discarded than
// there are random ones (subnormal results), the random bits count as the topmost of them. The
// four-element forms are refused: how their random bits are shared is documented as a figure only.
#include "tools/ptxsim/core/rounding.h"
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {

bool lowerConvertPacked(Lowering &l, const Instruction &i);
bool lowerConvertPack(Lowering &l, const Instruction &i);

namespace {

struct PackedFormat {
  std::string_view name;
  Format format;
  uint8_t bits; // of an element in the register
};
constexpr PackedFormat kFormats[] = {
    {"f16x2", kF16Format, 16},
    {"bf16x2", kBF16Format, 16},
    {"e4m3x2", kE4M3Format, 8},
    {"e5m2x2", kE5M2Format, 8},
    {"e2m3x2", {2, 3, false, false, 0x1F}, 8},
    {"e3m2x2", {3, 2, false, false, 0x1F}, 8},
    {"e2m1x2", kE2M1Format, 4},
    {"ue8m0x2", {8, 0, false, true, 0xFF}, 8},
};
constexpr size_t kF16Pair = 0, kBF16Pair = 1, kScale = 7, kNone = ~size_t{0};
size_t formatOf(std::string_view name) {
  for (size_t n = 0; n < std::size(kFormats); ++n)
    if (kFormats[n].name == name)
      return n;
  return kNone;
}

enum Flags : uint8_t { kRelu = 1, kSatfinite = 2 };
constexpr uint8_t kAway = 4, kStochastic = 6; // beside encode()'s modes

/// Rounds away from zero where the discarded bits and the random ones (kRandomBits of them) carry.
uint32_t encodeStochastic(float value, const Format &format, uint32_t random, int randomBits,
                          bool satfinite) {
  int exponent = 0;
  double magnitude = std::fabs(double{value});
  if (!(magnitude > 0 && magnitude < HUGE_VAL))
    return encode(value, format, 1, satfinite);
  auto mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(magnitude, &exponent), 24));
  int bias = (1 << (format.exponentBits - 1)) - 1;
  int field = std::max(exponent - 1 + bias, 1);
  int discarded = field - bias - format.mantissaBits - (exponent - 24);
  uint64_t kept = discarded < 64 ? mantissa >> discarded : 0;
  if (discarded <= 24 + randomBits) {
    uint64_t rest = mantissa - (kept << discarded);
    kept += (rest + (uint64_t{random} << (discarded - randomBits))) >> discarded;
  }
  double rounded = std::ldexp(static_cast<double>(kept), discarded + exponent - 24);
  return encode(std::copysign(rounded, double{value}), format, 0, satfinite); // exact, or overflow
}

/// The power of two at or below |value| (mode rz), or at or above it (rp), as its biased exponent.
uint32_t encodeScale(double value, int mode, bool satfinite) {
  double magnitude = std::fabs(value);
  if (value != value)
    return 0xFF;
  if (magnitude <= 0x1p-127)
    return 0;
  if (std::isinf(magnitude))
    return satfinite ? 0xFE : 0xFF;
  int exponent = 0;
  double fraction = std::frexp(magnitude, &exponent);
  int field = exponent - 1 + 127 + (mode == 3 && fraction != 0.5);
  return static_cast<uint32_t>(field >= 255 && satfinite ? 254 : std::clamp(field, 0, 255));
}

uint32_t encodeElement(double v, size_t format, const Op &op) {
  bool satfinite = op.variant2 & kSatfinite;
  if (op.variant2 & kRelu && v <= 0)
    v = 0;
  if (format == kScale)
    return encodeScale(v, op.variant, satfinite);
  return encode(v, kFormats[format].format, op.variant, satfinite);
}
double decodeElement(uint32_t bits, size_t format) {
  if (format == kScale)
    return bits == 0xFF ? std::nan("") : std::ldexp(1.0, static_cast<int>(bits) - 127);
  const Format &f = kFormats[format].format;
  return decode(bits & ((2u << (f.exponentBits + f.mantissaBits)) - 1), f);
}

/// Two f32 (r[1] the upper one, r[2]) to the format `count`; r[3]: random bits of .rs.
void runFromSingles(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<float>(op.r[1]), *b = warp.lanes<float>(op.r[2]);
  const auto *random = warp.lanes<uint32_t>(op.r[3]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  const PackedFormat &format = kFormats[op.count];
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1))
      continue;
    uint32_t high = 0, low = 0;
    if (op.variant == kStochastic) {
      int bits = op.count == kF16Pair ? 13 : 16;
      uint32_t keep = (1u << bits) - 1;
      auto one = [&](float v, uint32_t r) {
        v = op.variant2 & kRelu && v <= 0 ? 0 : v;
        return encodeStochastic(v, format.format, r & keep, bits, op.variant2 & kSatfinite);
      };
      high = one(a[l], random[l] >> 16), low = one(b[l], random[l]);
    } else {
      high = encodeElement(a[l], op.count, op), low = encodeElement(b[l], op.count, op);
    }
    target[l] = high << format.bits | low;
  }
}
/// Every value of a format of at most 8 bits as f16, which holds it exactly.
const std::array<uint16_t, 256> &halvesOf(size_t format) {
  static const auto kTables = [] {
    std::array<std::array<uint16_t, 256>, std::size(kFormats)> tables{};
    for (size_t n = kBF16Pair + 1; n < kScale; ++n)
      for (uint32_t bits = 0; bits < 256; ++bits)
        tables[n][bits] =
            static_cast<uint16_t>(encode(decodeElement(bits, n), kF16Format, 0, false));
    return tables;
  }();
  return kTables[format];
}
/// A packed pair of the format `target`, 8 bits or less, to f16x2.
void runToHalves(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<uint32_t>(op.r[1]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  const std::array<uint16_t, 256> &halves = halvesOf(op.target);
  uint8_t bits = kFormats[op.target].bits;
  uint32_t keep = (1u << bits) - 1;
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1) {
      uint32_t high = halves[a[l] >> bits & keep], low = halves[a[l] & keep];
      if (op.variant2 & kRelu)
        high = high & 0x8000 ? 0 : high, low = low & 0x8000 ? 0 : low;
      target[l] = high << 16 | low;
    }
}
/// A packed pair of the format `target` to one of the format `count`.
void runRepack(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<uint32_t>(op.r[1]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  uint8_t from = kFormats[op.target].bits, to = kFormats[op.count].bits;
  uint32_t keep = (1u << from) - 1;
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1) {
      double high = decodeElement(a[l] >> from & keep, op.target);
      double low = decodeElement(a[l] & keep, op.target);
      target[l] = encodeElement(high, op.count, op) << to | encodeElement(low, op.count, op);
    }
}
/// f32 to tf32, which lies in the upper 19 bits.
void runToTf32(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<float>(op.r[1]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1) {
      double v = op.variant2 & kRelu && a[l] <= 0 ? 0 : a[l];
      target[l] =
          v != v ? 0x7FFFFFFFu : encode(v, kTF32Format, op.variant, op.variant2 & kSatfinite) << 13;
    }
}

/// A register of at least `bits` bits, none of 64 bits.
bool placeNarrow(Lowering &l, const Operand &operand, uint32_t bits, uint32_t &offset) {
  Place place;
  if (!l.source(operand, false, place))
    return false;
  if (place.bits != 0 && place.bits < bits)
    return l.refuse("the source register is narrower than its type");
  offset = place.offset;
  return true;
}

struct PackedSuffixes {
  std::string_view to, from, mode;
  bool relu = false, satfinite = false;
  uint8_t variant() const {
    return mode == "rz"    ? 1
           : mode == "rp"  ? 3
           : mode == "rna" ? kAway
           : mode == "rs"  ? kStochastic
                           : 0;
  }
};

/// Which modes and flags a pair of formats takes; an empty string where it is fine.
std::string misfit(const PackedSuffixes &s) {
  bool toHalves = s.to == "f16x2" || s.to == "bf16x2";
  bool fromHalves = s.from == "f16x2" || s.from == "bf16x2", fromSingle = s.from == "f32";
  auto modeIs = [&](std::initializer_list<std::string_view> modes) {
    return std::find(modes.begin(), modes.end(), s.mode) != modes.end();
  };
  if (s.to == "tf32")
    return !fromSingle || !modeIs({"rn", "rz", "rna"}) ? "tf32 is made of f32 with .rn, .rz or .rna"
           : s.mode == "rna" && s.relu                 ? "'.rna' and '.relu' do not go together"
                                                       : "";
  if (s.to == "ue8m0x2")
    return !(fromSingle || s.from == "bf16x2") || !modeIs({"rz", "rp"}) || s.relu
               ? "ue8m0x2 is made of f32 or bf16x2 with .rz or .rp"
               : "";
  if (s.from == "ue8m0x2")
    return s.to != "bf16x2" || s.mode != "rn" || s.relu || s.satfinite
               ? "ue8m0x2 becomes bf16x2 with .rn"
               : "";
  if (toHalves && fromSingle)
    return modeIs({"rn", "rz", "rs"}) ? "" : "it needs .rn, .rz or .rs";
  if (toHalves) // from 8, 6 or 4 bits
    return s.to != "f16x2" || fromHalves || s.mode != "rn" || s.satfinite
               ? "formats of 8 bits and less become f16x2 with .rn"
               : "";
  return !(fromSingle || fromHalves) || s.mode != "rn" || !s.satfinite
             ? "formats of 8 bits and less are made of f32, f16x2 or bf16x2 with .rn.satfinite"
             : "";
}

bool emitPackedHalves(Lowering &l, const PackedSuffixes &s, uint32_t target, uint32_t a,
                      uint32_t b) {
  if (s.mode != "rn" || s.relu || s.satfinite)
    return false;
  if (s.to == "f16x2")
    emitMapped<F16x2, float, float>(
        l, [](float x, float y) { return F16x2{narrow<F16>(y), narrow<F16>(x)}; }, target, {a, b});
  else if (s.to == "bf16x2")
    emitMapped<BF16x2, float, float>(
        l, [](float x, float y) { return BF16x2{narrow<BF16>(y), narrow<BF16>(x)}; }, target,
        {a, b});
  else
    return false;
  return true;
}

bool emitFromSingles(Lowering &l, const Instruction &i, const PackedSuffixes &s, uint32_t target) {
  bool stochastic = s.mode == "rs";
  size_t count = stochastic ? 4 : 3;
  Place a, b;
  uint32_t random = 0;
  if (!l.operands(i, count, count) || !l.source(i.operands[1], false, a, Type::kF32) ||
      !l.source(i.operands[2], false, b, Type::kF32) ||
      (stochastic && !placeNarrow(l, i.operands[3], 32, random)))
    return false;
  if (emitPackedHalves(l, s, target, a.offset, b.offset))
    return true;
  Op &op = l.emit(&runFromSingles);
  op.r[0] = target, op.r[1] = a.offset, op.r[2] = b.offset, op.r[3] = random;
  op.count = static_cast<uint32_t>(formatOf(s.to));
  return true;
}

struct IntegerPack {
  std::string_view name;
  uint8_t bits;
  bool isSigned;
};
constexpr IntegerPack kIntegerPacks[] = {{"u16", 16, false}, {"s16", 16, true}, {"u8", 8, false},
                                         {"s8", 8, true},    {"u4", 4, false},  {"s4", 4, true},
                                         {"u2", 2, false},   {"s2", 2, true}};
/// r[3]: what fills the bits above the pair; op.bytes: bits of an element.
void runIntegerPack(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<int32_t>(op.r[1]), *b = warp.lanes<int32_t>(op.r[2]);
  const auto *c = warp.lanes<uint32_t>(op.r[3]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  int bits = op.bytes;
  int32_t least = op.isSigned ? -(1 << (bits - 1)) : 0;
  int32_t most = (1 << (op.isSigned ? bits - 1 : bits)) - 1;
  uint32_t keep = (1u << bits) - 1;
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1) {
      uint32_t high = static_cast<uint32_t>(std::clamp(a[l], least, most)) & keep;
      uint32_t low = static_cast<uint32_t>(std::clamp(b[l], least, most)) & keep;
      target[l] = high << bits | low | (bits < 16 ? c[l] << (2 * bits) : 0);
    }
}

} // namespace

bool lowerConvertPack(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  s.take("pack");
  std::string_view to = s.takeOneOf({"u16", "s16", "u8", "s8", "u4", "s4", "u2", "s2"});
  if (!s.take("sat") || to.empty() || !s.take("s32"))
    return l.refuse("it needs .sat, the packed type, and .s32");
  const IntegerPack *pack = std::find_if(std::begin(kIntegerPacks), std::end(kIntegerPacks),
                                         [&](const IntegerPack &p) { return p.name == to; });
  bool fills = pack->bits < 16;
  if (fills && !s.take("b32"))
    return l.refuse("elements of less than 16 bits need .b32 and a third source");
  size_t count = fills ? 4 : 3;
  if (!s.understood() || !l.operands(i, count, count))
    return false;
  uint32_t sources[3] = {};
  for (size_t n = 0; n + 1 < count; ++n)
    if (!placeNarrow(l, i.operands[n + 1], 32, sources[n]))
      return false;
  Place target;
  if (!l.destination(i.operands[0], target))
    return false;
  if (target.wide || target.isPredicate)
    return l.refuse("the result register has another width");
  Op &op = l.emit(&runIntegerPack);
  op.r[0] = target.offset, op.r[1] = sources[0], op.r[2] = sources[1], op.r[3] = sources[2];
  op.bytes = pack->bits, op.isSigned = pack->isSigned;
  return true;
}

bool lowerConvertPacked(Lowering &l, const Instruction &i) {
  for (std::string_view part : i.parts)
    if (part.ends_with("x4"))
      return l.refuse(
          "'." + std::string(part) +
          "' is not executed: the layout of its random bits is not documented in words");
  Suffixes s(l, i);
  PackedSuffixes p;
  auto takeFormat = [&] {
    return s.takeOneOf({"f32", "tf32", "f16x2", "bf16x2", "e4m3x2", "e5m2x2", "e2m3x2", "e3m2x2",
                        "e2m1x2", "ue8m0x2"});
  };
  p.to = takeFormat(), p.from = takeFormat();
  p.mode = s.takeOneOf({"rn", "rz", "rp", "rna", "rs"});
  p.relu = s.take("relu"), p.satfinite = s.take("satfinite");
  if (!s.understood())
    return false;
  if (p.to.empty() || p.from.empty() || p.to == "f32")
    return l.refuse("no pair of types that it takes");
  if (std::string why = misfit(p); !why.empty())
    return l.refuse(why);
  uint32_t bits = p.to == "tf32" ? 32 : kFormats[formatOf(p.to)].bits * 2u;
  Place target;
  if (!l.destination(i.operands.empty() ? Operand() : i.operands[0], target))
    return false;
  if (target.wide || target.isPredicate || (target.bits != 0 && target.bits < bits))
    return l.refuse("the result register has another width");
  if (p.from == "f32" && p.to != "tf32") {
    if (!emitFromSingles(l, i, p, target.offset))
      return false;
  } else {
    bool isSingle = p.from == "f32";
    uint32_t source = 0;
    if (!l.operands(i, 2, 2) ||
        !placeNarrow(l, i.operands[1], isSingle ? 32 : kFormats[formatOf(p.from)].bits * 2u,
                     source))
      return false;
    Op &op = l.emit(isSingle ? &runToTf32 : p.to == "f16x2" ? &runToHalves : &runRepack);
    op.r[0] = target.offset, op.r[1] = source;
    if (!isSingle)
      op.count = static_cast<uint32_t>(formatOf(p.to)),
      op.target = static_cast<uint32_t>(formatOf(p.from));
  }
  Op &op = l.code().ops.back();
  if (op.run == &runFromSingles || op.run == &runRepack || op.run == &runToTf32 ||
      op.run == &runToHalves) {
    op.variant = p.variant();
    op.variant2 = static_cast<uint8_t>((p.relu ? kRelu : 0) | (p.satfinite ? kSatfinite : 0));
  }
  return true;
}

} // namespace platen::ptxsim
