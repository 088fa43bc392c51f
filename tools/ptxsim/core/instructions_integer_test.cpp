// Integer arithmetic against 128-bit whole numbers.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::testing {
namespace {

using I = __int128;
using U = unsigned __int128;
using In = const uint64_t *;

std::string times(char letter, size_t count) { return std::string(count, letter); }

/// A row of `sources` operands of type t, over its most telling values.
Case row(const std::string &opcode, const Integer &t, size_t sources,
         std::function<I(const I *)> f) {
  std::vector<Values> values(sources, sources < 3 ? wholeNumbers(t.bits) : few(t.bits));
  return simple(opcode + "." + t.name,
                std::string(1, t.letter()) + "=" + times(t.letter(), sources), values,
                [t, sources, f = std::move(f)](In in) {
                  I v[4] = {};
                  for (size_t n = 0; n < sources; ++n)
                    v[n] = t.value(in[n]);
                  return t.raw(f(v));
                });
}

/// Bits `bits`…2·bits-1 of a product, as a signed or unsigned number of the type.
I highHalf(const Integer &t, I a, I b) {
  if (t.bits < 64)
    return t.value(static_cast<uint64_t>(static_cast<U>(a * b) >> t.bits));
  // 64 by 64 bits by schoolbook multiplication of magnitudes.
  bool negative = (a < 0) != (b < 0);
  U x = static_cast<U>(a < 0 ? -a : a), y = static_cast<U>(b < 0 ? -b : b),
    mask = ~uint64_t{0} >> 32;
  U low = (x & mask) * (y & mask), middle = (x >> 32) * (y & mask) + (low >> 32);
  U other = (x & mask) * (y >> 32) + (middle & mask);
  U high = (x >> 32) * (y >> 32) + (middle >> 32) + (other >> 32);
  U whole = high << 64 | (other & mask) << 32 | (low & mask);
  if (negative)
    whole = 0 - whole;
  return t.value(static_cast<uint64_t>(whole >> 64));
}
I lowHalf(const Integer &t, I a, I b) { // modulo 2^128, which is enough for the low bits
  return t.value(static_cast<uint64_t>(static_cast<U>(a) * static_cast<U>(b)));
}

void addArithmetic(std::vector<Case> &cases, const Integer &t) {
  cases.push_back(row("add", t, 2, [](const I *v) { return v[0] + v[1]; }));
  cases.push_back(row("sub", t, 2, [](const I *v) { return v[0] - v[1]; }));
  cases.push_back(row("mul.lo", t, 2, [t](const I *v) { return lowHalf(t, v[0], v[1]); }));
  cases.push_back(row("mul.hi", t, 2, [t](const I *v) { return highHalf(t, v[0], v[1]); }));
  cases.push_back(row("mad.lo", t, 3, [t](const I *v) { return lowHalf(t, v[0], v[1]) + v[2]; }));
  cases.push_back(row("mad.hi", t, 3, [t](const I *v) { return highHalf(t, v[0], v[1]) + v[2]; }));
  cases.push_back(row("sad", t, 3,
                      [](const I *v) { return v[2] + (v[0] < v[1] ? v[1] - v[0] : v[0] - v[1]); }));
  cases.push_back(row("div", t, 2, [](const I *v) { return v[1] == 0 ? -1 : v[0] / v[1]; }));
  cases.push_back(row("rem", t, 2, [](const I *v) { return v[1] == 0 ? -1 : v[0] % v[1]; }));
  cases.push_back(row("min", t, 2, [](const I *v) { return v[0] < v[1] ? v[0] : v[1]; }));
  cases.push_back(row("max", t, 2, [](const I *v) { return v[0] > v[1] ? v[0] : v[1]; }));
  if (t.isSigned) {
    cases.push_back(row("abs", t, 1, [](const I *v) { return v[0] < 0 ? -v[0] : v[0]; }));
    cases.push_back(row("neg", t, 1, [](const I *v) { return -v[0]; }));
  }
  if (t.bits == 64)
    return;
  char wide = t.bits == 16 ? 'r' : 'd';
  cases.push_back(simple("mul.wide." + t.name, std::string(1, wide) + "=" + times(t.letter(), 2),
                         {wholeNumbers(t.bits), wholeNumbers(t.bits)}, [t](In in) {
                           return static_cast<uint64_t>(t.value(in[0]) * t.value(in[1]));
                         }));
  cases.push_back(simple(
      "mad.wide." + t.name, std::string(1, wide) + "=" + times(t.letter(), 2) + wide,
      {few(t.bits), few(t.bits), few(t.bits * 2)},
      [t](In in) { return static_cast<uint64_t>(t.value(in[0]) * t.value(in[1])) + in[2]; }));
}

void addSaturating(std::vector<Case> &cases) {
  Integer t = kIntegers[3];
  cases.push_back(row("add.sat", t, 2, [t](const I *v) { return t.clamped(v[0] + v[1]); }));
  cases.push_back(row("sub.sat", t, 2, [t](const I *v) { return t.clamped(v[0] - v[1]); }));
  cases.push_back(row("mad.hi.sat", t, 3,
                      [t](const I *v) { return t.clamped(highHalf(t, v[0], v[1]) + v[2]); }));
  cases.push_back(row("min.relu", t, 2, [](const I *v) {
    I least = v[0] < v[1] ? v[0] : v[1];
    return least < 0 ? 0 : least;
  }));
  cases.push_back(row("max.relu", t, 2, [](const I *v) {
    I most = v[0] > v[1] ? v[0] : v[1];
    return most < 0 ? 0 : most;
  }));
}

/// The low 24 bits as a number.
I low24(const Integer &t, I v) {
  I low = static_cast<I>(static_cast<uint64_t>(v) & 0xFFFFFF);
  return t.isSigned && low >= 0x800000 ? low - 0x1000000 : low;
}
void add24Bits(std::vector<Case> &cases, const Integer &t) {
  auto low = [t](const I *v) { return low24(t, v[0]) * low24(t, v[1]); };
  auto high = [low](const I *v) { return static_cast<I>(low(v) >> 16); };
  cases.push_back(row("mul24.lo", t, 2, low));
  cases.push_back(row("mul24.hi", t, 2, high));
  cases.push_back(row("mad24.lo", t, 3, [low](const I *v) { return low(v) + v[2]; }));
  cases.push_back(row("mad24.hi", t, 3, [high](const I *v) { return high(v) + v[2]; }));
  if (t.isSigned)
    cases.push_back(row("mad24.hi.sat", t, 3, [t, high](const I *v) {
      return t.clamped(t.value(t.raw(high(v))) + v[2]);
    }));
}

/// Both half words by f.
Case halves(const std::string &opcode, bool isSigned, std::function<I(I, I)> f) {
  Integer t{isSigned ? "s16x2" : "u16x2", 16, isSigned};
  return simple(opcode + "." + t.name, "r=rr", {wholeNumbers(32), wholeNumbers(32)},
                [t, f = std::move(f)](In in) {
                  uint64_t low = t.raw(f(t.value(in[0]), t.value(in[1])));
                  return low | t.raw(f(t.value(in[0] >> 16), t.value(in[1] >> 16))) << 16;
                });
}
void addHalves(std::vector<Case> &cases, bool isSigned) {
  auto least = [](I a, I b) { return a < b ? a : b; };
  auto most = [](I a, I b) { return a > b ? a : b; };
  cases.push_back(halves("add", isSigned, [](I a, I b) { return a + b; }));
  cases.push_back(halves("min", isSigned, least));
  cases.push_back(halves("max", isSigned, most));
  if (!isSigned)
    return;
  cases.push_back(halves("min.relu", true, [=](I a, I b) { return most(least(a, b), 0); }));
  cases.push_back(halves("max.relu", true, [=](I a, I b) { return most(most(a, b), 0); }));
}

/// Part n of `bits` bits, extended.
I part(uint64_t word, int n, int bits, bool isSigned) {
  return Integer{"", bits, isSigned}.value(word >> (n * bits));
}
void addDots(std::vector<Case> &cases) {
  Values words = wholeNumbers(32);
  for (bool sa : {false, true})
    for (bool sb : {false, true}) {
      std::string types = std::string(sa ? ".s32" : ".u32") + (sb ? ".s32" : ".u32");
      cases.push_back(simple("dp4a" + types, "r=rrr", {words, words, few(32)}, [=](In in) {
        I sum = static_cast<I>(in[2]);
        for (int n = 0; n < 4; ++n)
          sum += part(in[0], n, 8, sa) * part(in[1], n, 8, sb);
        return static_cast<uint64_t>(sum);
      }));
      for (int first : {0, 2})
        cases.push_back(simple("dp2a" + std::string(first == 0 ? ".lo" : ".hi") + types, "r=rrr",
                               {words, words, few(32)}, [=](In in) {
                                 I sum = static_cast<I>(in[2]);
                                 for (int n = 0; n < 2; ++n)
                                   sum += part(in[0], n, 16, sa) * part(in[1], first + n, 8, sb);
                                 return static_cast<uint64_t>(sum);
                               }));
    }
}

/// Two words are one number: `text` has the instructions, f the meaning on numbers of 2·bits bits.
Case words(const std::string &opcode, const Integer &t, const std::string &text, size_t sources,
           std::function<U(const uint64_t *)> f) {
  Case c;
  c.opcode = opcode;
  c.registers = std::string(2, t.letter()) + "=" + times(t.letter(), sources);
  c.sources.assign(sources, few(t.bits));
  c.text = text;
  c.expected = [t, f = std::move(f)](In in, uint64_t *out) {
    U value = f(in);
    out[0] = t.raw(static_cast<I>(value));
    out[1] = t.raw(static_cast<I>(value >> t.bits));
  };
  return c;
}
void addCarries(std::vector<Case> &cases, const Integer &t) {
  std::string n = t.name;
  int bits = t.bits;
  auto both = [bits](uint64_t low, uint64_t high) { return U{low} | U{high} << bits; };
  cases.push_back(words("add.cc." + n, t, "add.cc." + n + " o0, i0, i1; addc." + n + " o1, i2, i3",
                        4, [=](In v) { return both(v[0], v[2]) + both(v[1], v[3]); }));
  cases.push_back(words("sub.cc." + n, t, "sub.cc." + n + " o0, i0, i1; subc." + n + " o1, i2, i3",
                        4, [=](In v) { return both(v[0], v[2]) - both(v[1], v[3]); }));
  // The middle of three words passes a carry on.
  auto middle = [&](const std::string &first, const std::string &next, bool isAdd) {
    return words(next + ".cc." + n, t,
                 first + ".cc." + n + " o0, i0, i1; " + next + ".cc." + n + " o0, i2, i3; " + next +
                     "." + n + " o1, i0, i1",
                 4, [=](In v) {
                   U mask = bits == 64 ? U{~uint64_t{0}} : (U{1} << bits) - 1;
                   U a = v[0], b = v[1], c = v[2], d = v[3];
                   U carry = isAdd ? (a + b) >> bits & 1 : a < b;
                   U second = isAdd ? c + d + carry : c - d - carry;
                   U next_ = isAdd ? second >> bits & 1 : c < d + carry;
                   U third = isAdd ? a + b + next_ : a - b - next_;
                   return (second & mask) | (third & mask) << bits;
                 });
  };
  cases.push_back(middle("add", "addc", true));
  cases.push_back(middle("sub", "subc", false));
  cases.push_back(simple("addc." + n, std::string(1, t.letter()) + "=" + times(t.letter(), 2),
                         {few(bits), few(bits)}, nullptr));
  cases.back().text = "add.cc." + n + " o0, i0, i1; addc." + n + " o0, i1, 0";
  cases.back().expected = [=](In v, uint64_t *out) {
    out[0] = v[1] + static_cast<uint64_t>((U{v[0]} + v[1]) >> bits);
  };
  cases.push_back(simple("subc." + n, std::string(1, t.letter()) + "=" + times(t.letter(), 2),
                         {few(bits), few(bits)}, nullptr));
  cases.back().text = "sub.cc." + n + " o0, i0, i1; subc." + n + " o0, i1, 0";
  cases.back().expected = [](In v, uint64_t *out) { out[0] = v[1] - (v[0] < v[1]); };
}
void addMadCarries(std::vector<Case> &cases, const Integer &t) {
  std::string n = t.name;
  int bits = t.bits;
  for (bool high : {false, true}) {
    std::string half = high ? ".hi" : ".lo";
    auto product = [=](In v) {
      I a = t.value(v[0]), b = t.value(v[1]);
      return U{t.raw(high ? highHalf(t, a, b) : lowHalf(t, a, b))};
    };
    cases.push_back(words("mad" + half + ".cc." + n, t,
                          "mad" + half + ".cc." + n + " o0, i0, i1, i2; addc." + n + " o1, 0, 0", 3,
                          [=](In v) { return product(v) + v[2]; }));
    cases.push_back(words("madc" + half + ".cc." + n, t,
                          "add.cc." + n + " o0, i2, i2; madc" + half + ".cc." + n +
                              " o0, i0, i1, i2; addc." + n + " o1, 0, 0",
                          3, [=](In v) { return product(v) + v[2] + ((U{v[2]} + v[2]) >> bits); }));
    cases.push_back(words("madc" + half + "." + n, t,
                          "add.cc." + n + " o1, i2, i2; madc" + half + "." + n + " o0, i0, i1, i2",
                          3, [=](In v) {
                            U mask = bits == 64 ? U{~uint64_t{0}} : (U{1} << bits) - 1;
                            U twice = U{v[2]} + v[2];
                            U low = product(v) + v[2] + (twice >> bits);
                            return (low & mask) | (twice & mask) << bits;
                          }));
  }
}

} // namespace

std::vector<Case> integerCases() {
  std::vector<Case> cases;
  for (const Integer &t : kIntegers) {
    addArithmetic(cases, t);
    if (t.bits == 32)
      add24Bits(cases, t);
    if (t.bits >= 32) {
      addCarries(cases, t);
      addMadCarries(cases, t);
    }
  }
  addSaturating(cases);
  addHalves(cases, false);
  addHalves(cases, true);
  addDots(cases);
  return cases;
}

namespace {
TEST(Instructions, Integers) { runCases(integerCases()); }
} // namespace
} // namespace platen::ptxsim::testing
