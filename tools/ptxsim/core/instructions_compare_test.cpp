// setp, set, selp, slct and testp for every type and operator.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;

/// -1, 0, 1, or 2 where one of the values is a NaN.
int order(uint64_t a, uint64_t b, const Binary &format) {
  Exact x = unpack(a, format), y = unpack(b, format);
  if (x.isNan || y.isNan)
    return 2;
  // Magnitudes of one sign keep their order as whole numbers; both zeros are equal.
  auto key = [&](uint64_t bits, const Exact &value) -> __int128 {
    auto magnitude = static_cast<__int128>(bits & (format.signBit() - 1));
    return value.negative ? -magnitude : magnitude;
  };
  __int128 p = key(a, x), q = key(b, y);
  return p < q ? -1 : p > q ? 1 : 0;
}
bool holds(const std::string &op, int order) {
  if (order == 2)
    return op == "nan" || op == "neu" || op == "equ" || op == "ltu" || op == "leu" || op == "gtu" ||
           op == "geu";
  if (op == "nan" || op == "num")
    return op == "num";
  std::string base = op.substr(0, 2);
  return base == "eq"                   ? order == 0
         : base == "ne"                 ? order != 0
         : base == "lt" || base == "lo" ? order < 0
         : base == "le" || base == "ls" ? order <= 0
         : base == "gt" || base == "hi" ? order > 0
                                        : order >= 0;
}
bool joined(const std::string &boolean, bool t, bool c) {
  return boolean == ".and" ? t && c : boolean == ".or" ? t || c : boolean == ".xor" ? t != c : t;
}

using Order = std::function<int(uint64_t, uint64_t)>;
struct Compared {
  std::string type;
  char letter;
  Values values;
  std::vector<std::string> operators;
  Order order;
};
std::vector<Compared> comparedTypes() {
  std::vector<Compared> types;
  const std::vector<std::string> ordered{"eq", "ne", "lt", "le", "gt", "ge"};
  for (Integer t : kIntegers) {
    std::vector<std::string> operators = ordered;
    if (!t.isSigned)
      operators.insert(operators.end(), {"lo", "ls", "hi", "hs"});
    Order order = [t](uint64_t a, uint64_t b) {
      return t.value(a) < t.value(b) ? -1 : t.value(a) > t.value(b) ? 1 : 0;
    };
    types.push_back({t.name, t.letter(), few(t.bits), operators, order});
    if (!t.isSigned)
      types.push_back({"b" + std::to_string(t.bits), t.letter(), few(t.bits), {"eq", "ne"}, order});
  }
  std::vector<std::string> all = ordered;
  all.insert(all.end(), {"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"});
  for (const Floating &t : {kF32, kF64, kF16, kBf16}) {
    Binary format = t.format;
    types.push_back({t.name, t.letter, fewFloats(format), all,
                     [format](uint64_t a, uint64_t b) { return order(a, b, format); }});
  }
  for (const Floating &t : {kF32, kF16}) {
    Binary format = t.format;
    types.push_back(
        {"ftz." + t.name, t.letter, fewFloats(format), all, [format](uint64_t a, uint64_t b) {
           return order(flushed(a, format), flushed(b, format), format);
         }});
  }
  return types;
}

/// "ftz.f32" -> ".ftz" and ".f32": where the destination type of set stands between them.
std::string between(const std::string &type, const std::string &middle) {
  return type.rfind("ftz.", 0) == 0 ? ".ftz" + middle + type.substr(3) : middle + "." + type;
}

void addSetp(std::vector<Case> &cases, const Compared &t) {
  std::string two = {t.letter, t.letter};
  bool isHalf = t.type == "f16" || t.type == "bf16" || t.type == "ftz.f16";
  for (const std::string &op : t.operators) {
    std::vector<Values> values{t.values, t.values};
    cases.push_back(simple("setp." + op + between(t.type, ""), "p=" + two, values,
                           [=](In v) { return holds(op, t.order(v[0], v[1])); }));
    if (op != "lt" && op != "ne" && op != "geu")
      continue;
    values.push_back(kFlags);
    for (const char *boolean : {".and", ".or", ".xor"}) {
      Case c = simple("setp." + op + boolean + between(t.type, ""),
                      (isHalf ? "p=" : "p|p=") + two + "p", values, nullptr);
      c.expected = [=](In v, uint64_t *out) {
        bool is = holds(op, t.order(v[0], v[1]));
        out[0] = joined(boolean, is, v[2]), out[1] = joined(boolean, !is, v[2]);
      };
      cases.push_back(c);
    }
  }
}

void addSet(std::vector<Case> &cases, const Compared &t, const std::string &to, char letter,
            uint64_t yes) {
  std::string two = {t.letter, t.letter};
  for (const std::string &op : t.operators) {
    bool always = op == "lt" || op == "eq";
    if (!always && to != "u32")
      continue;
    std::vector<Values> values{t.values, t.values};
    cases.push_back(simple("set." + op + between(t.type, "." + to),
                           std::string(1, letter) + "=" + two, values,
                           [=](In v) { return holds(op, t.order(v[0], v[1])) ? yes : 0; }));
    if (op != "lt")
      continue;
    values.push_back(kFlags);
    for (const char *boolean : {".and", ".or", ".xor"})
      cases.push_back(simple("set." + op + boolean + between(t.type, "." + to),
                             std::string(1, letter) + "=" + two + "p", values, [=](In v) {
                               return joined(boolean, holds(op, t.order(v[0], v[1])), v[2]) ? yes
                                                                                            : 0;
                             }));
  }
}

/// Pairs of halves.
void addPairs(std::vector<Case> &cases, const Floating &t, bool ftz) {
  Values pairs;
  Values singles = fewFloats(t.format);
  for (size_t n = 0; n < singles.size(); ++n)
    for (size_t k : {n, (n + 1) % singles.size(), (n * 7 + 3) % singles.size()})
      pairs.push_back(singles[n] | singles[k] << 16);
  Binary format = t.format;
  auto orderOf = [=](uint64_t a, uint64_t b) {
    a &= 0xFFFF, b &= 0xFFFF;
    return ftz ? order(flushed(a, format), flushed(b, format), format) : order(a, b, format);
  };
  std::string type = t.name + "x2", flush = ftz ? ".ftz" : "";
  for (const char *op :
       {"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"})
    for (const char *boolean : {"", ".and", ".xor"}) {
      bool alone = boolean[0] == '\0';
      std::vector<Values> values{pairs, pairs, kFlags};
      values.resize(alone ? 2 : 3);
      std::string head = std::string(".") + op + boolean + flush, tail = alone ? "" : "p";
      auto both = [=](In v, bool &low, bool &high) {
        low = joined(boolean, holds(op, orderOf(v[0], v[1])), !alone && v[2]);
        high = joined(boolean, holds(op, orderOf(v[0] >> 16, v[1] >> 16)), !alone && v[2]);
      };
      Case c = simple("setp" + head + "." + type, "p|p=rr" + tail, values, nullptr);
      c.expected = [=](In v, uint64_t *out) {
        bool low, high;
        both(v, low, high);
        out[0] = low, out[1] = high;
      };
      cases.push_back(c);
      uint64_t one = static_cast<uint64_t>(format.bias()) << format.mantissaBits;
      for (const std::string &to : {std::string("u32"), type}) {
        uint64_t yes = to == "u32" ? 0xFFFF : one;
        cases.push_back(
            simple("set" + head + "." + to + "." + type, "r=rr" + tail, values, [=](In v) {
              bool low, high;
              both(v, low, high);
              return (low ? yes : 0) | (high ? yes << 16 : 0);
            }));
      }
    }
}

void addSelections(std::vector<Case> &cases) {
  for (const char *type :
       {"b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"}) {
    int bits = std::atoi(type + 1);
    char letter = bits == 16 ? 'h' : bits == 32 ? 'r' : 'd';
    std::vector<Values> values{few(bits), few(bits), kFlags};
    cases.push_back(simple(std::string("selp.") + type, {letter, '=', letter, letter, 'p'}, values,
                           [](In v) { return v[2] ? v[0] : v[1]; }));
    values[2] = few(32);
    std::string registers{letter, '=', letter, letter, 'r'};
    cases.push_back(simple(std::string("slct.") + type + ".s32", registers, values,
                           [](In v) { return v[2] >> 31 ? v[1] : v[0]; }));
    values[2] = fewFloats(kBinary32);
    for (bool ftz : {false, true})
      cases.push_back(simple(std::string("slct") + (ftz ? ".ftz." : ".") + type + ".f32", registers,
                             values, [=](In v) {
                               uint64_t c = ftz ? flushed(v[2], kBinary32) : v[2];
                               Exact e = unpack(c, kBinary32);
                               return !e.isNan && (!e.negative || e.isZero()) ? v[0] : v[1];
                             }));
  }
}

void addProperties(std::vector<Case> &cases) {
  for (const Floating &t : {kF32, kF64}) {
    Binary f = t.format;
    std::string registers{'p', '=', t.letter};
    auto add = [&](const char *name, std::function<bool(const Exact &, bool)> f_) {
      cases.push_back(
          simple(std::string("testp.") + name + "." + t.name, registers, {floats(f)}, [=](In v) {
            Exact e = unpack(v[0], f);
            bool subnormal = !e.isZero() && flushed(v[0], f) != v[0];
            return f_(e, subnormal);
          }));
    };
    add("finite", [](const Exact &e, bool) { return !e.isNan && !e.isInfinite; });
    add("infinite", [](const Exact &e, bool) { return e.isInfinite; });
    add("number", [](const Exact &e, bool) { return !e.isNan; });
    add("notanumber", [](const Exact &e, bool) { return e.isNan; });
    add("normal", [](const Exact &e, bool s) { return !e.isNan && !e.isInfinite && !s; });
    add("subnormal", [](const Exact &, bool s) { return s; });
  }
}

} // namespace

std::vector<Case> compareCases() {
  std::vector<Case> cases;
  for (const Compared &t : comparedTypes()) {
    addSetp(cases, t);
    addSet(cases, t, "u32", 'r', 0xFFFFFFFF);
    addSet(cases, t, "s32", 'r', 0xFFFFFFFF);
    bool isF16 = t.type == "f16" || t.type == "ftz.f16", isBf16 = t.type == "bf16";
    if (isF16 || isBf16) {
      addSet(cases, t, "u16", 'h', 0xFFFF);
      addSet(cases, t, "s16", 'h', 0xFFFF);
    } else {
      addSet(cases, t, "f32", 'r', 0x3F800000);
    }
    if (!isBf16)
      addSet(cases, t, "f16", 'h', 0x3C00);
    if (!isF16 && t.type.rfind("ftz", 0) != 0)
      addSet(cases, t, "bf16", 'h', 0x3F80);
  }
  addPairs(cases, kF16, false);
  addPairs(cases, kF16, true);
  addPairs(cases, kBf16, false);
  addSelections(cases);
  addProperties(cases);
  return cases;
}

namespace {
TEST(Instructions, Comparisons) { runCases(compareCases()); }
} // namespace
} // namespace platen::ptxsim::testing
