// Lowering: one PTX instruction to one Op (a few to two or three), by tables of forms.
//
// A form is a row: base opcode, the function that lowers it, the pipe it counts for. A lowering
// function returns false after refuse(); what it refuses is reported by name when the module loads.
// Per-lane meaning is written once, as a lambda on values: map<R, A…>() makes a handler of it that
// runs it over 32 lanes (the compiler vectorises it).
#pragma once

#include "tools/ptxsim/core/machine.h"
#include "tools/ptxsim/core/program.h"
#include "tools/ptxsim/core/values.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace platen::ptxsim {

using ptx::Instruction;
using ptx::Operand;
using ptx::Space;
using ptx::Type;

class Lowering;
struct Form {
  std::string_view opcode;
  bool (*lower)(Lowering &, const Instruction &);
  Pipe pipe;
};
std::span<const Form> integerForms();
std::span<const Form> floatForms();
std::span<const Form> convertForms();
std::span<const Form> memoryForms();
std::span<const Form> controlForms();
std::span<const Form> warpForms();
std::span<const Form> matrixForms();
std::span<const Form> asyncForms();

/// Where an operand lies: offset of its slot, and how wide its lanes are.
struct Place {
  uint32_t offset = 0;
  bool wide = false;
  bool isPredicate = false;
  uint8_t bits = 0; // of a declared register; 0: a constant or a special register
};

class Lowering {
public:
  Lowering(const Program &program, const ptx::Function &function, Code &code);
  void lowerFunction();

  bool refuse(std::string why);
  /// Whether the opcode has the suffix `.name`.
  static bool has(const Instruction &i, std::string_view name) {
    return std::find(i.parts.begin() + 1, i.parts.end(), name) != i.parts.end();
  }
  /// The nth type among the suffixes (0: the first), kNone past the end.
  static Type type(const Instruction &i, int nth = 0);
  bool operands(const Instruction &i, size_t least, size_t most);

  /// Slot of a source; immediates and addresses of variables become constants of the lane width.
  bool source(const Operand &operand, bool wide, Place &place, Type immediate = Type::kNone);
  bool destination(const Operand &operand, Place &place, bool wideSink = false);
  /// The slots of the low and the high 64 bits of a 128-bit register.
  bool quad(const Operand &operand, uint32_t (&halves)[2], bool isDestination);
  bool predicate(const Operand &operand, uint32_t &offset, bool &negated);
  /// Whether the operand names a predicate register.
  bool isPredicate(const Operand &operand);
  uint32_t constant(uint64_t bits, bool wide);
  uint32_t scratch(bool wide) { return allocate(wide ? 256 : 128); }
  /// Whether the operand names a register or a special register, and where it lies.
  bool isRegister(const Operand &operand, Place &place) {
    return operand.kind == Operand::Kind::kName &&
           (findRegister(operand.name, place) || (!refused_ && special(operand.name, place)));
  }
  /// The condition code's carry flag, a predicate.
  uint32_t carry() { return carry_ != 0 ? carry_ : carry_ = scratch(false); }
  Op &emit(Handler handler, Pipe pipe);
  Op &emit(Handler handler) { return emit(handler, pipe_); }
  /// Resolves the address operand into r[slot], immediate, wideAddress; space may become kLocal.
  bool address(const Operand &operand, Op &op, int slot);
  /// Operand 0 = f(operand 1, …): R and A… are value types (values.h).
  template <class R, class... A, class F> bool map(const Instruction &i, F f, bool rounded = false);
  bool branch(const Instruction &i, std::string_view label, bool negated);
  bool label(std::string_view name, uint32_t scope, uint32_t &instruction);
  bool call(const Instruction &i);
  void ret();
  Code &code() { return code_; }
  const ptx::Function &function() const { return *frame_->function; }
  void fixUp(size_t list) { frame_->listFixes.push_back(list); }

private:
  struct Frame {
    const ptx::Function *function;
    std::unordered_map<std::string, Place> registers;
    std::unordered_map<std::string, std::pair<Space, uint64_t>> variables; // offset in the space
    std::vector<uint32_t> opOf;    // first op of each instruction
    std::vector<size_t> fixes;     // ops whose target is an instruction index
    std::vector<size_t> listFixes; // list entries that are instruction indices
    uint32_t depth = 0;
  };
  uint32_t allocate(uint32_t bytes);
  bool findRegister(std::string_view name, Place &place);
  bool findVariable(std::string_view name, Space &space, uint64_t &value, bool &isGlobal);
  bool special(std::string_view name, Place &place);
  void layOut(Frame &frame, bool isEntry);
  void lowerBody(Frame &frame);
  void lowerOne(const Instruction &i);
  bool bindCall(const Instruction &i, const ptx::Function &callee, Frame &inner);

  const Program &program_;
  Code &code_;
  Frame root_;
  Frame *frame_ = nullptr;
  const Instruction *current_ = nullptr;
  uint32_t text_ = 0, calls_ = 0;
  uint32_t alwaysTrue_ = 0, guard_ = 0, guardXor_ = 0, carry_ = 0;
  Pipe pipe_ = Pipe::kAlu;
  bool refused_ = false, takesQuads_ = false;
  std::unordered_map<std::string, uint32_t> constants_;
  std::unordered_map<uint32_t, Place> specials_;
};

template <class F, class R, class... A> struct Mapped {
  template <size_t... I>
  static void over(Warp &warp, const Op &op, uint32_t mask, std::index_sequence<I...>) {
    auto *target = warp.lanes<Lane<R>>(op.r[0]);
    std::tuple<const Lane<A> *...> s{warp.lanes<Lane<A>>(op.r[I + 1])...};
    if (mask == ~0u) {
#ifndef __clang__ // which does not know it
#pragma GCC ivdep
#endif
      for (int l = 0; l < 32; ++l)
        target[l] = give<R>(F{}(take<A>(std::get<I>(s)[l])...));
      return;
    }
    alignas(64) Lane<R> result[32];
    for (int l = 0; l < 32; ++l)
      result[l] = give<R>(F{}(take<A>(std::get<I>(s)[l])...));
    for (int l = 0; l < 32; ++l)
      target[l] = mask >> l & 1 ? result[l] : target[l];
  }
  static void run(Warp &warp, const Op &op, uint32_t mask) {
    over(warp, op, mask, std::index_sequence_for<A...>());
  }
};

/// Calls op.inner under another rounding mode: variant is 1 rz, 2 rm, 3 rp.
void runRounded(Warp &warp, const Op &op, uint32_t mask);
uint8_t roundingOf(const Instruction &i); // 0 rn

template <class R, class... A, class F> bool Lowering::map(const Instruction &i, F, bool rounded) {
  if (!operands(i, sizeof...(A) + 1, sizeof...(A) + 1))
    return false;
  Place target, places[sizeof...(A)];
  constexpr bool wide[] = {sizeof(Lane<A>) == 8 ...};
  constexpr bool single[] = {std::is_same_v<A, float>...};
  for (size_t n = 0; n < sizeof...(A); ++n)
    if (!source(i.operands[n + 1], wide[n], places[n], single[n] ? Type::kF32 : Type::kNone))
      return false;
  if (!destination(i.operands[0], target, sizeof(Lane<R>) == 8))
    return false;
  if (target.wide != (sizeof(Lane<R>) == 8) || target.isPredicate)
    return refuse("the result register has another width");
  Op &op = emit(&Mapped<F, R, A...>::run);
  op.r[0] = target.offset;
  for (size_t n = 0; n < sizeof...(A); ++n)
    op.r[n + 1] = places[n].offset;
  if (uint8_t mode = rounded ? roundingOf(i) : 0; mode != 0) {
    op.inner = op.run;
    op.run = &runRounded;
    op.variant = mode;
  }
  return true;
}

/// Calls f(T{}) for the integer type that `type` names (.b is unsigned).
template <class F> bool withInteger(Lowering &lowering, Type type, F f) {
  switch (type) {
  case Type::kB16:
  case Type::kU16:
    return f(uint16_t{});
  case Type::kS16:
    return f(int16_t{});
  case Type::kB32:
  case Type::kU32:
    return f(uint32_t{});
  case Type::kS32:
    return f(int32_t{});
  case Type::kB64:
  case Type::kU64:
    return f(uint64_t{});
  case Type::kS64:
    return f(int64_t{});
  default:
    return lowering.refuse("no integer type that this instruction takes");
  }
}

} // namespace platen::ptxsim
