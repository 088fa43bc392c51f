// The approximate functions within the errors that the ISA documents, and their special values.
//
// References are long double; the bounds are the ISA's and no wider.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;
using Function = std::function<long double(long double)>;

long double number(uint64_t bits, const Binary &f) {
  Exact e = unpack(bits, f);
  if (e.isNan)
    return std::nanl("");
  long double magnitude =
      e.isInfinite ? HUGE_VALL
                   : std::ldexp(static_cast<long double>(e.magnitude.word[0]), e.exponent);
  return e.negative ? -magnitude : magnitude;
}
/// The distance between neighbours of the format at x.
long double unitAt(long double x, const Binary &f) {
  int exponent = 0;
  std::frexp(x, &exponent);
  return std::ldexp(1.0L, std::max(exponent - 1, 1 - f.bias()) - f.mantissaBits);
}

/// Errors allowed: units in the last place, relative, absolute; the largest of them counts.
struct Bound {
  long double units = 0, relative = 0, absolute = 0;
};
/// Finite values must be near; zeros, infinities and NaN must be what they are (signs included).
bool isNear(long double wanted, uint64_t got, const Binary &f, Bound bound, bool ftz) {
  long double value = number(got, f);
  if (wanted != wanted)
    return value != value && (f.mantissaBits == 52 || got == f.nan);
  long double largest = number(f.largest(), f), unit = unitAt(wanted, f);
  if (std::isinf(wanted) || std::fabs(wanted) > largest + unit)
    return std::isinf(value) && std::signbit(value) == std::signbit(wanted);
  if (wanted == 0)
    return value == 0 && std::signbit(value) == std::signbit(wanted);
  long double allowed =
      std::max({bound.units * unit, bound.relative * std::fabs(wanted), bound.absolute});
  if (ftz && std::fabs(wanted) < number(uint64_t{1} << f.mantissaBits, f) && value == 0)
    return std::signbit(value) == std::signbit(wanted);
  if (std::isinf(value)) // the last steps below overflow
    return std::fabs(wanted) > largest - allowed;
  return std::fabs(value - wanted) <= allowed;
}

Values inputs(const Binary &f) {
  Values values = floats(f);
  std::mt19937_64 random(17);
  uint64_t one = static_cast<uint64_t>(f.bias()) << f.mantissaBits,
           unit = uint64_t{1} << f.mantissaBits;
  for (int n = 0; n < 800; ++n) // most of them between 2^-8 and 2^8
    values.push_back(((one - 8 * unit + random() % (16 * unit)) | (random() & 1) * f.signBit()));
  for (int n = 0; n < 200; ++n)
    values.push_back(random() & (2 * f.signBit() - 1));
  return values;
}

void add(std::vector<Case> &cases, const std::string &opcode, const Floating &t, bool ftz,
         Function reference, std::function<Bound(long double)> bound) {
  std::string registers{t.letter, '=', t.letter};
  Binary f = t.format;
  Case c = simple(opcode, registers, {inputs(f)}, nullptr);
  c.accepts = [=](In v, In got) {
    uint64_t in = ftz ? flushed(v[0], f) : v[0];
    if (ftz && flushed(got[0], f) != got[0])
      return false;
    long double x = number(in, f);
    return isNear(reference(x), got[0], f, bound(x), ftz);
  };
  cases.push_back(c);
}

void addSingles(std::vector<Case> &cases) {
  struct Row {
    const char *name;
    Function reference;
    std::function<Bound(long double)> bound;
  };
  auto always = [](Bound b) { return [b](long double) { return b; }; };
  auto trigonometric = [](long double x) {
    long double turn = 6.283185307179586476925L;
    return Bound{0, 0,
                 std::fabs(x) <= turn        ? 0x1p-20L * 0.7071L
                 : std::fabs(x) <= 50 * turn ? 0x1p-14L * 0.6156L
                                             : 2.0L};
  };
  // long double sines of infinities are NaN, as documented.
  const Row rows[] = {
      {"rcp", [](long double x) { return 1 / x; }, always({1, 0, 0})},
      {"sqrt", [](long double x) { return std::sqrt(x); }, always({0, 0x1p-23L, 0})},
      {"rsqrt", [](long double x) { return 1 / std::sqrt(x); }, always({0, 0x1p-23L * 1.0717L, 0})},
      {"sin", [](long double x) { return std::sin(x); }, trigonometric},
      {"cos", [](long double x) { return std::cos(x); }, trigonometric},
      {"lg2", [](long double x) { return std::log2(x); },
       [](long double x) {
         return x > 0.5L && x < 2 ? Bound{0, 0, 0x1p-22L} : Bound{0, 0x1p-22L, 0};
       }},
      {"ex2", [](long double x) { return std::exp2(x); }, always({2, 0, 0})},
  };
  for (const Row &row : rows)
    for (bool ftz : {false, true})
      add(cases, std::string(row.name) + ".approx" + (ftz ? ".ftz" : "") + ".f32", kF32, ftz,
          row.reference, row.bound);
  add(
      cases, "tanh.approx.f32", kF32, false, [](long double x) { return std::tanh(x); },
      always({0, 0x1p-11L, 0}));
  // Halves: the documented errors, at least the rounding itself.
  add(
      cases, "tanh.approx.f16", kF16, false, [](long double x) { return std::tanh(x); },
      always({0, 0, 0x1p-11L * 1.009L}));
  add(
      cases, "tanh.approx.bf16", kBf16, false, [](long double x) { return std::tanh(x); },
      always({0, 0, 0x1p-8L}));
  add(
      cases, "ex2.approx.f16", kF16, false, [](long double x) { return std::exp2(x); },
      always({1, 0x1p-10L * 1.0717L, 0}));
  add(
      cases, "ex2.approx.ftz.bf16", kBf16, true, [](long double x) { return std::exp2(x); },
      always({0, 0x1p-7L, 0}));
}

/// The pair forms do on each half what the single forms do.
void addPairs(std::vector<Case> &cases) {
  struct Row {
    const char *opcode;
    Floating type;
    bool ftz;
    Function reference;
    Bound bound;
  };
  Function tanh = [](long double x) { return std::tanh(x); },
           exp2 = [](long double x) { return std::exp2(x); };
  for (const Row &row : {Row{"tanh.approx.f16x2", kF16, false, tanh, {0, 0, 0x1p-11L * 1.009L}},
                         Row{"tanh.approx.bf16x2", kBf16, false, tanh, {0, 0, 0x1p-8L}},
                         Row{"ex2.approx.f16x2", kF16, false, exp2, {1, 0x1p-10L * 1.0717L, 0}},
                         Row{"ex2.approx.ftz.bf16x2", kBf16, true, exp2, {0, 0x1p-7L, 0}}}) {
    Binary f = row.type.format;
    Values singles = inputs(f), pairs;
    for (size_t n = 0; n < singles.size(); ++n)
      pairs.push_back(singles[n] | singles[(n * 7 + 1) % singles.size()] << 16);
    Case c = simple(row.opcode, "r=r", {pairs}, nullptr);
    c.accepts = [=](In v, In got) {
      auto one = [&](uint64_t in, uint64_t out) {
        long double x = number(row.ftz ? flushed(in, f) : in, f);
        return isNear(row.reference(x), out, f, row.bound, row.ftz);
      };
      return one(v[0] & 0xFFFF, got[0] & 0xFFFF) && one(v[0] >> 16, got[0] >> 16);
    };
    cases.push_back(c);
  }
}

void addDivisions(std::vector<Case> &cases) {
  for (bool full : {false, true})
    for (bool ftz : {false, true}) {
      Case c =
          simple(std::string("div.") + (full ? "full" : "approx") + (ftz ? ".ftz" : "") + ".f32",
                 "r=rr", {floats(kBinary32), floats(kBinary32)}, nullptr);
      c.accepts = [=](In v, In got) {
        auto ready = [&](uint64_t bits) {
          return number(ftz ? flushed(bits, kBinary32) : bits, kBinary32);
        };
        long double a = ready(v[0]), b = ready(v[1]), magnitude = std::fabs(b);
        if (ftz && flushed(got[0], kBinary32) != got[0])
          return false;
        if (!full && magnitude > 0x1p126L && magnitude < 0x1p128L)
          return isNear(std::isinf(a) ? std::nanl("") : a * std::copysign(0.0L, b), got[0],
                        kBinary32, {}, false);
        return isNear(a / b, got[0], kBinary32, {2, 0, 0}, ftz);
      };
      cases.push_back(c);
    }
}

void addDoubles(std::vector<Case> &cases) {
  auto reference = [](bool isRoot, long double x) { return isRoot ? 1 / std::sqrt(x) : 1 / x; };
  for (bool isRoot : {false, true}) {
    Case c = simple(isRoot ? "rsqrt.approx.ftz.f64" : "rcp.approx.ftz.f64", "d=d",
                    {inputs(kBinary64)}, nullptr);
    c.accepts = [=](In v, In got) {
      // Only the upper word counts, on both sides.
      uint64_t in = flushed(v[0] & 0xFFFFFFFF00000000u, kBinary64);
      if (in & ((uint64_t{1} << 52) - 1) && (in >> 52 & 0x7FF) == 0x7FF)
        return got[0] == 0x7FFFFFFF00000000u;
      if (isNan(v[0], kBinary64)) // a payload in the lower word only: an infinity
        return true;
      long double x = number(in, kBinary64), wanted = reference(isRoot, x);
      if (wanted != wanted)
        return isNan(got[0], kBinary64);
      if (got[0] & 0xFFFFFFFF || flushed(got[0], kBinary64) != got[0])
        return false;
      return isNear(wanted, got[0], kBinary64, {0, 0x1p-20L, 0}, true);
    };
    cases.push_back(c);
  }
  Case c = simple("rsqrt.approx.f64", "d=d", {inputs(kBinary64)}, nullptr);
  c.accepts = [=](In v, In got) {
    return isNear(reference(true, number(v[0], kBinary64)), got[0], kBinary64, {1, 0, 0}, false);
  };
  cases.push_back(c);
}

} // namespace

std::vector<Case> approximateCases() {
  std::vector<Case> cases;
  addSingles(cases);
  addPairs(cases);
  addDivisions(cases);
  addDoubles(cases);
  return cases;
}

namespace {
TEST(Instructions, Approximations) { runCases(approximateCases()); }
} // namespace
} // namespace platen::ptxsim::testing
