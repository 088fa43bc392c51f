// Conversions between the generic address space and the others, and between blocks of a cluster.
#include "tools/ptxsim/core/forms_memory.h"

namespace platen::ptxsim {
namespace {

uint64_t windowOf(const Instruction &i) {
  using L = Lowering;
  return L::has(i, "shared") || L::has(i, "shared::cta") || L::has(i, "shared::cluster")
             ? kSharedWindow
         : L::has(i, "local")                              ? kLocalWindow
         : L::has(i, "param") || L::has(i, "param::entry") ? kParamWindow
                                                           : 0;
}

template <uint64_t kWindow> struct ToGeneric {
  uint64_t operator()(uint64_t a) const { return a | kWindow; }
};
template <uint64_t kWindow> struct FromGeneric {
  uint64_t operator()(uint64_t a) const { return (a & kWindowMask) == kWindow ? a ^ kWindow : a; }
};

template <uint64_t kWindow> bool lower(Lowering &l, const Instruction &i) {
  if (Lowering::has(i, "to"))
    return l.map<uint64_t, uint64_t>(i, FromGeneric<kWindow>{});
  return l.map<uint64_t, uint64_t>(i, ToGeneric<kWindow>{});
}

/// variant: 0 global, 1 shared::cta, 2 shared::cluster, 3 local, 4 param, 5 const.
void runIsSpace(Warp &warp, const Op &op, uint32_t mask) {
  const auto *address = warp.lanes<uint64_t>(op.r[1]);
  uint32_t result = 0;
  for (uint32_t l = 0; l < 32; ++l) {
    uint64_t window = address[l] & kWindowMask;
    uint64_t rank = (address[l] & ~kWindowMask) >> kRankShift;
    bool own = rank == 0 || rank - 1 == warp.block->rank;
    bool is = op.variant == 1   ? window == kSharedWindow && own
              : op.variant == 2 ? window == kSharedWindow
              : op.variant == 3 ? window == kLocalWindow
              : op.variant == 4 ? window == kParamWindow
              : op.variant == 5 ? false // constants lie in global memory here
                                : window == 0;
    result |= is ? 1u << l : 0;
  }
  warp.setPredicate(op.r[0], result, mask);
}

/// The address of the same variable in block `rank` of the cluster.
struct Map {
  static constexpr uint64_t kOffset = (1u << kRankShift) - 1;
  template <class T> static T of(T address, uint32_t rank) {
    return (address & static_cast<T>(kOffset | kWindowMask)) | static_cast<T>(T{rank} + 1)
                                                                   << kRankShift;
  }
};

template <class T> void runRank(Warp &warp, const Op &op, uint32_t mask) {
  const auto *address = warp.lanes<T>(op.r[1]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l) {
      auto rank = static_cast<uint32_t>((uint64_t{address[l]} & ~kWindowMask) >> kRankShift);
      target[l] = rank == 0 ? warp.block->rank : rank - 1;
    }
}

} // namespace

bool lowerCvta(Lowering &l, const Instruction &i) {
  if (Lowering::type(i) != Type::kU64)
    return l.refuse("only 64-bit addresses are executed");
  switch (windowOf(i)) {
  case kSharedWindow:
    return lower<kSharedWindow>(l, i);
  case kLocalWindow:
    return lower<kLocalWindow>(l, i);
  case kParamWindow:
    return lower<kParamWindow>(l, i);
  default:
    return lower<0>(l, i);
  }
}

bool lowerIsSpace(Lowering &l, const Instruction &i) {
  using L = Lowering;
  uint32_t target = 0;
  bool negated = false;
  Place address;
  if (!l.operands(i, 2, 2) || !l.predicate(i.operands[0], target, negated) ||
      !l.source(i.operands[1], true, address))
    return false;
  Op &op = l.emit(&runIsSpace);
  op.r[0] = target, op.r[1] = address.offset;
  op.variant = L::has(i, "shared") || L::has(i, "shared::cta")   ? 1
               : L::has(i, "shared::cluster")                    ? 2
               : L::has(i, "local")                              ? 3
               : L::has(i, "param") || L::has(i, "param::entry") ? 4
               : L::has(i, "const")                              ? 5
                                                                 : 0;
  return true;
}

bool lowerMapa(Lowering &l, const Instruction &i) {
  if (Lowering::type(i) == Type::kU64)
    return l.map<uint64_t, uint64_t, uint32_t>(
        i, [](uint64_t a, uint32_t rank) { return Map::of(a, rank); });
  return l.map<uint32_t, uint32_t, uint32_t>(
      i, [](uint32_t a, uint32_t rank) { return Map::of(a, rank); });
}

bool lowerRank(Lowering &l, const Instruction &i) {
  bool wide = Lowering::type(i) == Type::kU64;
  Place target, address;
  if (!l.operands(i, 2, 2) || !l.destination(i.operands[0], target) ||
      !l.source(i.operands[1], wide, address))
    return false;
  Op &op = l.emit(wide ? &runRank<uint64_t> : &runRank<uint32_t>);
  op.r[0] = target.offset, op.r[1] = address.offset;
  return true;
}

} // namespace platen::ptxsim
