// Running instructions one by one: a table row says the opcode, the registers, the values to try
// and what must come out; a small kernel for each row executes it, once for all lanes and once for
// every other lane only.
#pragma once

#include "tools/ptxsim/core/instructions_exact.h"

#include <functional>
#include <string>
#include <vector>

namespace platen::ptxsim::testing {

using Values = std::vector<uint64_t>;

/// One instruction form. registers: results, '=', sources; each register is a letter: b h r d for
/// 8, 16, 32 and 64 bits, p for a predicate; '|' and '{}' as in PTX. E.g. "r|p=rrrp", "{hh}=r".
struct Case {
  std::string opcode, registers;
  std::vector<Values> sources;
  /// Writes the results, in the order of the registers.
  std::function<void(const uint64_t *in, uint64_t *out)> expected;
  std::string tail; // more operands, such as ", 0x6C"
  /// Instead of `expected`: whether `got` is right.
  std::function<bool(const uint64_t *in, const uint64_t *got)> accepts;
  /// Instead of one instruction: text with results o0, o1 … and sources i0, i1 …
  std::string text;
  int before = 0;        // sources that `tail` precedes; 0: none
  bool together = false; // the nth values of all sources go together, instead of every combination
};

/// A row whose only result is a function of the sources.
Case simple(std::string opcode, std::string registers, std::vector<Values> sources,
            std::function<uint64_t(const uint64_t *in)> expected, std::string tail = {});

/// Runs every row in the simulator and compares.
void runCases(const std::vector<Case> &cases);
/// The PTX module of the rows: kernel k0 for the first …
std::string moduleText(const std::vector<Case> &cases);

// Each test file's rows.
std::vector<Case> integerCases();
std::vector<Case> bitCases();
std::vector<Case> compareCases();
std::vector<Case> floatCases();
std::vector<Case> halfCases();
std::vector<Case> approximateCases();
std::vector<Case> convertCases();
std::vector<Case> moveCases();
/// Opcodes that the tests of warp-level instructions execute.
std::vector<std::string> warpOpcodes();

// Values worth trying.
Values wholeNumbers(int bits);          // around 0, the limits and powers of two
Values few(int bits);                   // the most telling of them
Values shiftAmounts();                  // 0 … 300
Values floats(const Binary &format);    // zeros, ones, limits, subnormals, infinities, NaNs, ties
Values fewFloats(const Binary &format); // the most telling of them
inline const Values kFlags{0, 1};

/// A type of integers by its PTX name, e.g. "s16".
struct Integer {
  std::string name;
  int bits;
  bool isSigned;
  char letter() const { return bits <= 16 ? 'h' : bits == 32 ? 'r' : 'd'; }
  __int128 value(uint64_t raw) const {
    uint64_t low = bits == 64 ? raw : raw & ((uint64_t{1} << bits) - 1);
    bool negative = isSigned && low >> (bits - 1) & 1;
    return negative ? static_cast<__int128>(low) - (static_cast<__int128>(1) << bits)
                    : static_cast<__int128>(low);
  }
  uint64_t raw(__int128 v) const {
    auto low = static_cast<uint64_t>(static_cast<unsigned __int128>(v));
    return bits == 64 ? low : low & ((uint64_t{1} << bits) - 1);
  }
  __int128 least() const { return isSigned ? -(static_cast<__int128>(1) << (bits - 1)) : 0; }
  __int128 most() const { return (static_cast<__int128>(1) << (isSigned ? bits - 1 : bits)) - 1; }
  __int128 clamped(__int128 v) const { return v < least() ? least() : v > most() ? most() : v; }
};
inline const std::vector<Integer> kIntegers{{"u16", 16, false}, {"s16", 16, true},
                                            {"u32", 32, false}, {"s32", 32, true},
                                            {"u64", 64, false}, {"s64", 64, true}};

/// A floating-point type by its PTX name.
struct Floating {
  std::string name;
  Binary format;
  char letter;
};
inline const Floating kF16{"f16", kBinary16, 'h'}, kBf16{"bf16", kBfloat16, 'h'},
    kF32{"f32", kBinary32, 'r'}, kF64{"f64", kBinary64, 'd'};

/// A zero of the same sign where `bits` is subnormal.
inline uint64_t flushed(uint64_t bits, const Binary &format) {
  uint64_t exponent = (format.signBit() - 1) & ~((uint64_t{1} << format.mantissaBits) - 1);
  return bits & exponent ? bits : bits & format.signBit();
}
inline bool isNan(uint64_t bits, const Binary &format) { return unpack(bits, format).isNan; }

struct Rounding {
  std::string suffix;
  Round mode;
};
inline const std::vector<Rounding> kRoundings{
    {".rn", Round::kNearest}, {".rz", Round::kZero}, {".rm", Round::kDown}, {".rp", Round::kUp}};

} // namespace platen::ptxsim::testing
