// mbarrier.*: phases, arrivals, transactions, waits.
#include "tools/ptxsim/core/forms_async.h"
#include "tools/ptxsim/core/lane_races.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

enum class Kind : uint8_t { kInit, kInvalidate, kExpect, kComplete, kArrive, kDrop };
enum : uint8_t { kExpectsTx = 1, kHasCount = 2, kHasResult = 4, kRelaxedOrder = 8, kParity = 16 };

uint64_t wordAt(const Block &block, uint32_t offset) {
  uint64_t bits;
  std::memcpy(&bits, block.shared.data() + offset, 8);
  return bits;
}

/// Arguments: address, then the count or bytes.
void runInit(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint64_t address = argument(warp, op, 0).at(warp, l);
    uint32_t offset = 0, count = 0;
    Block &block = sharedBlock(warp, address, 8, l, offset);
    resolveShared(warp, address, 8, kWrite, l, 8);
    if (static_cast<Kind>(op.variant) == Kind::kInvalidate) {
      block.mbarriers.erase(offset);
      continue;
    }
    count = static_cast<uint32_t>(argument(warp, op, 1).at(warp, l));
    if (count == 0 || count > kMbarrierMaxCount)
      stop(ViolationKind::kIllegalInstruction,
           "an mbarrier for " + std::to_string(count) + " arrivals: 1 to 2^20 - 1", l, offset);
    uint64_t bits = MbarrierWord{count, count, 0, false}.pack();
    std::memcpy(block.shared.data() + offset, &bits, 8);
    MbarrierState &state = block.mbarriers[offset];
    uint32_t agent = state.agent ? state.agent : block.cluster->newAgent();
    state = MbarrierState{};
    state.agent = agent;
    state.line = op.line;
    state.initAgent = warp.agent;
    state.initTime = warp.clock.of[warp.agent];
    ++block.cluster->progress;
  }
}

void arriveLane(Warp &warp, const Op &op, uint32_t l) {
  auto kind = static_cast<Kind>(op.variant);
  static const Clock nothing;
  Block *block = nullptr;
  uint32_t offset = 0;
  mbarrierAt(warp, argument(warp, op, 0).at(warp, l), l, block, offset);
  auto value = op.count > 1 ? static_cast<uint32_t>(argument(warp, op, 1).at(warp, l)) : 1;
  uint32_t count = op.variant2 & kExpectsTx ? 1 : value;
  if (op.variant2 & kHasResult)
    warp.lanes<uint64_t>(op.r[0])[l] = wordAt(*block, offset);
  const Clock &clock = op.variant2 & kRelaxedOrder ? nothing : warp.clock;
  if (kind == Kind::kExpect || (op.variant2 & kExpectsTx))
    expectTx(*block, offset, value);
  if (kind == Kind::kComplete)
    completeTx(*block, offset, value, nothing);
  if (kind == Kind::kDrop)
    dropFrom(*block, offset, count);
  if (kind == Kind::kArrive || kind == Kind::kDrop)
    arriveOn(*block, offset, count, clock);
}

/// Arguments: address, then the count or the bytes; r[0]: the state before.
void runArrive(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      try {
        arriveLane(warp, op, l);
      } catch (Stop &caught) {
        caught.violation.lane = l;
        throw;
      }
  tick(warp);
}

/// Arguments: address, then the state (64 bits) or the parity; r[0]: the predicate.
void runTest(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t done = 0;
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    Block *block = nullptr;
    uint32_t offset = 0;
    MbarrierState &state = mbarrierAt(warp, argument(warp, op, 0).at(warp, l), l, block, offset);
    if (block != warp.block)
      stop(ViolationKind::kIllegalInstruction, "only the own block's mbarriers can be waited for",
           l, offset);
    uint64_t token = argument(warp, op, 1).at(warp, l);
    if (op.variant2 & kParity && token > 1)
      stop(ViolationKind::kIllegalInstruction,
           "the phase's parity is " + std::to_string(token) + " instead of 0 or 1", l, offset);
    bool parity = op.variant2 & kParity ? token != 0 : (token >> 63) != 0;
    if (MbarrierWord::unpack(wordAt(*block, offset)).parity != parity) {
      done |= 1u << l;
      if (!(op.variant2 & kRelaxedOrder))
        warp.clock.merge(state.completed);
    } else {
      warp.pollOp = &op;
      warp.pollAddress = offset;
      warp.pollBlock = block;
      warp.pollLane = l;
    }
  }
  warp.setPredicate(op.r[0], done, mask);
  if (done)
    syncLanes(warp);
  if (done == mask) {
    warp.pollOp = nullptr;
    return;
  }
  warp.polled = true;
  warp.yield();
}

void runPendingCount(Warp &warp, const Op &op, uint32_t mask) {
  const auto *token = warp.lanes<uint64_t>(op.r[1]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      target[l] = MbarrierWord::unpack(token[l]).pending;
}

bool lowerTest(Lowering &l, const Instruction &i) {
  uint32_t predicate = 0;
  bool negated = false, parity = Lowering::has(i, "parity");
  Arguments arguments(l);
  if (!l.operands(i, 3, 4) || !l.predicate(i.operands[0], predicate, negated) ||
      !arguments.address(i.operands[1]) || !arguments.value(i.operands[2], !parity))
    return false;
  Op &op = l.emit(&runTest);
  op.r[0] = predicate;
  op.variant2 = static_cast<uint8_t>((parity ? kParity : 0) |
                                     (Lowering::has(i, "relaxed") ? kRelaxedOrder : 0));
  arguments.put(op);
  return true;
}

bool lowerArrive(Lowering &l, const Instruction &i, Kind kind) {
  using L = Lowering;
  bool arrives = kind == Kind::kArrive || kind == Kind::kDrop;
  bool hasResult = arrives && i.operands[0].kind == Operand::Kind::kName;
  size_t at = hasResult ? 1 : 0;
  bool expects = arrives && L::has(i, "expect_tx");
  Place target;
  if (!l.operands(i, at + 1 + (!arrives || expects ? 1 : 0), at + 2))
    return false;
  if (hasResult && !l.destination(i.operands[0], target, true))
    return false;
  if (hasResult && !target.wide)
    return l.refuse("an mbarrier's state has 64 bits");
  Arguments arguments(l);
  if (!arguments.address(i.operands[at]))
    return false;
  if (i.operands.size() > at + 1 && !arguments.value(i.operands[at + 1], false))
    return false;
  Op &op = l.emit(&runArrive);
  op.r[0] = target.offset;
  op.variant = static_cast<uint8_t>(kind);
  op.variant2 = static_cast<uint8_t>((expects ? kExpectsTx : 0) | (hasResult ? kHasResult : 0) |
                                     (L::has(i, "relaxed") || !arrives ? kRelaxedOrder : 0));
  arguments.put(op);
  return true;
}

} // namespace

bool lowerMbarrier(Lowering &l, const Instruction &i) {
  std::string_view what = i.parts.size() > 1 ? i.parts[1] : "";
  if (i.operands.empty())
    return l.refuse("an mbarrier's address is missing");
  if (what == "test_wait" || what == "try_wait")
    return lowerTest(l, i);
  if (what == "arrive")
    return lowerArrive(l, i, Kind::kArrive);
  if (what == "arrive_drop")
    return lowerArrive(l, i, Kind::kDrop);
  if (what == "expect_tx")
    return lowerArrive(l, i, Kind::kExpect);
  if (what == "complete_tx")
    return lowerArrive(l, i, Kind::kComplete);
  if (what == "pending_count") {
    Place target, token;
    if (!l.operands(i, 2, 2) || !l.destination(i.operands[0], target) ||
        !l.source(i.operands[1], true, token))
      return false;
    Op &op = l.emit(&runPendingCount);
    op.r[0] = target.offset, op.r[1] = token.offset;
    return true;
  }
  if (what != "init" && what != "inval")
    return l.refuse("an unknown mbarrier operation");
  Arguments arguments(l);
  size_t count = what == "init" ? 2 : 1;
  if (!l.operands(i, count, count) || !arguments.address(i.operands[0]) ||
      (count == 2 && !arguments.value(i.operands[1], false)))
    return false;
  Op &op = l.emit(&runInit);
  op.variant = static_cast<uint8_t>(what == "init" ? Kind::kInit : Kind::kInvalidate);
  arguments.put(op);
  return true;
}

} // namespace platen::ptxsim
