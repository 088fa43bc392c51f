// Arithmetic of f16 and bf16, alone and in pairs, against exact arithmetic rounded once.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

#include <random>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;
/// A function of halves, as bits.
using Half = std::function<uint64_t(const uint64_t *)>;

struct Flags {
  bool ftz = false, sat = false, relu = false;
  std::string text() const {
    return std::string(ftz ? ".ftz" : "") + (sat ? ".sat" : "") + (relu ? ".relu" : "");
  }
};

Half arithmetic(const Binary &f, Flags flags, size_t sources,
                std::function<Exact(const Exact *)> operation) {
  return [=](const uint64_t *v) {
    Exact e[3];
    for (size_t n = 0; n < sources; ++n)
      e[n] = unpack(flags.ftz ? flushed(v[n], f) : v[n], f);
    uint64_t bits = pack(operation(e), f), one = static_cast<uint64_t>(f.bias()) << f.mantissaBits;
    bits = flags.ftz ? flushed(bits, f) : bits;
    bool negative = bits & f.signBit();
    if (flags.sat)
      return isNan(bits, f) || negative ? 0 : bits > one ? one : bits;
    return flags.relu && negative ? 0 : bits;
  };
}

/// The row of the single type and that of the pair.
void addBoth(std::vector<Case> &cases, const std::string &head, const Floating &t, size_t sources,
             const Half &f) {
  Values singles = sources == 3 ? fewFloats(t.format) : floats(t.format), pairs;
  std::mt19937_64 random(3);
  for (uint64_t v : singles)
    pairs.push_back(v | singles[random() % singles.size()] << 16);
  cases.push_back(simple(head + "." + t.name, "h=" + std::string(sources, 'h'),
                         std::vector<Values>(sources, singles), f));
  cases.push_back(simple(head + "." + t.name + "x2", "r=" + std::string(sources, 'r'),
                         std::vector<Values>(sources, pairs), [=](In v) {
                           uint64_t low[3], high[3];
                           for (size_t n = 0; n < sources; ++n)
                             low[n] = v[n] & 0xFFFF, high[n] = v[n] >> 16;
                           return f(low) | f(high) << 16;
                         }));
}

void addArithmetic(std::vector<Case> &cases, const Floating &t) {
  bool isF16 = t.name == "f16";
  for (bool ftz : {false, true})
    for (bool sat : {false, true}) {
      if (!isF16 && (ftz || sat))
        continue;
      Flags flags{ftz, sat, false};
      for (const char *mode : {"", ".rn"}) {
        addBoth(cases, std::string("add") + mode + flags.text(), t, 2,
                arithmetic(t.format, flags, 2, [](const Exact *v) { return sum(v[0], v[1]); }));
        addBoth(cases, std::string("sub") + mode + flags.text(), t, 2,
                arithmetic(t.format, flags, 2,
                           [](const Exact *v) { return sum(v[0], v[1].negated()); }));
        addBoth(cases, std::string("mul") + mode + flags.text(), t, 2,
                arithmetic(t.format, flags, 2, [](const Exact *v) { return product(v[0], v[1]); }));
      }
    }
  auto fma = [](const Exact *v) { return sum(product(v[0], v[1]), v[2]); };
  for (Flags flags :
       {Flags{}, Flags{true, false, false}, Flags{false, true, false}, Flags{true, true, false},
        Flags{false, false, true}, Flags{true, false, true}})
    if (isF16 || (!flags.ftz && !flags.sat))
      addBoth(cases, "fma.rn" + flags.text(), t, 3, arithmetic(t.format, flags, 3, fma));
}

/// Random triples: double rounding shows where products and addends almost cancel or tie.
void addRandomFma(std::vector<Case> &cases, const Floating &t) {
  std::mt19937_64 random(5);
  Values a, b, c;
  Binary f = t.format;
  for (int n = 0; n < 1500; ++n) {
    a.push_back(random() & 0xFFFF), b.push_back(random() & 0xFFFF);
    Exact p = product(unpack(a.back(), f), unpack(b.back(), f));
    // An addend near the product, or one a power of two away from it.
    uint64_t near = pack(p, f) & 0xFFFF;
    int distance = static_cast<int>(random() % 30) - 15;
    c.push_back((near + static_cast<uint64_t>(static_cast<int64_t>(distance) << f.mantissaBits) +
                 (random() & 1) * f.signBit()) &
                0xFFFF);
  }
  cases.push_back(
      simple("fma.rn." + t.name, "h=hhh", {a, b, c},
             arithmetic(f, {}, 3, [](const Exact *v) { return sum(product(v[0], v[1]), v[2]); })));
  cases.back().together = true;
}

void addSigns(std::vector<Case> &cases, const Floating &t) {
  Binary f = t.format;
  for (bool ftz : {false, true}) {
    if (ftz && t.name != "f16")
      continue;
    auto sign = [=](bool isAbs) {
      return [=](const uint64_t *v) {
        if (isNan(v[0], f))
          return f.nan;
        uint64_t bits = ftz ? flushed(v[0], f) : v[0];
        return isAbs ? bits & (f.signBit() - 1) : bits ^ f.signBit();
      };
    };
    addBoth(cases, ftz ? "abs.ftz" : "abs", t, 1, sign(true));
    addBoth(cases, ftz ? "neg.ftz" : "neg", t, 1, sign(false));
  }
}

void addExtremes(std::vector<Case> &cases, const Floating &t, bool isMin) {
  Binary f = t.format;
  auto key = [f](uint64_t v) {
    auto magnitude = static_cast<int64_t>(v & (f.signBit() - 1));
    return v & f.signBit() ? -1 - magnitude : magnitude;
  };
  for (bool ftz : {false, true})
    for (bool nan : {false, true})
      for (bool xorsign : {false, true}) {
        if (ftz && t.name != "f16")
          continue;
        std::string head = std::string(isMin ? "min" : "max") + (ftz ? ".ftz" : "") +
                           (nan ? ".NaN" : "") + (xorsign ? ".xorsign.abs" : "");
        addBoth(cases, head, t, 2, [=](const uint64_t *v) {
          uint64_t a = ftz ? flushed(v[0], f) : v[0], b = ftz ? flushed(v[1], f) : v[1];
          uint64_t sign = (a ^ b) & f.signBit();
          if (xorsign)
            a &= f.signBit() - 1, b &= f.signBit() - 1;
          bool x = isNan(a, f), y = isNan(b, f);
          if ((x && y) || (nan && (x || y)))
            return f.nan;
          uint64_t d = x ? b : y ? a : (key(a) < key(b)) == isMin ? a : b;
          return xorsign ? (d & (f.signBit() - 1)) | sign : d;
        });
      }
}

} // namespace

std::vector<Case> halfCases() {
  std::vector<Case> cases;
  for (const Floating &t : {kF16, kBf16}) {
    addArithmetic(cases, t);
    addRandomFma(cases, t);
    addSigns(cases, t);
    addExtremes(cases, t, true);
    addExtremes(cases, t, false);
  }
  return cases;
}

namespace {
TEST(Instructions, Halves) { runCases(halfCases()); }
} // namespace
} // namespace platen::ptxsim::testing
