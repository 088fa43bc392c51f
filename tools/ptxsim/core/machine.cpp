// Groups of diverged lanes, barriers, and the loop that executes a warp's instructions.
#include "tools/ptxsim/core/machine.h"

#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/lane_races.h"
#include "tools/ptxsim/core/races.h"

#include <bit>
#include <cstdio>
#include <utility>

namespace platen::ptxsim {
namespace {

/// Instructions that a warp runs before the others' turn.
constexpr int64_t kQuantum = 50000;
/// Turns after which the groups of a diverged warp take turns too (one may spin for another).
constexpr uint32_t kTurnsBeforeRotation = 8;
/// Rounds in which every warp polled in vain before the launch counts as deadlocked.
constexpr uint32_t kIdleRounds = 300;
/// Rounds without progress after which an asynchronous operation is forced all the same.
constexpr uint32_t kSpinningRounds = 50;

struct Turn {
  const Op *op = nullptr;
  bool ran = false, idle = true;
};

template <bool kProfile, bool kWatch = false>
void execute(Warp &warp, const Op *ops, const Op *&current) {
  uint64_t count = 0;
  uint64_t *profile = kProfile ? warp.block->cluster->profile.data() : nullptr;
  struct Count { // also when a handler throws
    Warp &warp;
    uint64_t &count;
    ~Count() { warp.executed += count; }
  } counted{warp, count};
  // No further than to the limit, past which the launch counts as hung.
  uint64_t limit = warp.block->cluster->state->options->warpInstructionLimit;
  warp.budget = kQuantum;
  if (limit - warp.executed < static_cast<uint64_t>(kQuantum))
    warp.budget = static_cast<int64_t>(limit - warp.executed) + 1;
  do {
    if (warp.pc >= warp.nextPc) [[unlikely]]
      warp.pickGroup();
    const Op &op = ops[warp.pc++];
    current = &op;
    ++count;
    if constexpr (kProfile)
      ++profile[&op - ops];
    uint32_t mask = warp.active & (warp.predicate(op.guard) ^ op.guardXor);
    if constexpr (kWatch)
      if (mask != 0 && !warp.watched.empty())
        checkWatched(warp, op);
    if (mask) [[likely]]
      op.run(warp, op, mask);
  } while (--warp.budget > 0);
}

/// Runs the warp until it waits, polls in vain or has had its share.
void takeTurn(Warp &warp, Turn &turn) {
  const LaunchState &state = *warp.block->cluster->state;
  const Op *ops = state.code->ops.data();
  while (true) {
    if (warp.active == 0)
      warp.pickGroup();
    if (warp.active == 0)
      break;
    turn.ran = true;
    warp.polled = false;
    bool watch = !warp.watched.empty();
    if (state.options->counters && watch)
      execute<true, true>(warp, ops, turn.op);
    else if (watch)
      execute<false, true>(warp, ops, turn.op);
    else if (state.options->counters)
      execute<true>(warp, ops, turn.op);
    else
      execute<false>(warp, ops, turn.op);
    if (warp.executed > state.options->warpInstructionLimit)
      stop(ViolationKind::kHang, "the warp has executed " + std::to_string(warp.executed) +
                                     " instructions, more than the limit");
    if (warp.active == 0)
      continue; // another group may run
    if (!warp.polled)
      turn.idle = false;
    if (warp.groups.empty() || (!warp.polled && ++warp.longTurns < kTurnsBeforeRotation))
      break;
    warp.polling.push_back({warp.pc, warp.active});
    warp.active = 0;
    warp.longTurns = 0;
  }
  for (Group group : warp.polling)
    warp.addGroup(group);
  warp.polling.clear();
}

} // namespace

std::string hexOf(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

void stop(ViolationKind kind, std::string message, uint32_t lane, uint64_t address) {
  Violation v;
  v.kind = kind;
  v.message = std::move(message);
  v.lane = lane;
  v.address = address;
  throw Stop{std::move(v)};
}

void Warp::addGroup(Group group) {
  if (group.lanes == 0)
    return;
  for (Group &other : groups)
    if (other.pc == group.pc) {
      other.lanes |= group.lanes;
      return;
    }
  groups.push_back(group);
  nextPc = std::min(nextPc, group.pc);
}

void Warp::pickGroup() {
  addGroup({pc, active});
  active = 0;
  nextPc = kNoPc;
  if (groups.empty()) {
    budget = 0;
    return;
  }
  size_t best = 0;
  for (size_t i = 1; i < groups.size(); ++i)
    if (groups[i].pc < groups[best].pc)
      best = i;
  pc = groups[best].pc;
  active = groups[best].lanes;
  groups[best] = groups.back();
  groups.pop_back();
  for (const Group &group : groups)
    nextPc = std::min(nextPc, group.pc);
}

void Warp::exitLanes(uint32_t mask) {
  Cluster &cluster = *block->cluster;
  auto count = static_cast<uint32_t>(std::popcount(mask));
  live &= ~mask;
  active &= ~mask;
  block->liveThreads -= count;
  cluster.liveThreads -= count;
  ++cluster.progress;
  for (uint32_t l = 0; l < 32; ++l) // an exited thread that had arrived is not counted twice
    if (mask & clusterArrived & 1u << l && clusterPhase[l] == cluster.barrierPhase)
      --cluster.barrierArrived;
  clusterArrived &= ~mask;
  for (Group group : parked) // what they waited for may be complete without the exited lanes
    addGroup(group);
  parked.clear();
  if (live == 0)
    --block->liveWarps;
  for (uint32_t b = 0; b < 16; ++b)
    if (block->barriers[b].arrived != 0)
      block->releaseIfComplete(b);
  cluster.releaseIfComplete();
  if (block->liveWarps == 0 && live == 0)
    finishBlock(*block);
  if (active == 0)
    pickGroup();
}

bool gather(Warp &warp, const Op &, uint32_t mask, uint32_t members) {
  uint32_t missing = members & warp.live & ~mask;
  if (missing == 0) [[likely]]
    return true;
  uint32_t here = warp.pc - 1, joined = 0;
  std::erase_if(warp.parked, [&](const Group &group) {
    joined |= group.pc == here ? group.lanes : 0;
    return group.pc == here;
  });
  if (joined != 0) { // again, together
    warp.active |= joined;
    warp.pc = here;
    return false;
  }
  if (missing & warp.active)
    stop(ViolationKind::kIllegalInstruction,
         "the lane is named among the participants (" + hexOf(members) +
             ") but is predicated off: only lanes " + hexOf(mask) + " execute the instruction",
         static_cast<uint32_t>(std::countr_zero(missing & warp.active)));
  warp.parked.push_back({here, warp.active});
  warp.active = 0;
  warp.pickGroup();
  return false;
}

void Block::arrive(uint32_t number, Warp &warp, uint32_t mask) {
  Barrier &barrier = barriers[number];
  if (barrier.lanes[warp.index] & mask)
    stop(ViolationKind::kIllegalInstruction,
         "the lane has arrived at barrier " + std::to_string(number) +
             " already, and the barrier is not complete",
         static_cast<uint32_t>(std::countr_zero(barrier.lanes[warp.index] & mask)));
  barrier.lanes[warp.index] |= mask;
  barrier.clock.merge(warp.clock);
  tick(warp);
  ++cluster->progress;
  // A warp whose living lanes are all there counts as 32 threads.
  barrier.arrived = 0;
  for (const Warp &w : warps)
    if (uint32_t lanes = barrier.lanes[w.index])
      barrier.arrived += (w.live & ~lanes) == 0 ? 32 : static_cast<uint32_t>(std::popcount(lanes));
}

void Block::releaseIfComplete(uint32_t number) {
  Barrier &barrier = barriers[number];
  if (barrier.expected != 0) {
    if (barrier.arrived > barrier.expected)
      stop(ViolationKind::kIllegalInstruction,
           std::to_string(barrier.arrived) + " threads arrived at barrier " +
               std::to_string(number) + ", which expects " + std::to_string(barrier.expected));
    if (barrier.arrived == barrier.expected)
      release(number);
    return;
  }
  for (const Warp &w : warps)
    if (w.live & ~barrier.lanes[w.index])
      return;
  release(number);
}

void Block::release(uint32_t number) {
  Barrier &barrier = barriers[number];
  for (Warp &warp : warps) {
    if (barrier.lanes[warp.index] == 0)
      continue;
    bool waited = false;
    std::erase_if(warp.waiting, [&](const Waiting &w) {
      if (w.barrier != number)
        return false;
      waited = true;
      const Op &op = *w.op;
      if (op.variant == 1) // bar.red.popc
        for (uint32_t l = 0; l < 32; ++l)
          if (w.group.lanes & 1u << l)
            warp.lanes<uint32_t>(op.r[0])[l] = barrier.count;
      if (op.variant >= 2)
        warp.setPredicate(op.r[0], (op.variant == 2 ? barrier.all : barrier.any) ? ~0u : 0,
                          w.group.lanes);
      warp.addGroup(w.group);
      return true;
    });
    if (waited) {
      warp.clock.merge(barrier.clock);
      syncLanes(warp);
    }
  }
  barrier = Barrier{};
  ++cluster->progress;
}

void Cluster::releaseIfComplete() {
  if (barrierArrived == 0 || barrierArrived < liveThreads)
    return;
  barrierArrived = 0;
  ++barrierPhase;
  ++progress;
  barrierClock = barrierArriving;
  for (Block &block : blocks)
    for (auto &[offset, mbarrier] : block.mbarriers)
      if (std::exchange(mbarrier.announced, false))
        strengthen(block, offset, 8);
  for (Block &block : blocks)
    for (Warp &warp : block.warps) {
      bool waited = false;
      std::erase_if(warp.waiting, [&](const Waiting &w) {
        if (w.barrier != kClusterBarrier)
          return false;
        waited = true;
        warp.clusterArrived &= ~w.group.lanes;
        warp.addGroup(w.group);
        return true;
      });
      if (waited) {
        warp.clock.merge(barrierClock);
        syncLanes(warp);
      }
    }
}

Violation Cluster::finish(const Warp &warp, const Op *op, Violation violation) const {
  if (violation.kernel.empty()) { // else whoever issued the operation is named already
    violation.kernel = state->code->info.name;
    violation.block = warp.block->id;
    violation.warp = warp.index;
  }
  if (op && violation.line == 0) {
    violation.line = op->line;
    violation.instruction = std::string(state->code->texts[op->instruction]);
  }
  return violation;
}

namespace {

Violation deadlock(std::span<Cluster> clusters) {
  Violation v;
  v.kind = ViolationKind::kDeadlock;
  v.message = "no warp can go on: " + describeWaits(clusters);
  for (Cluster &cluster : clusters)
    for (Block &block : cluster.blocks)
      for (Warp &warp : block.warps) {
        const Op *op = !warp.waiting.empty() ? warp.waiting[0].op : warp.pollOp;
        if (warp.live != 0 && op)
          return cluster.finish(warp, op, std::move(v));
      }
  v.kernel = clusters[0].state->code->info.name;
  return v;
}

/// One turn of every warp. `idle`: all of them waited or polled in vain.
std::optional<Violation> runRound(Cluster &cluster, bool &ran, bool &idle) {
  bool random = cluster.state->options->asyncOrder == AsyncOrder::kRandom;
  size_t total = 0;
  for (Block &block : cluster.blocks)
    total += block.liveWarps == 0 ? 0 : block.warps.size();
  size_t skip = random && total > 0 ? cluster.random() % total : 0, at = 0;
  for (int pass = 0; pass < 2; ++pass, at = 0) // a random warp begins
    for (Block &block : cluster.blocks) {
      if (block.liveWarps == 0)
        continue;
      for (Warp &warp : block.warps) {
        if ((at++ < skip) != (pass == 1) || warp.live == 0)
          continue;
        Turn turn;
        try {
          takeTurn(warp, turn);
          if (random && cluster.random() % 4 == 0)
            advance(cluster, false);
        } catch (Stop &caught) {
          return cluster.finish(warp, turn.op, std::move(caught.violation));
        }
        ran |= turn.ran;
        idle &= turn.idle;
      }
    }
  return {};
}

} // namespace

std::optional<Violation> runClusters(std::span<Cluster> clusters) {
  uint32_t idleRounds = 0, spinning = 0;
  while (true) {
    bool live = false, ran = false, idle = true;
    uint64_t before = 0, after = 0;
    for (Cluster &cluster : clusters) {
      if (cluster.liveThreads == 0)
        continue;
      live = true;
      before += cluster.progress;
      if (auto violation = runRound(cluster, ran, idle))
        return violation;
      after += cluster.progress;
    }
    if (!live)
      return {};
    if (before != after) {
      idleRounds = spinning = 0;
      continue;
    }
    if (!idle && ++spinning % kSpinningRounds != 0)
      continue;
    bool moved = false;
    for (Cluster &cluster : clusters)
      try {
        moved = moved || advance(cluster, true);
      } catch (Stop &caught) {
        return cluster.finish(cluster.blocks[0].warps[0], nullptr, std::move(caught.violation));
      }
    if (moved)
      idleRounds = 0;
    else if (idle && (!ran || ++idleRounds > kIdleRounds))
      return deadlock(clusters);
  }
}

} // namespace platen::ptxsim
