// What the lanes of a warp do together: shfl.sync vote.sync match.sync redux.sync activemask
// (elect: forms_control.cpp).
//
// Every lane names the participants. Lanes that name the same ones are a team; one instruction may
// serve several teams. A team waits for its members (gather()); a lane that is no member of its own
// team is a violation. What the ISA leaves undefined, reading from a lane outside the team, gives
// all ones: a NaN and a bad address.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

/// The lanes of `mask` that name the same participants as the lowest of them.
uint32_t firstTeam(const uint32_t *members, uint32_t mask) {
  uint32_t wanted = members[std::countr_zero(mask)], team = 0;
  for (uint32_t l = 0; l < 32; ++l)
    team |= uint32_t{members[l] == wanted} << l;
  return team & mask;
}
/// Whether every team is complete (else the handler returns and is called again).
bool teamsAreHere(Warp &warp, const Op &op, uint32_t mask, const uint32_t *members) {
  for (uint32_t left = mask; left != 0;) {
    uint32_t team = firstTeam(members, left);
    auto lane = static_cast<uint32_t>(std::countr_zero(left));
    uint32_t named = members[lane];
    left &= ~team;
    if (team & ~named)
      stop(ViolationKind::kIllegalInstruction,
           "the lane is not among the participants that it names (" + hexOf(named) + ")",
           static_cast<uint32_t>(std::countr_zero(team & ~named)));
    if (!gather(warp, op, mask, named))
      return false;
    if (uint32_t others = named & warp.live & mask & ~team; others != 0)
      stop(ViolationKind::kIllegalInstruction,
           "lanes that are to work together name different participants (" + hexOf(named) +
               " and " + hexOf(members[std::countr_zero(others)]) + ")",
           lane);
  }
  return true;
}
template <class F> void eachTeam(const uint32_t *members, uint32_t mask, F f) {
  for (uint32_t left = mask; left != 0;) {
    uint32_t team = firstTeam(members, left);
    left &= ~team;
    f(team);
  }
}
template <class F> void eachLane(uint32_t lanes, F f) {
  for (; lanes != 0; lanes &= lanes - 1)
    f(static_cast<uint32_t>(std::countr_zero(lanes)));
}
/// Gives the lanes of `team` the same value.
void broadcast(Warp &warp, uint32_t slot, uint32_t team, uint32_t value) {
  auto *target = warp.lanes<uint32_t>(slot);
  eachLane(team, [&](uint32_t l) { target[l] = value; });
}

enum ShuffleMode : uint8_t { kUp, kDown, kButterfly, kIndex };
/// r[1] value, r[2] lane or distance, r[3] clamp and segment mask, r[4] participants; r[5] the
/// predicate where op.count is 1.
void runShuffle(Warp &warp, const Op &op, uint32_t mask) {
  const auto *members = warp.lanes<uint32_t>(op.r[4]);
  if (!teamsAreHere(warp, op, mask, members))
    return;
  const auto *a = warp.lanes<uint32_t>(op.r[1]), *b = warp.lanes<uint32_t>(op.r[2]),
             *c = warp.lanes<uint32_t>(op.r[3]);
  alignas(64) uint32_t result[32];
  uint32_t inRange = 0;
  for (uint32_t l = 0; l < 32; ++l) {
    uint32_t distance = b[l] & 31, clamp = c[l] & 31, segment = c[l] >> 8 & 31;
    uint32_t highest = (l & segment) | (clamp & ~segment), lowest = l & segment;
    auto from = static_cast<int32_t>(op.variant == kUp          ? l - distance
                                     : op.variant == kDown      ? l + distance
                                     : op.variant == kButterfly ? l ^ distance
                                                                : lowest | (distance & ~segment));
    auto bound = static_cast<int32_t>(highest);
    bool fits = op.variant == kUp ? from >= bound : from <= bound;
    from = fits ? from & 31 : static_cast<int32_t>(l);
    bool isMember = mask >> from & 1 && members[l] >> from & 1;
    result[l] = isMember ? a[from] : ~0u;
    inRange |= uint32_t{fits} << l;
  }
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (uint32_t l = 0; l < 32; ++l)
    target[l] = mask >> l & 1 ? result[l] : target[l];
  if (op.count != 0)
    warp.setPredicate(op.r[5], inRange, mask);
}

/// The value of a destination d or d|p. Without a predicate `p` stays 0 and hasPredicate false.
bool targets(Lowering &l, const Operand &operand, uint32_t &d, uint32_t &p, bool &hasPredicate) {
  hasPredicate = operand.kind == Operand::Kind::kPair;
  Place target;
  if (!l.destination(hasPredicate ? operand.elements[0] : operand, target) ||
      (hasPredicate && !predicateTarget(l, operand.elements[1], p)))
    return false;
  if (target.wide || target.isPredicate)
    return l.refuse("the result register has another width");
  d = target.offset;
  return true;
}
bool narrowSource(Lowering &l, const Operand &operand, uint32_t &offset, Type type = Type::kNone) {
  Place place;
  if (!l.source(operand, false, place, type))
    return false;
  offset = place.offset;
  return true;
}

bool lowerShuffle(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (!s.take("sync"))
    return l.refuse("shfl without .sync is not executed");
  std::string_view mode = s.takeOneOf({"up", "down", "bfly", "idx"});
  if (mode.empty() || !s.take("b32"))
    return l.refuse("it needs .up, .down, .bfly or .idx, and .b32");
  uint32_t slots[4], d = 0, p = 0;
  bool hasPredicate = false;
  if (!s.understood() || !l.operands(i, 5, 5) || !targets(l, i.operands[0], d, p, hasPredicate))
    return false;
  for (size_t n = 0; n < 4; ++n)
    if (!narrowSource(l, i.operands[n + 1], slots[n]))
      return false;
  Op &op = l.emit(&runShuffle);
  op.r[0] = d, op.r[5] = p, op.count = hasPredicate;
  std::copy(std::begin(slots), std::end(slots), op.r + 1);
  op.variant = mode == "up" ? kUp : mode == "down" ? kDown : mode == "bfly" ? kButterfly : kIndex;
  return true;
}

enum VoteMode : uint8_t { kAll, kAny, kUniform, kBallot };
/// r[1] the predicate (flipped by `target`), r[4] participants.
void runVote(Warp &warp, const Op &op, uint32_t mask) {
  const auto *members = warp.lanes<uint32_t>(op.r[4]);
  if (!teamsAreHere(warp, op, mask, members))
    return;
  uint32_t votes = warp.predicate(op.r[1]) ^ op.target;
  eachTeam(members, mask, [&](uint32_t team) {
    uint32_t yes = votes & team;
    if (op.variant == kBallot)
      return broadcast(warp, op.r[0], team, yes);
    bool result = op.variant == kAll   ? yes == team
                  : op.variant == kAny ? yes != 0
                                       : yes == 0 || yes == team;
    warp.setPredicate(op.r[0], result ? ~0u : 0, team);
  });
}
bool lowerVote(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (!s.take("sync"))
    return l.refuse("vote without .sync is not executed");
  std::string_view mode = s.takeOneOf({"all", "any", "uni", "ballot"});
  bool isBallot = mode == "ballot";
  if (mode.empty() || !s.take(isBallot ? "b32" : "pred"))
    return l.refuse("it needs .all.pred, .any.pred, .uni.pred or .ballot.b32");
  PredicateSource source;
  uint32_t members = 0, target = 0, unused = 0;
  bool hasPredicate = false;
  if (!s.understood() || !l.operands(i, 3, 3) ||
      !(isBallot ? targets(l, i.operands[0], target, unused, hasPredicate)
                 : predicateTarget(l, i.operands[0], target)) ||
      !predicateSource(l, i.operands[1], source) || !narrowSource(l, i.operands[2], members))
    return false;
  if (hasPredicate)
    return l.refuse("the ballot has one result");
  Op &op = l.emit(&runVote);
  op.r[0] = target, op.r[1] = source.offset, op.target = source.flip, op.r[4] = members;
  op.variant = mode == "all" ? kAll : mode == "any" ? kAny : mode == "uni" ? kUniform : kBallot;
  return true;
}

/// r[1] value, r[4] participants, r[5] the predicate where op.count is 1; variant 1: all.
template <class L> void runMatch(Warp &warp, const Op &op, uint32_t mask) {
  const auto *members = warp.lanes<uint32_t>(op.r[4]);
  if (!teamsAreHere(warp, op, mask, members))
    return;
  alignas(64) L a[32];
  std::copy_n(warp.lanes<L>(op.r[1]), 32, a); // the result may lie in the same register
  eachTeam(members, mask, [&](uint32_t team) {
    auto matching = [&](uint32_t lane) {
      uint32_t same = 0;
      for (uint32_t l = 0; l < 32; ++l)
        same |= uint32_t{a[l] == a[lane]} << l;
      return same & team;
    };
    if (op.variant == 0) {
      auto *target = warp.lanes<uint32_t>(op.r[0]);
      eachLane(team, [&](uint32_t l) { target[l] = matching(l); });
      return;
    }
    bool all = matching(static_cast<uint32_t>(std::countr_zero(team))) == team;
    broadcast(warp, op.r[0], team, all ? team : 0);
    if (op.count != 0)
      warp.setPredicate(op.r[5], all ? ~0u : 0, team);
  });
}
bool lowerMatch(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view mode = s.takeOneOf({"any", "all"});
  Type type = s.takeType();
  bool wide = type == Type::kB64;
  if (!s.take("sync") || mode.empty() || (type != Type::kB32 && !wide))
    return l.refuse("it needs .any or .all, .sync, and .b32 or .b64");
  uint32_t d = 0, p = 0, members = 0;
  bool hasPredicate = false;
  Place source;
  if (!s.understood() || !l.operands(i, 3, 3) || !targets(l, i.operands[0], d, p, hasPredicate) ||
      !l.source(i.operands[1], wide, source) || !narrowSource(l, i.operands[2], members))
    return false;
  if (hasPredicate && mode == "any")
    return l.refuse(".any has no predicate result");
  Op &op = l.emit(wide ? &runMatch<uint64_t> : &runMatch<uint32_t>);
  op.r[0] = d, op.r[1] = source.offset, op.r[4] = members, op.r[5] = p;
  op.count = hasPredicate, op.variant = mode == "all";
  return true;
}

enum ReduceOp : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor };
uint32_t reduceIntegers(const uint32_t *a, uint32_t team, ReduceOp operation, bool isSigned) {
  uint32_t flip = isSigned ? 0x80000000u : 0; // signed order as unsigned order
  uint32_t result = a[std::countr_zero(team)];
  eachLane(team & (team - 1), [&](uint32_t l) {
    uint32_t x = result, y = a[l];
    switch (operation) {
    case kAdd:
      result = x + y;
      break;
    case kMin:
      result = (y ^ flip) < (x ^ flip) ? y : x;
      break;
    case kMax:
      result = (y ^ flip) > (x ^ flip) ? y : x;
      break;
    case kAnd:
      result = x & y;
      break;
    case kOr:
      result = x | y;
      break;
    case kXor:
      result = x ^ y;
      break;
    }
  });
  return result;
}
/// op.isSigned: .abs; op.wide: .NaN. NaNs count only with .NaN, or when there is nothing else.
uint32_t reduceFloats(const uint32_t *a, uint32_t team, const Op &op) {
  bool found = false, hasNan = false;
  int64_t best = 0;
  eachLane(team, [&](uint32_t l) {
    uint32_t bits = op.isSigned ? a[l] & 0x7FFFFFFFu : a[l];
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
      hasNan = true;
      return;
    }
    // As whole numbers floats keep their order, -0 below +0.
    int64_t key = bits & 0x80000000u ? -1 - int64_t{bits & 0x7FFFFFFFu} : int64_t{bits};
    best = !found ? key : op.variant == kMin ? std::min(best, key) : std::max(best, key);
    found = true;
  });
  if (!found || (hasNan && op.wide))
    return 0x7FFFFFFFu;
  return best < 0 ? static_cast<uint32_t>(-1 - best) | 0x80000000u : static_cast<uint32_t>(best);
}
/// r[1] value, r[4] participants; op.generic: f32.
void runReduce(Warp &warp, const Op &op, uint32_t mask) {
  const auto *members = warp.lanes<uint32_t>(op.r[4]);
  if (!teamsAreHere(warp, op, mask, members))
    return;
  alignas(64) uint32_t a[32];
  std::copy_n(warp.lanes<uint32_t>(op.r[1]), 32, a);
  eachTeam(members, mask, [&](uint32_t team) {
    uint32_t result = op.generic
                          ? reduceFloats(a, team, op)
                          : reduceIntegers(a, team, static_cast<ReduceOp>(op.variant), op.isSigned);
    broadcast(warp, op.r[0], team, result);
  });
}
bool lowerReduce(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  constexpr std::string_view kNames[] = {"add", "min", "max", "and", "or", "xor"};
  std::string_view name = s.takeOneOf({"add", "min", "max", "and", "or", "xor"});
  Type type = s.takeType();
  if (!s.take("sync") || name.empty())
    return l.refuse("it needs .sync and an operation such as .add");
  bool isFloat = type == Type::kF32, isBitwise = name == "and" || name == "or" || name == "xor";
  bool isAbs = isFloat && s.take("abs"), isNan = isFloat && s.take("NaN");
  bool fits = isBitwise ? type == Type::kB32
              : isFloat ? name != "add"
                        : type == Type::kU32 || type == Type::kS32;
  if (!fits)
    return l.refuse("the operation does not fit the type");
  uint32_t d = 0, p = 0, source = 0, members = 0;
  bool hasPredicate = false;
  if (!s.understood() || !l.operands(i, 3, 3) || !targets(l, i.operands[0], d, p, hasPredicate) ||
      !narrowSource(l, i.operands[1], source, isFloat ? Type::kF32 : Type::kNone) ||
      !narrowSource(l, i.operands[2], members))
    return false;
  if (hasPredicate)
    return l.refuse("it has one result");
  Op &op = l.emit(&runReduce);
  op.r[0] = d, op.r[1] = source, op.r[4] = members;
  op.variant = static_cast<uint8_t>(std::find(std::begin(kNames), std::end(kNames), name) - kNames);
  op.generic = isFloat, op.isSigned = isFloat ? isAbs : type == Type::kS32, op.wide = isNan;
  return true;
}

void runActiveMask(Warp &warp, const Op &op, uint32_t mask) {
  broadcast(warp, op.r[0], mask, mask);
}
bool lowerActiveMask(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (!s.take("b32"))
    return l.refuse("it takes .b32");
  uint32_t d = 0, p = 0;
  bool hasPredicate = false;
  if (!s.understood() || !l.operands(i, 1, 1) || !targets(l, i.operands[0], d, p, hasPredicate))
    return false;
  if (hasPredicate)
    return l.refuse("it has one result");
  l.emit(&runActiveMask).r[0] = d;
  return true;
}

constexpr Form kWarpForms[] = {
    {"shfl", lowerShuffle, Pipe::kAlu},          {"vote", lowerVote, Pipe::kAlu},
    {"match", lowerMatch, Pipe::kAlu},           {"redux", lowerReduce, Pipe::kAlu},
    {"activemask", lowerActiveMask, Pipe::kAlu},
};

} // namespace

std::span<const Form> warpForms() { return kWarpForms; }

} // namespace platen::ptxsim
