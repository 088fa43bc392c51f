// Logic, shifts and bit fields, bit by bit as the ISA's pseudocode has them.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;

char letterOf(int bits) { return bits == 16 ? 'h' : bits == 32 ? 'r' : 'd'; }
uint64_t ones(int bits) { return bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }
bool bitOf(uint64_t v, int n) { return v >> n & 1; }

void addLogic(std::vector<Case> &cases) {
  for (int bits : {16, 32, 64}) {
    std::string type = ".b" + std::to_string(bits),
                two = {letterOf(bits), '=', letterOf(bits), letterOf(bits)};
    std::string one = two.substr(0, 3);
    std::vector<Values> both{few(bits), few(bits)};
    cases.push_back(simple("and" + type, two, both, [](In v) { return v[0] & v[1]; }));
    cases.push_back(simple("or" + type, two, both, [](In v) { return v[0] | v[1]; }));
    cases.push_back(simple("xor" + type, two, both, [](In v) { return v[0] ^ v[1]; }));
    cases.push_back(simple("not" + type, one, {few(bits)}, [](In v) { return ~v[0]; }));
    cases.push_back(simple("cnot" + type, one, {few(bits)}, [](In v) { return v[0] == 0; }));
  }
  std::vector<Values> flags{kFlags, kFlags};
  cases.push_back(simple("and.pred", "p=pp", flags, [](In v) { return v[0] & v[1]; }));
  cases.push_back(simple("or.pred", "p=pp", flags, [](In v) { return v[0] | v[1]; }));
  cases.push_back(simple("xor.pred", "p=pp", flags, [](In v) { return v[0] ^ v[1]; }));
  cases.push_back(simple("not.pred", "p=p", {kFlags}, [](In v) { return 1 - v[0]; }));
}

uint64_t lookUp(int table, In v) {
  uint64_t result = 0;
  for (int n = 0; n < 32; ++n)
    if (table >> (bitOf(v[0], n) * 4 + bitOf(v[1], n) * 2 + bitOf(v[2], n)) & 1)
      result |= uint64_t{1} << n;
  return result;
}
void addLop3(std::vector<Case> &cases) {
  for (int table : {0x00, 0xFF, 0x80, 0xFE, 0x96, 0xE8, 0xCA, 0x6C, 0x1B, 0x2D, 0x47, 0xF0, 0xCC,
                    0xAA, 0xEA, 0xF8}) {
    std::string tail = ", " + std::to_string(table);
    std::vector<Values> words{few(32), few(32), few(32)};
    cases.push_back(
        simple("lop3.b32", "r=rrr", words, [=](In v) { return lookUp(table, v); }, tail));
    if (table % 3 != 0)
      continue;
    words.push_back(kFlags);
    for (bool isOr : {false, true}) {
      Case c = simple(isOr ? "lop3.or.b32" : "lop3.and.b32", "r|p=rrrp", words, nullptr, tail);
      c.before = 3;
      c.expected = [=](In v, uint64_t *out) {
        out[0] = lookUp(table, v);
        out[1] = isOr ? (out[0] != 0) | v[3] : (out[0] != 0) & v[3];
      };
      cases.push_back(c);
    }
  }
}

void addShifts(std::vector<Case> &cases) {
  for (int bits : {16, 32, 64})
    for (char kind : {'b', 'u', 's'}) {
      std::string type = std::string(".") + kind + std::to_string(bits);
      std::string registers{letterOf(bits), '=', letterOf(bits), 'r'};
      std::vector<Values> values{few(bits), shiftAmounts()};
      if (kind == 'b')
        cases.push_back(simple("shl" + type, registers, values, [=](In v) {
          uint64_t result = 0;
          for (int n = 0; n < bits; ++n)
            if (n >= static_cast<int64_t>(v[1]) && bitOf(v[0], n - static_cast<int>(v[1])))
              result |= uint64_t{1} << n;
          return result;
        }));
      cases.push_back(simple("shr" + type, registers, values, [=](In v) {
        uint64_t result = 0;
        bool sign = kind == 's' && bitOf(v[0], bits - 1);
        for (int n = 0; n < bits; ++n) {
          uint64_t from = static_cast<uint64_t>(n) + v[1];
          bool set =
              from < static_cast<uint64_t>(bits) ? bitOf(v[0], static_cast<int>(from)) : sign;
          result |= uint64_t{set} << n;
        }
        return result;
      }));
    }
  for (bool left : {false, true})
    for (bool wrap : {false, true})
      cases.push_back(
          simple(std::string("shf.") + (left ? "l" : "r") + (wrap ? ".wrap" : ".clamp") + ".b32",
                 "r=rrr", {few(32), few(32), shiftAmounts()}, [=](In v) {
                   uint64_t n = wrap ? v[2] & 31 : v[2] < 32 ? v[2] : 32, result = 0;
                   for (int k = 0; k < 32; ++k) {
                     // Bit k of the result in the pair b:a.
                     auto from = static_cast<int>(left ? 32 + static_cast<uint64_t>(k) - n
                                                       : static_cast<uint64_t>(k) + n);
                     bool set = from < 32 ? bitOf(v[0], from) : bitOf(v[1], from - 32);
                     result |= uint64_t{set} << k;
                   }
                   return result;
                 }));
}

void addCounts(std::vector<Case> &cases) {
  for (int bits : {32, 64}) {
    std::string type = ".b" + std::to_string(bits), narrow{'r', '=', letterOf(bits)};
    cases.push_back(simple("popc" + type, narrow, {wholeNumbers(bits)}, [=](In v) {
      uint64_t count = 0;
      for (int n = 0; n < bits; ++n)
        count += bitOf(v[0], n);
      return count;
    }));
    cases.push_back(simple("clz" + type, narrow, {wholeNumbers(bits)}, [=](In v) {
      int n = 0;
      while (n < bits && !bitOf(v[0], bits - 1 - n))
        ++n;
      return static_cast<uint64_t>(n);
    }));
    cases.push_back(simple("brev" + type, {letterOf(bits), '=', letterOf(bits)},
                           {wholeNumbers(bits)}, [=](In v) {
                             uint64_t result = 0;
                             for (int n = 0; n < bits; ++n)
                               result |= uint64_t{bitOf(v[0], n)} << (bits - 1 - n);
                             return result;
                           }));
    for (bool isSigned : {false, true})
      for (bool shift : {false, true})
        cases.push_back(simple(std::string("bfind") + (shift ? ".shiftamt" : "") +
                                   (isSigned ? ".s" : ".u") + std::to_string(bits),
                               narrow, {wholeNumbers(bits)}, [=](In v) {
                                 uint64_t a = isSigned && bitOf(v[0], bits - 1) ? ~v[0] : v[0];
                                 uint64_t d = 0xFFFFFFFFu;
                                 for (int n = bits - 1; n >= 0 && d == 0xFFFFFFFFu; --n)
                                   if (bitOf(a, n))
                                     d = static_cast<uint64_t>(n);
                                 bool found = d != 0xFFFFFFFFu;
                                 return shift && found ? static_cast<uint64_t>(bits - 1) - d : d;
                               }));
  }
  cases.push_back(simple(
      "fns.b32", "r=rrr",
      {few(32), {0, 1, 7, 16, 31}, {0, 1, 2, 5, 31, 32, 0xFFFFFFFFu, 0xFFFFFFFEu, 0x80000000u}},
      [](In v) -> uint64_t {
        auto offset = static_cast<int32_t>(v[2]);
        if (offset == 0)
          return bitOf(v[0], static_cast<int>(v[1])) ? v[1] : 0xFFFFFFFFu;
        int64_t left = offset < 0 ? -int64_t{offset} : offset;
        for (auto at = static_cast<int64_t>(v[1]); at >= 0 && at < 32; at += offset < 0 ? -1 : 1)
          if (bitOf(v[0], static_cast<int>(at)) && --left == 0)
            return static_cast<uint64_t>(at);
        return 0xFFFFFFFFu;
      }));
}

void addFields(std::vector<Case> &cases) {
  for (int bits : {32, 64}) {
    char letter = letterOf(bits);
    for (bool isSigned : {false, true})
      cases.push_back(simple(
          std::string("bfe") + (isSigned ? ".s" : ".u") + std::to_string(bits),
          {letter, '=', letter, 'r', 'r'}, {few(bits), shiftAmounts(), shiftAmounts()}, [=](In v) {
            int pos = v[1] & 0xFF, length = v[2] & 0xFF, msb = bits - 1;
            bool sign = isSigned && length != 0 && bitOf(v[0], std::min(pos + length - 1, msb));
            uint64_t d = 0;
            for (int n = 0; n <= msb; ++n) {
              bool set = n < length && pos + n <= msb ? bitOf(v[0], pos + n) : sign;
              d |= uint64_t{set} << n;
            }
            return d;
          }));
    cases.push_back(simple("bfi.b" + std::to_string(bits), {letter, '=', letter, letter, 'r', 'r'},
                           {few(bits), few(bits), shiftAmounts(), shiftAmounts()}, [=](In v) {
                             int pos = v[2] & 0xFF, length = v[3] & 0xFF;
                             uint64_t f = v[1];
                             for (int n = 0; n < length && pos + n < bits; ++n) {
                               f &= ~(uint64_t{1} << (pos + n));
                               f |= uint64_t{bitOf(v[0], n)} << (pos + n);
                             }
                             return f;
                           }));
  }
}

uint64_t mask(bool clamp, uint64_t a, uint64_t b) {
  if (clamp && a >= 32)
    return 0;
  uint64_t start = a & 31, width = clamp ? std::min<uint64_t>(b, 32) : b & 31, result = 0;
  for (uint64_t n = start; n < start + width && n < 32; ++n)
    result |= uint64_t{1} << n;
  return result;
}
void addMasks(std::vector<Case> &cases) {
  for (bool clamp : {false, true}) {
    std::string mode = clamp ? ".clamp" : ".wrap";
    cases.push_back(simple("bmsk" + mode + ".b32", "r=rr", {shiftAmounts(), shiftAmounts()},
                           [=](In v) { return mask(clamp, v[0], v[1]); }));
    for (bool isSigned : {false, true})
      cases.push_back(simple("szext" + mode + (isSigned ? ".s32" : ".u32"), "r=rr",
                             {wholeNumbers(32), shiftAmounts()}, [=](In v) {
                               uint64_t width = clamp ? std::min<uint64_t>(v[1], 32) : v[1] & 31;
                               if (width == 0)
                                 return uint64_t{0};
                               uint64_t low = v[0] & ones(static_cast<int>(width));
                               bool sign = isSigned && bitOf(low, static_cast<int>(width) - 1);
                               return sign ? low | ~ones(static_cast<int>(width)) : low;
                             }));
  }
}

} // namespace

std::vector<Case> bitCases() {
  std::vector<Case> cases;
  addLogic(cases);
  addLop3(cases);
  addShifts(cases);
  addCounts(cases);
  addFields(cases);
  addMasks(cases);
  return cases;
}

namespace {
TEST(Instructions, LogicShiftsAndBitFields) { runCases(bitCases()); }
} // namespace
} // namespace platen::ptxsim::testing
