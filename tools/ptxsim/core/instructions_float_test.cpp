// Arithmetic of f32, f64, f32x2 and mixed precision against exact arithmetic, in every rounding
// mode.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;
/// The exact result of an operation on up to three exact numbers.
using Operation = std::function<Exact(const Exact *, Round)>;

const Operation kAdd = [](const Exact *v, Round r) { return sum(v[0], v[1], r); };
const Operation kSub = [](const Exact *v, Round r) { return sum(v[0], v[1].negated(), r); };
const Operation kMul = [](const Exact *v, Round) { return product(v[0], v[1]); };
const Operation kFma = [](const Exact *v, Round r) { return sum(product(v[0], v[1]), v[2], r); };
const Operation kDiv = [](const Exact *v, Round) { return quotient(v[0], v[1]); };
const Operation kRcp = [](const Exact *v, Round) { return quotient(whole(1), v[0]); };
const Operation kSqrt = [](const Exact *v, Round) { return root(v[0]); };

/// Clamped to [0, 1]; NaN and -0 give +0.
uint64_t saturated(uint64_t bits, const Binary &f) {
  uint64_t one = static_cast<uint64_t>(f.bias()) << f.mantissaBits;
  if (isNan(bits, f) || bits & f.signBit())
    return 0;
  return bits > one ? one : bits;
}

struct Flags {
  bool ftz = false, sat = false;
};
uint64_t compute(const Operation &operation, const Binary &f, Round mode, Flags flags, In v,
                 size_t sources) {
  Exact values[3];
  for (size_t n = 0; n < sources; ++n)
    values[n] = unpack(flags.ftz ? flushed(v[n], f) : v[n], f);
  uint64_t bits = pack(operation(values, mode), f, mode);
  if (flags.ftz)
    bits = flushed(bits, f);
  return flags.sat ? saturated(bits, f) : bits;
}

std::vector<Values> valuesFor(const Binary &f, size_t sources) {
  return std::vector<Values>(sources, sources == 3 ? fewFloats(f) : floats(f));
}

void addForm(std::vector<Case> &cases, const std::string &name, const Floating &t,
             const Operation &operation, size_t sources, const Rounding &rounding, Flags flags) {
  std::string opcode =
      name + rounding.suffix + (flags.ftz ? ".ftz" : "") + (flags.sat ? ".sat." : ".") + t.name;
  std::string registers = std::string(1, t.letter) + "=" + std::string(sources, t.letter);
  Binary f = t.format;
  Case c = simple(opcode, registers, valuesFor(f, sources),
                  [=](In v) { return compute(operation, f, rounding.mode, flags, v, sources); });
  if (f.mantissaBits == 52) // a NaN result carries on the payload of one of the operands
    c.accepts = [=](In v, In got) {
      uint64_t wanted = compute(operation, f, rounding.mode, flags, v, sources);
      bool anyNan = false, isOperand = false;
      for (size_t n = 0; n < sources; ++n) {
        anyNan |= isNan(v[n], f);
        isOperand |= isNan(v[n], f) && got[0] == (v[n] | uint64_t{1} << 51);
      }
      return wanted == got[0] || (isNan(wanted, f) && isNan(got[0], f) && (isOperand || !anyNan));
    };
  cases.push_back(c);
}

/// Two f32 in 64 bits.
void addPacked(std::vector<Case> &cases, const std::string &name, const Operation &operation,
               size_t sources, const Rounding &rounding, bool ftz) {
  Values singles = fewFloats(kBinary32), pairs;
  for (size_t n = 0; n < singles.size(); ++n)
    for (size_t k : {(n + 5) % singles.size(), (n * 3 + 1) % singles.size()})
      pairs.push_back(singles[n] | singles[k] << 32);
  cases.push_back(simple(
      name + rounding.suffix + (ftz ? ".ftz" : "") + ".f32x2", "d=" + std::string(sources, 'd'),
      std::vector<Values>(sources, pairs), [=](In v) {
        uint64_t low[3], high[3];
        for (size_t n = 0; n < sources; ++n)
          low[n] = v[n] & 0xFFFFFFFF, high[n] = v[n] >> 32;
        return compute(operation, kBinary32, rounding.mode, {ftz, false}, low, sources) |
               compute(operation, kBinary32, rounding.mode, {ftz, false}, high, sources) << 32;
      }));
}

/// The first operand, or the first two of fma, are halves.
void addMixed(std::vector<Case> &cases, const std::string &name, const Operation &operation,
              size_t halves, const Rounding &rounding, bool sat) {
  for (const Floating &h : {kF16, kBf16}) {
    std::vector<Values> values(halves, fewFloats(h.format));
    values.push_back(floats(kBinary32));
    Binary f = h.format;
    cases.push_back(simple(name + rounding.suffix + (sat ? ".sat" : "") + ".f32." + h.name,
                           "r=" + std::string(halves, 'h') + "r", values, [=](In v) {
                             Exact e[3];
                             for (size_t n = 0; n < halves; ++n)
                               e[n] = unpack(v[n], f);
                             e[halves] = unpack(v[halves], kBinary32);
                             uint64_t bits =
                                 pack(operation(e, rounding.mode), kBinary32, rounding.mode);
                             return sat ? saturated(bits, kBinary32) : bits;
                           }));
  }
}

void addArithmetic(std::vector<Case> &cases, const std::string &name, const Operation &operation,
                   bool mayMix, bool isFma) {
  size_t sources = isFma ? 3 : 2;
  std::vector<Rounding> modes = kRoundings;
  if (!isFma)
    modes.push_back({"", Round::kNearest});
  for (const Rounding &rounding : modes) {
    for (bool ftz : {false, true}) {
      for (bool sat : {false, true})
        addForm(cases, name, kF32, operation, sources, rounding, {ftz, sat});
      if (name != "mad")
        addPacked(cases, name, operation, sources, rounding, ftz);
    }
    addForm(cases, name, kF64, operation, sources, rounding, {});
    for (bool sat : {false, true})
      if (mayMix)
        addMixed(cases, name, operation, isFma ? 2 : 1, rounding, sat);
  }
}

void addDivisions(std::vector<Case> &cases) {
  struct Row {
    const char *name;
    const Operation &operation;
    size_t sources;
  };
  for (const Row &row : {Row{"div", kDiv, 2}, Row{"rcp", kRcp, 1}, Row{"sqrt", kSqrt, 1}})
    for (const Rounding &rounding : kRoundings) {
      addForm(cases, row.name, kF32, row.operation, row.sources, rounding, {});
      addForm(cases, row.name, kF32, row.operation, row.sources, rounding, {true, false});
      addForm(cases, row.name, kF64, row.operation, row.sources, rounding, {});
    }
}

/// min or max of a and b by the ISA's definition.
uint64_t extreme(bool isMin, bool nan, uint64_t a, uint64_t b, const Binary &f) {
  bool x = isNan(a, f), y = isNan(b, f);
  if ((x && y) || (nan && (x || y)))
    return f.nan;
  if (x || y)
    return x ? b : a;
  auto key = [&](uint64_t v) { // -0 below +0
    auto magnitude = static_cast<__int128>(v & (f.signBit() - 1));
    return v & f.signBit() ? -1 - magnitude : magnitude;
  };
  return (key(a) < key(b)) == isMin ? a : b;
}
void addExtremes(std::vector<Case> &cases, bool isMin) {
  std::string name = isMin ? "min" : "max";
  uint64_t sign = kBinary32.signBit();
  for (bool ftz : {false, true})
    for (bool nan : {false, true}) {
      std::string flags = std::string(ftz ? ".ftz" : "") + (nan ? ".NaN" : "");
      auto ready = [=](uint64_t v) { return ftz ? flushed(v, kBinary32) : v; };
      auto magnitude = [=](uint64_t v) { return ready(v) & (sign - 1); };
      auto two = valuesFor(kBinary32, 2), three = valuesFor(kBinary32, 3);
      cases.push_back(simple(name + flags + ".f32", "r=rr", two, [=](In v) {
        return extreme(isMin, nan, ready(v[0]), ready(v[1]), kBinary32);
      }));
      cases.push_back(simple(name + flags + ".xorsign.abs.f32", "r=rr", two, [=](In v) {
        uint64_t result = extreme(isMin, nan, magnitude(v[0]), magnitude(v[1]), kBinary32);
        return isNan(result, kBinary32) ? result : (result & (sign - 1)) | ((v[0] ^ v[1]) & sign);
      }));
      cases.push_back(simple(name + flags + ".f32", "r=rrr", three, [=](In v) {
        uint64_t first = extreme(isMin, nan, ready(v[0]), ready(v[1]), kBinary32);
        return extreme(isMin, nan, first, ready(v[2]), kBinary32);
      }));
      cases.push_back(simple(name + flags + ".abs.f32", "r=rrr", three, [=](In v) {
        uint64_t first = extreme(isMin, nan, magnitude(v[0]), magnitude(v[1]), kBinary32);
        return extreme(isMin, nan, first, magnitude(v[2]), kBinary32);
      }));
    }
  Case c = simple(name + ".f64", "d=dd", valuesFor(kBinary64, 2), nullptr);
  c.accepts = [=](In v, In got) {
    uint64_t wanted = extreme(isMin, false, v[0], v[1], kBinary64);
    return wanted == got[0] || (isNan(wanted, kBinary64) && isNan(got[0], kBinary64));
  };
  cases.push_back(c);
}

void addSigns(std::vector<Case> &cases) {
  uint64_t s32 = kBinary32.signBit(), s64 = kBinary64.signBit();
  for (bool ftz : {false, true}) {
    auto finish = [=](uint64_t v, bool isAbs) {
      if (isNan(v, kBinary32))
        return kBinary32.nan;
      v = ftz ? flushed(v, kBinary32) : v;
      return isAbs ? v & ~s32 : v ^ s32;
    };
    std::string flags = ftz ? ".ftz" : "";
    cases.push_back(simple("abs" + flags + ".f32", "r=r", {floats(kBinary32)},
                           [=](In v) { return finish(v[0], true); }));
    cases.push_back(simple("neg" + flags + ".f32", "r=r", {floats(kBinary32)},
                           [=](In v) { return finish(v[0], false); }));
  }
  cases.push_back(simple("abs.f64", "d=d", {floats(kBinary64)}, [=](In v) { return v[0] & ~s64; }));
  cases.push_back(simple("neg.f64", "d=d", {floats(kBinary64)}, [=](In v) { return v[0] ^ s64; }));
  cases.push_back(simple("copysign.f32", "r=rr", {fewFloats(kBinary32), fewFloats(kBinary32)},
                         [=](In v) { return (v[0] & s32) | (v[1] & ~s32); }));
  cases.push_back(simple("copysign.f64", "d=dd", {fewFloats(kBinary64), fewFloats(kBinary64)},
                         [=](In v) { return (v[0] & s64) | (v[1] & ~s64); }));
}

} // namespace

std::vector<Case> floatCases() {
  std::vector<Case> cases;
  addArithmetic(cases, "add", kAdd, true, false);
  addArithmetic(cases, "sub", kSub, true, false);
  addArithmetic(cases, "mul", kMul, false, false);
  addArithmetic(cases, "fma", kFma, true, true);
  addArithmetic(cases, "mad", kFma, false, true);
  addDivisions(cases);
  addExtremes(cases, true);
  addExtremes(cases, false);
  addSigns(cases);
  return cases;
}

namespace {
TEST(Instructions, Floats) { runCases(floatCases()); }

/// The exact arithmetic itself, on what the host's hardware certainly does right.
TEST(ExactArithmetic, AgreesWithTheHost) {
  Values values = floats(kBinary64);
  for (uint64_t a : values)
    for (uint64_t b : values) {
      double x = std::bit_cast<double>(a), y = std::bit_cast<double>(b);
      auto check = [&](double wanted, const Exact &e) {
        uint64_t bits = pack(e, kBinary64);
        if (wanted != wanted)
          EXPECT_TRUE(isNan(bits, kBinary64));
        else
          EXPECT_EQ(bits, std::bit_cast<uint64_t>(wanted)) << x << " " << y;
      };
      Exact e = unpack(a, kBinary64), f = unpack(b, kBinary64);
      check(x + y, sum(e, f));
      check(x * y, product(e, f));
      check(x / y, quotient(e, f));
      check(__builtin_sqrt(x), root(e));
      check(__builtin_nearbyint(x), integral(e, Round::kNearest));
      check(__builtin_floor(x), integral(e, Round::kDown));
    }
}
} // namespace
} // namespace platen::ptxsim::testing
