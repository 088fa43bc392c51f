// What the tables of scalar forms (integer, float, convert, warp) share: reading the suffixes of an
// opcode so that none is ignored, emitting a per-lane operation between known slots, and predicates
// as masks.
#pragma once

#include "tools/ptxsim/core/lowering.h"
#include "tools/ptxsim/core/machine.h"

#include <array>
#include <initializer_list>

namespace platen::ptxsim {

/// The suffixes of one opcode. Lowering functions take the ones they know; understood() refuses the
/// instruction, by name, if one is left over.
class Suffixes {
public:
  Suffixes(Lowering &lowering, const Instruction &i) : lowering_(lowering), parts_(i.parts) {}
  /// Whether `.name` stands there and was not taken before; takes it.
  bool take(std::string_view name) { return !takeOneOf({name}).empty(); }
  /// The first suffix not yet taken that is one of `names`; empty if there is none.
  std::string_view takeOneOf(std::initializer_list<std::string_view> names) {
    for (size_t n = 1; n < parts_.size(); ++n)
      if (n >= 64 || !(taken_ >> n & 1))
        for (std::string_view name : names)
          if (n < 64 && parts_[n] == name) {
            taken_ |= uint64_t{1} << n;
            return name;
          }
    return {};
  }
  /// The first fundamental type not yet taken.
  Type takeType() {
    for (size_t n = 1; n < parts_.size() && n < 64; ++n)
      if (Type type = ptx::typeFromName(parts_[n]); type != Type::kNone && !(taken_ >> n & 1)) {
        taken_ |= uint64_t{1} << n;
        return type;
      }
    return Type::kNone;
  }
  /// 0 rn (or none), 1 rz, 2 rm, 3 rp; -1 where there is none and `needed`.
  int takeRounding(bool needed) {
    std::string_view mode = takeOneOf({"rn", "rz", "rm", "rp"});
    hasRounding = !mode.empty();
    return mode.empty()   ? (needed ? -1 : 0)
           : mode == "rz" ? 1
           : mode == "rm" ? 2
           : mode == "rp" ? 3
                          : 0;
  }
  bool hasRounding = false;
  /// All suffixes were taken; otherwise the instruction is refused.
  bool understood() {
    for (size_t n = 1; n < parts_.size(); ++n)
      if (n >= 64 || !(taken_ >> n & 1))
        return lowering_.refuse("suffix '." + std::string(parts_[n]) + "' does not fit '" +
                                std::string(parts_[0]) + "' here");
    return true;
  }

private:
  Lowering &lowering_;
  const std::vector<std::string_view> &parts_;
  uint64_t taken_ = 0;
};

/// Operand 0 = f(sources), for lowerings that place their operands themselves.
template <class R, class... A, class F>
Op &emitMapped(Lowering &lowering, F, uint32_t target,
               const std::array<uint32_t, sizeof...(A)> &sources, int rounding = 0) {
  Op &op = lowering.emit(&Mapped<F, R, A...>::run);
  op.r[0] = target;
  for (size_t n = 0; n < sizeof...(A); ++n)
    op.r[n + 1] = sources[n];
  if (rounding > 0) {
    op.inner = op.run;
    op.run = &runRounded;
    op.variant = static_cast<uint8_t>(rounding);
  }
  return op;
}

/// Bit l of the result is the lowest bit of m[l]; every m[l] is 0 or ~0.
inline uint32_t packMask(const uint32_t *m) {
  uint32_t bits = 0;
  for (int part = 0; part < 4; ++part) {
    __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i *>(m + part * 8));
    bits |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(v))) << (part * 8);
  }
  return bits;
}

/// Calls f for a 32- or 64-bit .u or .s type, refuses the others.
template <class F> bool withWord(Lowering &l, Type type, F f) {
  switch (type) {
  case Type::kU32:
    return f(uint32_t{});
  case Type::kS32:
    return f(int32_t{});
  case Type::kU64:
    return f(uint64_t{});
  case Type::kS64:
    return f(int64_t{});
  default:
    return l.refuse("it takes .u32, .s32, .u64 and .s64");
  }
}

/// A predicate source as the lanes see it: offset and ~0 where it is negated.
struct PredicateSource {
  uint32_t offset = 0, flip = 0;
};
inline bool predicateSource(Lowering &lowering, const Operand &operand, PredicateSource &source) {
  bool negated = false;
  if (!lowering.predicate(operand, source.offset, negated))
    return false;
  source.flip = negated ? ~0u : 0;
  return true;
}
/// A predicate destination; `_` is a slot that nobody reads.
inline bool predicateTarget(Lowering &lowering, const Operand &operand, uint32_t &offset) {
  bool negated = false;
  if (operand.kind != Operand::Kind::kName || operand.negated)
    return lowering.refuse("the result is no predicate");
  return lowering.predicate(operand, offset, negated);
}

/// Whether a suffix names a floating-point type: opcodes such as add serve both kinds.
bool hasFloatType(const Instruction &i);

// Opcodes that several tables' files share; each is defined in the file named.
bool lowerFloatBinary(Lowering &l, const Instruction &i); // forms_float.cpp: add sub mul
bool lowerFma(Lowering &l, const Instruction &i);
bool lowerFloatDivide(Lowering &l, const Instruction &i);  // forms_approximate.cpp
bool lowerFloatSign(Lowering &l, const Instruction &i);    // abs neg
bool lowerFloatExtreme(Lowering &l, const Instruction &i); // min max
bool lowerHalfBinary(Lowering &l, const Instruction &i);   // forms_half.cpp
bool lowerHalfFma(Lowering &l, const Instruction &i);
bool lowerHalfUnary(Lowering &l, const Instruction &i); // abs neg tanh ex2
bool lowerHalfExtreme(Lowering &l, const Instruction &i);
std::span<const Form> bitForms();         // forms_bits.cpp: logic, shifts, bit fields, bytes
std::span<const Form> comparisonForms();  // forms_compare.cpp: set setp selp slct testp
std::span<const Form> approximateForms(); // forms_approximate.cpp
std::span<const Form> moveForms();        // forms_move.cpp: mov, prmt

} // namespace platen::ptxsim
