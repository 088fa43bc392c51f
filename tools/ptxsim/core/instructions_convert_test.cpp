// cvt: every pair of types, every rounding mode and flag, against exact arithmetic.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;

const std::vector<Integer> kAll{{"u8", 8, false},   {"s8", 8, true},    {"u16", 16, false},
                                {"s16", 16, true},  {"u32", 32, false}, {"s32", 32, true},
                                {"u64", 64, false}, {"s64", 64, true}};
const std::vector<Floating> kFloats{kF16, kBf16, kF32, kF64};
const std::vector<Rounding> kIntegral{{".rni", Round::kNearest},
                                      {".rzi", Round::kZero},
                                      {".rmi", Round::kDown},
                                      {".rpi", Round::kUp}};

int bitsOf(char letter) { return letter == 'b' ? 8 : letter == 'h' ? 16 : letter == 'r' ? 32 : 64; }
std::string exactLetter(int bits) {
  return bits == 8 ? "b" : bits == 16 ? "h" : bits == 32 ? "r" : "d";
}
/// Registers that may hold a type of `bits` bits.
std::string lettersFor(int bits) { return bits <= 16 ? "hrd" : bits == 32 ? "rd" : "d"; }

void addIntegers(std::vector<Case> &cases) {
  for (const Integer &to : kAll)
    for (const Integer &from : kAll) {
      std::string types = "." + to.name + "." + from.name;
      bool loses = from.least() < to.least() || from.most() > to.most();
      for (char d : lettersFor(to.bits))
        for (char s : lettersFor(from.bits)) {
          if (d != lettersFor(to.bits)[0] && s != lettersFor(from.bits)[0])
            continue;
          std::string registers{d, '=', s};
          Integer target{"", bitsOf(d), to.isSigned};
          cases.push_back(simple("cvt" + types, registers, {wholeNumbers(bitsOf(s))}, [=](In v) {
            return target.raw(to.value(to.raw(from.value(v[0]))));
          }));
          if (loses)
            cases.push_back(simple("cvt.sat" + types, registers, {wholeNumbers(bitsOf(s))},
                                   [=](In v) { return target.raw(to.clamped(from.value(v[0]))); }));
        }
    }
}

/// Values whose integral parts matter: ties, neighbours of the limits.
Values awkward(const Binary &f) {
  Values values = floats(f);
  for (int n = 0; n < 40; ++n)
    for (__int128 near : {-3, -2, -1, 0, 1, 2, 3}) { // quarters around powers of two
      Exact e = whole((static_cast<__int128>(1) << n) * 4 + near);
      e.exponent = -2;
      for (bool negative : {false, true}) {
        e.negative = negative;
        values.push_back(pack(e, f));
      }
    }
  for (int n : {63, 64})
    for (Round mode : {Round::kDown, Round::kUp}) {
      Exact e = whole((static_cast<__int128>(1) << n) - 1);
      values.push_back(pack(e, f, mode)), values.push_back(pack(e.negated(), f, mode));
    }
  return values;
}

uint64_t toInteger(const Exact &e, const Integer &to, bool fromDouble, Round mode) {
  if (e.isNan)
    return fromDouble || to.bits == 64 ? uint64_t{1} << (to.bits - 1) : 0;
  if (e.isInfinite)
    return to.raw(e.negative ? to.least() : to.most());
  Exact i = integral(e, mode);
  bool huge = i.magnitude.top() + i.exponent > 100;
  auto magnitude = huge
                       ? static_cast<__int128>(1) << 100
                       : static_cast<__int128>(i.magnitude.shifted(i.exponent).word[0]) +
                             (static_cast<__int128>(i.magnitude.shifted(i.exponent).word[1]) << 64);
  return to.raw(to.clamped(i.negative ? -magnitude : magnitude));
}

void addFloatToInteger(std::vector<Case> &cases) {
  for (const Floating &from : kFloats)
    for (const Integer &to : kAll)
      for (const Rounding &rounding : kIntegral)
        for (const char *flag : {"", ".ftz", ".sat"}) {
          bool ftz = flag[1] == 'f', exact = from.name == "bf16"; // no wider registers, no .sat
          if ((ftz && from.name != "f32") || (flag[0] != '\0' && exact))
            continue;
          std::string letters = exact ? exactLetter(to.bits) : lettersFor(to.bits);
          for (char d : letters) {
            if (d != letters[0] && (flag[0] != '\0' || rounding.mode != Round::kZero))
              continue;
            Integer target{"", bitsOf(d), to.isSigned};
            Binary f = from.format;
            cases.push_back(simple("cvt" + rounding.suffix + flag + "." + to.name + "." + from.name,
                                   {d, '=', from.letter}, {awkward(f)}, [=](In v) {
                                     Exact e = unpack(ftz ? flushed(v[0], f) : v[0], f);
                                     uint64_t low =
                                         toInteger(e, to, f.mantissaBits == 52, rounding.mode);
                                     return target.raw(to.value(low));
                                   }));
          }
        }
}

uint64_t saturated(uint64_t bits, const Binary &f) {
  uint64_t one = static_cast<uint64_t>(f.bias()) << f.mantissaBits;
  return isNan(bits, f) || bits & f.signBit() ? 0 : std::min(bits, one);
}

void addIntegerToFloat(std::vector<Case> &cases) {
  for (const Floating &to : kFloats)
    for (const Integer &from : kAll)
      for (const Rounding &rounding : kRoundings)
        for (bool sat : {false, true}) {
          if (sat && (to.name == "bf16" || rounding.mode == Round::kZero))
            continue;
          Values values = wholeNumbers(from.bits < 16 ? 16 : from.bits);
          for (uint64_t v : {uint64_t{0x1000001}, uint64_t{0x1000003}, uint64_t{0x20000000000001},
                             uint64_t{0x20000000000003}, uint64_t{0x8000008000000001},
                             uint64_t{0x8080000000000001}, uint64_t{0x7F80000000000001},
                             uint64_t{2049}, uint64_t{2051}, uint64_t{65519}, uint64_t{65520},
                             uint64_t{257}, uint64_t{259}, uint64_t{0x8080000000000000},
                             uint64_t{0xFFFFFFFFFFFFFBFF}, uint64_t{0x40000040000001}})
            values.push_back(v), values.push_back(0 - v);
          Binary f = to.format;
          cases.push_back(simple(
              "cvt" + rounding.suffix + (sat ? ".sat." : ".") + to.name + "." + from.name,
              {to.letter, '=', to.name == "bf16" ? exactLetter(from.bits)[0] : from.letter()},
              {values}, [=](In v) {
                uint64_t bits = pack(whole(from.value(v[0])), f, rounding.mode);
                return sat ? saturated(bits, f) : bits;
              }));
        }
}

/// A row of one float to another; the flags are the letters of `.ftz .sat .relu .satfinite`.
void addFloats(std::vector<Case> &cases, const std::string &mode, Round rounding, bool isIntegral,
               const std::string &flags, const Floating &to, const Floating &from) {
  bool ftz = flags.find(".ftz") != std::string::npos,
       relu = flags.find(".relu") != std::string::npos;
  bool finite = flags.find(".satfinite") != std::string::npos;
  bool sat = !finite && flags.find(".sat") != std::string::npos;
  Binary f = from.format, g = to.format;
  auto reference = [=](uint64_t in) {
    Exact e = unpack(ftz && from.name == "f32" ? flushed(in, f) : in, f);
    if (isIntegral)
      e = integral(e, rounding);
    uint64_t bits = pack(e, g, rounding, finite);
    if (ftz && to.name == "f32")
      bits = flushed(bits, g);
    if (relu && bits & g.signBit())
      bits = 0;
    return sat ? saturated(bits, g) : bits;
  };
  Case c =
      simple("cvt" + mode + flags + "." + to.name + "." + from.name, {to.letter, '=', from.letter},
             {awkward(f)}, [=](In v) { return reference(v[0]); });
  // A NaN of f64 may carry a payload; f16 and bf16 that are only copied may keep theirs.
  c.accepts = [=](In v, In got) {
    uint64_t wanted = reference(v[0]);
    return wanted == got[0] || (isNan(wanted, g) && isNan(got[0], g) && g.mantissaBits == 52);
  };
  cases.push_back(c);
}

void addFloatToFloat(std::vector<Case> &cases) {
  for (const Floating &to : kFloats)
    for (const Floating &from : kFloats) {
      bool single = to.name == "f32" || from.name == "f32";
      std::vector<std::string> flags{""};
      if (single)
        flags.push_back(".ftz");
      bool saturates = to.name != "bf16" && from.name != "bf16";
      if (saturates)
        flags.push_back(".sat");
      if (single && saturates)
        flags.push_back(".ftz.sat");
      bool narrows = to.format.mantissaBits < from.format.mantissaBits ||
                     (to.name == "f16" && from.name == "bf16");
      for (const std::string &flag : flags) {
        if (narrows) {
          for (const Rounding &r : kRoundings)
            addFloats(cases, r.suffix, r.mode, false, flag, to, from);
          continue;
        }
        addFloats(cases, "", Round::kNearest, false, flag, to, from);
        if (to.name == from.name)
          for (const Rounding &r : kIntegral)
            addFloats(cases, r.suffix, r.mode, true, flag, to, from);
      }
    }
  for (const Floating &to : {kF16, kBf16})
    for (const char *mode : {".rn", ".rz"})
      for (const char *flag : {".relu", ".satfinite", ".relu.satfinite"})
        addFloats(cases, mode, mode[2] == 'n' ? Round::kNearest : Round::kZero, false, flag, to,
                  kF32);
}

void addTf32(std::vector<Case> &cases) {
  struct Mode {
    const char *suffix;
    Round mode;
  };
  for (const Mode &m :
       {Mode{".rn", Round::kNearest}, Mode{".rz", Round::kZero}, Mode{".rna", Round::kAway}})
    for (const char *flag : {"", ".satfinite", ".relu", ".satfinite.relu"}) {
      std::string flags = flag;
      bool relu = flags.find("relu") != std::string::npos,
           finite = flags.find("satfinite") != std::string::npos;
      if (relu && m.mode == Round::kAway)
        continue;
      cases.push_back(simple("cvt" + std::string(m.suffix) + flags + ".tf32.f32", "r=r",
                             {awkward(kBinary32)}, [=](In v) {
                               Exact e = unpack(v[0], kBinary32);
                               if (e.isNan)
                                 return uint64_t{0x7FFFFFFF};
                               if (relu && e.negative)
                                 return uint64_t{0};
                               return pack(e, kTf32, m.mode, finite) << 13;
                             }));
    }
}

struct Narrow {
  std::string name;
  Binary format;
  int bits; // of an element
};
const std::vector<Narrow> kNarrow{{"e4m3x2", kE4M3, 8},
                                  {"e5m2x2", kE5M2, 8},
                                  {"e2m3x2", kE2M3, 8},
                                  {"e3m2x2", kE3M2, 8},
                                  {"e2m1x2", kE2M1, 4}};

uint64_t element(uint64_t bits, const Binary &from, const Binary &to, Round mode, bool relu,
                 bool finite) {
  Exact e = unpack(bits, from);
  uint64_t result = pack(e, to, mode, finite);
  if (e.isNan) // without a NaN: the largest value
    return to.nan != 0 ? to.nan : to.largest();
  return relu && e.negative ? 0 : result;
}

void addPackedHalves(std::vector<Case> &cases) {
  for (const Floating &to : {kF16, kBf16})
    for (const char *mode : {".rn", ".rz"})
      for (const char *flag : {"", ".relu", ".satfinite", ".relu.satfinite"}) {
        std::string flags = flag;
        Binary f = to.format;
        Round r = mode[2] == 'n' ? Round::kNearest : Round::kZero;
        bool relu = flags.find("relu") != std::string::npos,
             finite = flags.find("satfinite") != std::string::npos;
        cases.push_back(simple("cvt" + std::string(mode) + flags + "." + to.name + "x2.f32", "r=rr",
                               {awkward(kBinary32), fewFloats(kBinary32)}, [=](In v) {
                                 return element(v[0], kBinary32, f, r, relu, finite) << 16 |
                                        element(v[1], kBinary32, f, r, relu, finite);
                               }));
      }
}
Values everyPair(int bits) {
  Values values;
  for (uint64_t n = 0; n < (uint64_t{1} << bits); ++n)
    values.push_back(n | ((n * 37 + 11) & ((uint64_t{1} << bits) - 1)) << bits);
  return values;
}
void addNarrow(std::vector<Case> &cases) {
  for (const Narrow &n : kNarrow)
    for (bool relu : {false, true}) {
      char letter = n.bits == 4 ? 'b' : 'h';
      std::string flag = relu ? ".relu" : "";
      auto both = [=](uint64_t high, uint64_t low, const Binary &from) {
        return element(high, from, n.format, Round::kNearest, relu, true) << n.bits |
               element(low, from, n.format, Round::kNearest, relu, true);
      };
      Values singles = awkward(kBinary32);
      for (uint64_t bits :
           everyPair(n.bits)) { // every value of the format, and the ties between them
        Exact e = unpack(bits & (2 * n.format.signBit() - 1), n.format);
        Exact half = e;
        half.magnitude = e.magnitude.plus(e.magnitude).plus(Wide::of(1)),
        half.exponent = e.exponent - 1;
        singles.push_back(pack(e, kBinary32)), singles.push_back(pack(half, kBinary32));
      }
      cases.push_back(simple("cvt.rn.satfinite" + flag + "." + n.name + ".f32",
                             {letter, '=', 'r', 'r'}, {singles, fewFloats(kBinary32)},
                             [=](In v) { return both(v[0], v[1], kBinary32); }));
      for (const Floating &from : {kF16, kBf16}) {
        Values pairs;
        for (uint64_t v : awkward(from.format))
          pairs.push_back(v << 16 | (v * 31 & 0xFFFF));
        Binary f = from.format;
        cases.push_back(simple("cvt.rn.satfinite" + flag + "." + n.name + "." + from.name + "x2",
                               {letter, '=', 'r'}, {pairs},
                               [=](In v) { return both(v[0] >> 16, v[0] & 0xFFFF, f); }));
      }
      cases.push_back(simple(
          "cvt.rn" + flag + ".f16x2." + n.name, {'r', '=', letter}, {everyPair(n.bits)}, [=](In v) {
            uint64_t keep = 2 * n.format.signBit() - 1;
            return element(v[0] >> n.bits & keep, n.format, kBinary16, Round::kNearest, relu, false)
                       << 16 |
                   element(v[0] & keep, n.format, kBinary16, Round::kNearest, relu, false);
          }));
    }
}

/// The exponent of the power of two next to |value| in the mode's direction.
uint64_t scale(uint64_t bits, const Binary &f, bool up, bool finite) {
  Exact e = unpack(bits, f);
  if (e.isNan)
    return 0xFF;
  if (e.isInfinite)
    return finite ? 0xFE : 0xFF;
  if (e.isZero())
    return 0;
  int exponent = e.magnitude.top() + e.exponent;
  bool isPower = !e.magnitude.anyBelow(e.magnitude.top());
  int field = exponent + 127 + (up && !isPower);
  if (exponent < -127) // at or below the least scale
    return 0;
  return static_cast<uint64_t>(field >= 255 ? (finite ? 0xFE : 0xFF) : field);
}
void addScales(std::vector<Case> &cases) {
  Values pairs;
  for (uint64_t v : awkward(kBfloat16))
    pairs.push_back(v << 16 | (v * 31 & 0xFFFF));
  for (bool up : {false, true})
    for (bool finite : {false, true}) {
      std::string head =
          std::string("cvt.") + (up ? "rp" : "rz") + (finite ? ".satfinite" : "") + ".ue8m0x2.";
      cases.push_back(
          simple(head + "f32", "h=rr", {awkward(kBinary32), fewFloats(kBinary32)}, [=](In v) {
            return scale(v[0], kBinary32, up, finite) << 8 | scale(v[1], kBinary32, up, finite);
          }));
      cases.push_back(simple(head + "bf16x2", "h=r", {pairs}, [=](In v) {
        return scale(v[0] >> 16, kBfloat16, up, finite) << 8 |
               scale(v[0] & 0xFFFF, kBfloat16, up, finite);
      }));
    }
  cases.push_back(simple("cvt.rn.bf16x2.ue8m0x2", "r=h", {everyPair(8)}, [](In v) {
    auto one = [](uint64_t n) { return n == 0xFF ? 0x7FFF : n == 0 ? 0x40 : n << 7; };
    return one(v[0] >> 8) << 16 | one(v[0] & 0xFF);
  }));
}

/// Stochastic rounding on whole numbers: the f32's own bits plus the random ones, cut off.
void addStochastic(std::vector<Case> &cases) {
  Values randoms{0,          0xFFFFFFFF, 0x1FFF1FFF, 0x80008000,
                 0x10001000, 0x00010001, 0xABCD1234, 0x0FFF7FFF};
  for (const Floating &to : {kF16, kBf16})
    for (const char *flag : {"", ".relu", ".satfinite", ".relu.satfinite"}) {
      std::string flags = flag;
      bool relu = flags.find("relu") != std::string::npos,
           finite = flags.find("satfinite") != std::string::npos;
      Binary f = to.format;
      int dropped = 23 - f.mantissaBits;
      auto one = [=](uint64_t bits, uint64_t random) -> uint64_t {
        Exact e = unpack(bits, kBinary32);
        if (e.isNan)
          return f.nan;
        uint64_t magnitude = bits & 0x7FFFFFFF, sign = e.negative ? f.signBit() : 0;
        if (relu && e.negative)
          return 0;
        if (e.isInfinite)
          return sign | (finite ? f.largest() : f.infinity());
        // Results that are normal (bf16: all) drop `dropped` bits of the f32 as it is written.
        random &= (uint64_t{1} << dropped) - 1;
        uint64_t kept = (magnitude + random) >> dropped;
        if (f.bias() == 15)
          kept -= uint64_t{127 - 15} << 10;
        return sign | (kept > f.largest() ? (finite ? f.largest() : f.infinity()) : kept);
      };
      Values values;
      for (uint64_t v :
           awkward(kBinary32)) { // f16: no subnormal results, where the ISA is not precise
        Exact e = unpack(v, kBinary32);
        bool isSmall = !e.isNan && !e.isInfinite && e.magnitude.top() + e.exponent < -14;
        if (f.bias() != 15 || !isSmall)
          values.push_back(v);
      }
      cases.push_back(
          simple("cvt.rs" + flags + "." + to.name + "x2.f32", "r=rrr", {values, values, randoms},
                 [=](In v) { return one(v[0], v[2] >> 16) << 16 | one(v[1], v[2] & 0xFFFF); }));
    }
}

void addIntegerPacks(std::vector<Case> &cases) {
  for (int bits : {16, 8, 4, 2})
    for (bool isSigned : {false, true}) {
      Integer t{(isSigned ? "s" : "u") + std::to_string(bits), bits, isSigned};
      Integer whole32{"", 32, true};
      std::vector<Values> values{wholeNumbers(32), few(32)};
      if (bits < 16)
        values.push_back(few(32));
      Values &first = values[0];
      for (__int128 near = -3; near <= 3; ++near)
        first.push_back(whole32.raw(t.least() + near)),
            first.push_back(whole32.raw(t.most() + near));
      cases.push_back(simple("cvt.pack.sat." + t.name + ".s32" + (bits < 16 ? ".b32" : ""),
                             bits < 16 ? "r=rrr" : "r=rr", values, [=](In v) {
                               uint64_t high = t.raw(t.clamped(whole32.value(v[0])));
                               uint64_t low = t.raw(t.clamped(whole32.value(v[1])));
                               return high << bits | low | (bits < 16 ? v[2] << (2 * bits) : 0);
                             }));
    }
}

} // namespace

std::vector<Case> convertCases() {
  std::vector<Case> cases;
  addIntegers(cases);
  addFloatToInteger(cases);
  addIntegerToFloat(cases);
  addFloatToFloat(cases);
  addTf32(cases);
  addPackedHalves(cases);
  addNarrow(cases);
  addScales(cases);
  addStochastic(cases);
  addIntegerPacks(cases);
  return cases;
}

namespace {
TEST(Instructions, Conversions) { runCases(convertCases()); }
} // namespace
} // namespace platen::ptxsim::testing
