// Control flow, barriers, fences: what moves a warp's lanes and what orders memory.
#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/forms_memory.h"
#include "tools/ptxsim/core/lane_races.h"

#include <bit>

namespace platen::ptxsim {

void runBranch(Warp &warp, const Op &op, uint32_t mask) {
  if (mask == warp.active) [[likely]] {
    warp.pc = op.target;
    return;
  }
  ++warp.block->cluster->counters.divergentBranches;
  warp.active &= ~mask;
  warp.addGroup({op.target, mask});
}

void runExit(Warp &warp, const Op &, uint32_t mask) { warp.exitLanes(mask); }

void releaseFence(Warp &warp) {
  if (warp.hasAcquired) {
    warp.clock.merge(warp.acquired);
    syncLanes(warp);
  }
  warp.release = warp.clock;
  warp.globalRelease = warp.block->cluster->globalTime++;
  tick(warp);
}

namespace {

uint32_t firstLane(uint32_t mask) { return static_cast<uint32_t>(std::countr_zero(mask)); }

// ---- Branches, calls, ends --------------------------------------------------------------------

bool lowerBra(Lowering &l, const Instruction &i) {
  if (!l.operands(i, 1, 1))
    return false;
  l.emit(&runBranch);
  return l.branch(i, i.operands[0].name, false);
}

void runTable(Warp &warp, const Op &op, uint32_t mask) {
  const auto *index = warp.lanes<uint32_t>(op.r[1]);
  const std::vector<uint32_t> &lists = warp.block->cluster->state->code->lists;
  warp.active &= ~mask;
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    if (index[l] >= op.count)
      stop(ViolationKind::kIllegalInstruction,
           "branch number " + std::to_string(index[l]) + " of a table of " +
               std::to_string(op.count),
           l);
    warp.addGroup({lists[op.list + index[l]], 1u << l});
  }
  if (warp.active == 0)
    warp.pickGroup();
}

bool lowerBrx(Lowering &l, const Instruction &i) {
  if (!l.operands(i, 2, 2))
    return false;
  auto table = l.function().tables.find(i.operands[1].name);
  if (table == l.function().tables.end())
    return l.refuse("unknown branch table '" + std::string(i.operands[1].name) + "'");
  Place index;
  if (!l.source(i.operands[0], false, index))
    return false;
  std::vector<uint32_t> targets;
  for (std::string_view name : table->second.labels)
    if (!l.label(name, table->second.scope, targets.emplace_back()))
      return false;
  Op &op = l.emit(&runTable);
  op.r[1] = index.offset;
  op.list = static_cast<uint32_t>(l.code().lists.size());
  op.count = static_cast<uint32_t>(targets.size());
  for (uint32_t target : targets) {
    l.fixUp(l.code().lists.size());
    l.code().lists.push_back(target);
  }
  return true;
}

bool lowerCall(Lowering &l, const Instruction &i) { return l.call(i); }
bool lowerRet(Lowering &l, const Instruction &) {
  l.ret();
  return true;
}
bool lowerExit(Lowering &l, const Instruction &) {
  l.emit(&runExit);
  return true;
}

void runTrap(Warp &, const Op &op, uint32_t mask) {
  stop(ViolationKind::kTrap, op.variant ? "the kernel reached brkpt" : "the kernel trapped",
       firstLane(mask));
}
bool lowerTrap(Lowering &l, const Instruction &i) {
  l.emit(&runTrap).variant = i.parts[0] == "brkpt";
  return true;
}

// ---- Barriers ---------------------------------------------------------------------------------

enum : uint8_t { kArriveOnly = 1, kAligned = 2, kCounted = 4, kNegated = 8 };

uint32_t uniform(Warp &warp, uint32_t slot, uint32_t mask, const char *what) {
  const auto *values = warp.lanes<uint32_t>(slot);
  uint32_t first = values[firstLane(mask)];
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l && values[l] != first)
      stop(ViolationKind::kIllegalInstruction,
           std::string(what) + " differs between the lanes of a warp", l);
  return first;
}

void join(Barrier &barrier, uint32_t number, uint32_t expected, uint32_t all) {
  if (barrier.arrived == 0)
    barrier.expected = expected;
  else if (barrier.expected != expected) {
    if ((barrier.expected ? barrier.expected : all) != (expected ? expected : all))
      stop(ViolationKind::kIllegalInstruction,
           "barrier " + std::to_string(number) + " is joined for " + std::to_string(expected) +
               " threads, but others wait there for " + std::to_string(barrier.expected));
    barrier.expected = all;
  }
}

void runBarrier(Warp &warp, const Op &op, uint32_t mask) {
  if ((op.variant2 & kAligned) && !gather(warp, op, mask, warp.live))
    return;
  Block &block = *warp.block;
  uint32_t number = uniform(warp, op.r[1], mask, "the barrier's number"), expected = 0;
  if (number >= 16)
    stop(ViolationKind::kIllegalInstruction,
         "there is no barrier " + std::to_string(number) + ": 0 to 15", firstLane(mask));
  if (op.variant2 & kCounted) {
    expected = uniform(warp, op.r[2], mask, "the barrier's thread count");
    if (expected == 0 || expected % 32 != 0 || expected > (block.threads + 31) / 32 * 32)
      stop(ViolationKind::kIllegalInstruction,
           "a barrier for " + std::to_string(expected) +
               " threads: a multiple of 32, at most the block's " + std::to_string(block.threads),
           firstLane(mask));
  }
  Barrier &barrier = block.barriers[number];
  join(barrier, number, expected, (block.threads + 31) / 32 * 32);
  if (op.variant != 0) {
    uint32_t values = warp.predicate(op.r[3]) ^ (op.variant2 & kNegated ? ~0u : 0);
    barrier.count += static_cast<uint32_t>(std::popcount(values & mask));
    barrier.any |= (values & mask) != 0;
    barrier.all &= (~values & mask) == 0;
  }
  ++block.cluster->counters.barriers;
  block.arrive(number, warp, mask);
  if (!(op.variant2 & kArriveOnly)) {
    warp.waiting.push_back({{warp.pc, mask}, number, &op});
    warp.active &= ~mask;
  }
  block.releaseIfComplete(number);
  if (warp.active == 0)
    warp.pickGroup();
}

void runWarpSync(Warp &warp, const Op &op, uint32_t mask) {
  if (gather(warp, op, mask, warp.lanes<uint32_t>(op.r[1])[firstLane(mask)]))
    syncLanes(warp);
}

void runClusterArrive(Warp &warp, const Op &op, uint32_t mask) {
  if ((op.variant2 & kAligned) && !gather(warp, op, mask, warp.live))
    return;
  Cluster &cluster = *warp.block->cluster;
  if (warp.clusterArrived & mask)
    stop(ViolationKind::kIllegalInstruction,
         "barrier.cluster.arrive twice without barrier.cluster.wait between",
         firstLane(warp.clusterArrived & mask));
  warp.clusterArrived |= mask;
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      warp.clusterPhase[l] = cluster.barrierPhase;
  cluster.barrierArrived += static_cast<uint32_t>(std::popcount(mask));
  if (op.variant == 0) { // not .relaxed
    cluster.barrierArriving.merge(warp.clock);
    tick(warp);
  }
  for (auto &[offset, mbarrier] : warp.block->mbarriers) // after fence.mbarrier_init that is enough
    mbarrier.announced |= mbarrier.shownToAsync && mbarrier.initAgent == warp.agent;
  ++cluster.counters.barriers;
  ++cluster.progress;
  cluster.releaseIfComplete();
}

void runClusterWait(Warp &warp, const Op &op, uint32_t mask) {
  if ((op.variant2 & kAligned) && !gather(warp, op, mask, warp.live))
    return;
  Cluster &cluster = *warp.block->cluster;
  if (uint32_t missing = mask & ~warp.clusterArrived)
    stop(ViolationKind::kIllegalInstruction, "barrier.cluster.wait without barrier.cluster.arrive",
         firstLane(missing));
  uint32_t done = 0;
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l && warp.clusterPhase[l] != cluster.barrierPhase)
      done |= 1u << l;
  if (done) {
    syncLanes(warp);
    warp.clusterArrived &= ~done;
    warp.clock.merge(cluster.barrierClock);
  }
  if (uint32_t waits = mask & ~done) {
    warp.waiting.push_back({{warp.pc, waits}, kClusterBarrier, &op});
    warp.active &= ~waits;
    if (warp.active == 0)
      warp.pickGroup();
  }
}

bool lowerClusterBarrier(Lowering &l, const Instruction &i) {
  bool arrives = Lowering::has(i, "arrive");
  if (!arrives && !Lowering::has(i, "wait"))
    return l.refuse("barrier.cluster is .arrive or .wait");
  Op &op = l.emit(arrives ? &runClusterArrive : &runClusterWait);
  op.variant = Lowering::has(i, "relaxed");
  op.variant2 = Lowering::has(i, "aligned") ? kAligned : 0;
  return l.operands(i, 0, 0);
}

bool lowerBar(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "cluster"))
    return lowerClusterBarrier(l, i);
  Place place;
  if (L::has(i, "warp")) {
    if (!l.operands(i, 1, 1) || !l.source(i.operands[0], false, place))
      return false;
    l.emit(&runWarpSync).r[1] = place.offset;
    return true;
  }
  bool arrives = L::has(i, "arrive"), reduces = L::has(i, "red");
  if (!arrives && !reduces && !L::has(i, "sync"))
    return l.refuse("a barrier is .sync, .arrive or .red");
  size_t first = reduces ? 1 : 0, last = i.operands.size() - (reduces ? 1 : 0);
  if (!l.operands(i, reduces ? 3 : 1, reduces ? 4 : 2))
    return false;
  uint32_t target = 0, number = 0, count = 0, predicate = 0;
  bool negated = false;
  uint8_t variant = 0;
  if (reduces) {
    variant = L::has(i, "popc") ? 1 : L::has(i, "and") ? 2 : L::has(i, "or") ? 3 : 0;
    if (variant == 0)
      return l.refuse("bar.red is .popc, .and or .or");
    bool ignored = false;
    if (variant == 1 ? !l.destination(i.operands[0], place)
                     : !l.predicate(i.operands[0], target, ignored))
      return false;
    if (variant == 1)
      target = place.offset;
    if (!l.predicate(i.operands.back(), predicate, negated))
      return false;
  }
  if (!l.source(i.operands[first], false, place))
    return false;
  number = place.offset;
  bool counted = last > first + 1;
  if (counted && !l.source(i.operands[first + 1], false, place))
    return false;
  count = place.offset;
  if (arrives && !counted)
    return l.refuse("bar.arrive needs a thread count");
  bool aligned = i.parts[0] == "bar" || L::has(i, "aligned");
  Op &op = l.emit(&runBarrier);
  op.r[0] = target, op.r[1] = number, op.r[2] = count, op.r[3] = predicate;
  op.variant = variant;
  op.variant2 = static_cast<uint8_t>((arrives ? kArriveOnly : 0) | (aligned ? kAligned : 0) |
                                     (counted ? kCounted : 0) | (negated ? kNegated : 0));
  return true;
}

// ---- Fences -----------------------------------------------------------------------------------

void runFence(Warp &warp, const Op &, uint32_t) { releaseFence(warp); }

void runProxyFence(Warp &warp, const Op &, uint32_t) {
  Clock &clock = warp.clock;
  for (uint32_t a = 0; a < kAgents; ++a)
    clock.fenced[a] = std::max(clock.fenced[a], clock.of[a]);
  for (Block &block : warp.block->cluster->blocks)
    for (auto &[offset, mbarrier] : block.mbarriers)
      mbarrier.shownToAsync |= clock.of[mbarrier.initAgent] >= mbarrier.initTime;
  tick(warp);
}

/// fence.mbarrier_init orders the warp's own mbarrier.init, and nothing else.
void runInitFence(Warp &warp, const Op &, uint32_t) {
  for (auto &[offset, mbarrier] : warp.block->mbarriers)
    mbarrier.shownToAsync |= mbarrier.initAgent == warp.agent;
}

void runNothing(Warp &, const Op &, uint32_t) {}

bool lowerFence(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (!L::has(i, "proxy")) {
    l.emit(L::has(i, "mbarrier_init") ? &runInitFence : &runFence);
    return l.operands(i, 0, 0);
  }
  bool toAsync = L::has(i, "async") && !L::has(i, "global");
  bool known = L::has(i, "async") || L::has(i, "alias") || L::has(i, "async::generic") ||
               L::has(i, "tensormap::generic");
  if (!known)
    return l.refuse("an unknown proxy");
  l.emit(toAsync ? &runProxyFence : &runNothing);
  return true;
}

// ---- The rest ---------------------------------------------------------------------------------

void runSleep(Warp &warp, const Op &, uint32_t) {
  warp.polled = warp.pollOp != nullptr; // asleep between polls
  warp.yield();
}
bool lowerSleep(Lowering &l, const Instruction &) {
  l.emit(&runSleep);
  return true;
}

bool lowerNothing(Lowering &l, const Instruction &) {
  l.emit(&runNothing);
  return true;
}

bool lowerMaxRegisters(Lowering &l, const Instruction &i) {
  if (!l.operands(i, 1, 1) || i.operands[0].kind != Operand::Kind::kInteger)
    return l.refuse("setmaxnreg needs a number");
  uint64_t count = i.operands[0].bits;
  if (count < 24 || count > 256 || count % 8 != 0)
    return l.refuse("setmaxnreg takes a multiple of 8 from 24 to 256");
  l.emit(&runNothing);
  return true;
}

void runElect(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t members = warp.lanes<uint32_t>(op.r[2])[firstLane(mask)];
  if (!gather(warp, op, mask, members))
    return;
  uint32_t leader = firstLane(mask);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      target[l] = leader;
  warp.setPredicate(op.r[1], 1u << leader, mask);
}

bool lowerElect(Lowering &l, const Instruction &i) {
  if (!l.operands(i, 2, 2) || i.operands[0].kind != Operand::Kind::kPair)
    return l.refuse("elect.sync needs d|p, membermask");
  Place leader, members;
  uint32_t predicate = 0;
  bool negated = false;
  if (!l.destination(i.operands[0].elements[0], leader) ||
      !l.predicate(i.operands[0].elements[1], predicate, negated) ||
      !l.source(i.operands[1], false, members))
    return false;
  Op &op = l.emit(&runElect);
  op.r[0] = leader.offset, op.r[1] = predicate, op.r[2] = members.offset;
  return true;
}

constexpr Form kForms[] = {
    {"bra", &lowerBra, Pipe::kControl},
    {"brx", &lowerBrx, Pipe::kControl},
    {"call", &lowerCall, Pipe::kControl},
    {"ret", &lowerRet, Pipe::kControl},
    {"exit", &lowerExit, Pipe::kControl},
    {"trap", &lowerTrap, Pipe::kControl},
    {"brkpt", &lowerTrap, Pipe::kControl},
    {"bar", &lowerBar, Pipe::kControl},
    {"barrier", &lowerBar, Pipe::kControl},
    {"membar", &lowerFence, Pipe::kControl},
    {"fence", &lowerFence, Pipe::kControl},
    {"nanosleep", &lowerSleep, Pipe::kControl},
    {"griddepcontrol", &lowerNothing, Pipe::kControl},
    {"pmevent", &lowerNothing, Pipe::kControl},
    {"setmaxnreg", &lowerMaxRegisters, Pipe::kControl},
    {"elect", &lowerElect, Pipe::kControl},
};

} // namespace

std::span<const Form> controlForms() { return kForms; }

} // namespace platen::ptxsim
