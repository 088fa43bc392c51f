// The state that a cluster begins with: ids, special registers, poisoned memory; and the words for
// where its warps wait.
#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/machine.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

constexpr uint8_t kPoison = 0xFF;

Dim3 unflatten(uint64_t index, Dim3 extent) {
  return {static_cast<uint32_t>(index % extent.x),
          static_cast<uint32_t>(index / extent.x % extent.y),
          static_cast<uint32_t>(index / extent.x / extent.y)};
}

uint64_t valueOf(Special special, const Warp &warp, uint32_t lane) {
  const Block &block = *warp.block;
  const LaunchState &state = *block.cluster->state;
  const Launch &launch = *state.launch;
  const Dim3 &c = state.cluster;
  uint32_t thread = warp.index * 32 + lane;
  Dim3 tid = unflatten(thread, launch.block), inCluster = unflatten(block.rank, c);
  Dim3 cluster{block.id.x / c.x, block.id.y / c.y, block.id.z / c.z};
  Dim3 clusters{launch.grid.x / c.x, launch.grid.y / c.y, launch.grid.z / c.z};
  switch (special) {
  case Special::kTidX:
    return tid.x;
  case Special::kTidY:
    return tid.y;
  case Special::kTidZ:
    return tid.z;
  case Special::kNtidX:
    return launch.block.x;
  case Special::kNtidY:
    return launch.block.y;
  case Special::kNtidZ:
    return launch.block.z;
  case Special::kCtaidX:
    return block.id.x;
  case Special::kCtaidY:
    return block.id.y;
  case Special::kCtaidZ:
    return block.id.z;
  case Special::kNctaidX:
    return launch.grid.x;
  case Special::kNctaidY:
    return launch.grid.y;
  case Special::kNctaidZ:
    return launch.grid.z;
  case Special::kLaneId:
    return lane;
  case Special::kWarpId:
    return warp.index;
  case Special::kNwarpId:
    return block.warps.size();
  case Special::kWarpSize:
    return 32;
  case Special::kLaneMaskEq:
    return 1u << lane;
  case Special::kLaneMaskLt:
    return (1u << lane) - 1;
  case Special::kLaneMaskLe:
    return (2u << lane) - 1;
  case Special::kLaneMaskGt:
    return ~((2u << lane) - 1);
  case Special::kLaneMaskGe:
    return ~((1u << lane) - 1);
  case Special::kClusterIdX:
    return cluster.x;
  case Special::kClusterIdY:
    return cluster.y;
  case Special::kClusterIdZ:
    return cluster.z;
  case Special::kNclusterIdX:
    return clusters.x;
  case Special::kNclusterIdY:
    return clusters.y;
  case Special::kNclusterIdZ:
    return clusters.z;
  case Special::kClusterCtaidX:
    return inCluster.x;
  case Special::kClusterCtaidY:
    return inCluster.y;
  case Special::kClusterCtaidZ:
    return inCluster.z;
  case Special::kClusterNctaidX:
    return c.x;
  case Special::kClusterNctaidY:
    return c.y;
  case Special::kClusterNctaidZ:
    return c.z;
  case Special::kClusterCtarank:
    return block.rank;
  case Special::kClusterNctarank:
    return c.count();
  case Special::kIsExplicitCluster:
    return c.count() > 1;
  case Special::kSmId:
    return 0;
  case Special::kNsmId:
    return 1;
  case Special::kGridId:
    return 1;
  case Special::kDynamicSharedBytes:
    return launch.dynamicSharedBytes;
  case Special::kTotalSharedBytes:
    return state.sharedBytes;
  // Time is the instructions that the warp began with: nothing here is a model of time.
  case Special::kClock:
  case Special::kClock64:
  case Special::kGlobalTimer:
  case Special::kZero:
    return 0;
  }
  return 0;
}

void fillSpecials(Warp &warp) {
  for (const Slot &slot : warp.block->cluster->state->code->slots) {
    if (slot.kind != Slot::Kind::kSpecial)
      continue;
    for (uint32_t l = 0; l < 32; ++l) {
      uint64_t value = valueOf(slot.special, warp, l);
      if (slot.wide)
        warp.lanes<uint64_t>(slot.offset)[l] = value;
      else
        warp.lanes<uint32_t>(slot.offset)[l] = static_cast<uint32_t>(value);
    }
  }
}

void startWarp(Warp &warp, Block &block, uint32_t index, uint32_t threads) {
  warp.pc = 0;
  warp.nextPc = kNoPc;
  warp.index = index;
  warp.block = &block;
  uint32_t left = threads - index * 32;
  warp.live = warp.active = left >= 32 ? ~0u : (1u << left) - 1;
  warp.groups.clear();
  warp.parked.clear();
  warp.polling.clear();
  warp.waiting.clear();
  warp.copies.clear();
  warp.pending.clear();
  warp.clock = warp.release = warp.acquired = Clock{};
  warp.hasAcquired = warp.polled = false;
  std::memset(warp.tensorSeen, 0, sizeof warp.tensorSeen);
  warp.watched.clear();
  warp.laneStamp = 1, warp.laneSync = warp.globalRelease = 0;
  warp.lastAllocation = nullptr;
  std::memset(warp.committed, 0, sizeof warp.committed);
  for (auto &times : warp.groupTimes)
    times.clear();
  std::memset(warp.trackAgents, 0, sizeof warp.trackAgents);
  warp.clusterArrived = 0;
  warp.pollOp = nullptr;
  Cluster &cluster = *block.cluster;
  auto warpsPerBlock = static_cast<uint32_t>(block.warps.size());
  warp.agent = (block.rank * warpsPerBlock + index) % kWarpAgents;
  warp.clock.of[warp.agent] = cluster.time[warp.agent];
}

void startBlock(Block &block, const LaunchState &state) {
  block.threads = block.liveThreads = static_cast<uint32_t>(state.launch->block.count());
  block.liveWarps = (block.threads + 31) / 32;
  block.warps.resize(block.liveWarps);
  block.shared.assign(state.sharedBytes, kPoison);
  block.sharedInitialised.assign(state.sharedBytes, 0);
  uint32_t granularity = state.code->sharedGranularity;
  block.cells.assign(
      state.options->checkRaces ? (state.sharedBytes + granularity - 1) / granularity : 0, Cell{});
  block.laneCells.assign(
      state.options->checkLaneRaces ? (state.sharedBytes + granularity - 1) / granularity : 0,
      LaneCell{});
  block.readerSets.assign(1, ReaderSet{});
  block.readerSteps.clear();
  for (Barrier &barrier : block.barriers)
    barrier = Barrier{};
  block.mbarriers.clear();
  block.locations.clear();
  block.matrixState.reset();
}

} // namespace

void Cluster::start(const LaunchState &launchState, uint64_t ownNumber) {
  state = &launchState;
  number = static_cast<uint32_t>(ownNumber);
  globalTime = 1;
  globalSeen.clear();
  const Launch &launch = *state->launch;
  const Dim3 &c = state->cluster;
  const Code &code = *state->code;
  Dim3 clusters{launch.grid.x / c.x, launch.grid.y / c.y, launch.grid.z / c.z};
  Dim3 id = unflatten(number, clusters);
  blocks.resize(c.count());
  std::fill(std::begin(time), std::end(time), 1);
  asyncAgents = barrierArrived = barrierPhase = 0;
  issued = 0;
  std::fill(std::begin(recent), std::end(recent), nullptr);
  barrierArriving = barrierClock = Clock{};
  random.seed(state->options->seed * 0x9E3779B97F4A7C15u + number);
  if (state->options->counters)
    profile.resize(code.ops.size());
  size_t warps = blocks.size() * ((launch.block.count() + 31) / 32);
  registers.resize(warps * code.registerBytes + 64);
  size_t localBytes = code.info.localBytes * 32;
  local.assign(warps * localBytes * 2, 0);
  auto *base =
      reinterpret_cast<uint8_t *>((reinterpret_cast<uintptr_t>(registers.data()) + 63) / 64 * 64);
  liveThreads = 0;
  size_t at = 0;
  for (uint32_t rank = 0; rank < blocks.size(); ++rank) {
    Block &block = blocks[rank];
    block.cluster = this;
    block.rank = rank;
    Dim3 inside = unflatten(rank, c);
    block.id = {id.x * c.x + inside.x, id.y * c.y + inside.y, id.z * c.z + inside.z};
    startBlock(block, *state);
    liveThreads += block.liveThreads;
    for (uint32_t w = 0; w < block.warps.size(); ++w, ++at) {
      Warp &warp = block.warps[w];
      warp.executed = 0;
      warp.registers = base + at * code.registerBytes;
      std::memcpy(warp.registers, state->registerImage.data(), code.registerBytes);
      warp.local = local.data() + at * localBytes * 2;
      warp.localInitialised = warp.local + localBytes;
      if (localBytes != 0)
        std::memset(warp.local, kPoison, localBytes);
      startWarp(warp, block, w, block.threads);
      fillSpecials(warp);
    }
  }
}

namespace {

std::string dims(Dim3 d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

std::string describePoll(const Warp &warp) {
  uint64_t bits = 0;
  std::memcpy(&bits, warp.pollBlock->shared.data() + warp.pollAddress, 8);
  auto it = warp.pollBlock->mbarriers.find(warp.pollAddress);
  std::string text = "polls the mbarrier at shared address " + hexOf(warp.pollAddress);
  if (warp.pollBlock != warp.block)
    text += " of block " + dims(warp.pollBlock->id);
  text += " (line " + std::to_string(warp.pollOp->line) + "): ";
  if (it == warp.pollBlock->mbarriers.end())
    return text + "it is not initialised";
  return text + describeMbarrier(bits, it->second);
}

std::string describeBarrier(const Warp &warp, const Waiting &w) {
  std::string line = " (line " + std::to_string(w.op->line) + ")";
  const Cluster &cluster = *warp.block->cluster;
  if (w.barrier == kClusterBarrier)
    return "waits at the cluster's barrier" + line + ": " + std::to_string(cluster.barrierArrived) +
           " of " + std::to_string(cluster.liveThreads) + " threads have arrived";
  const Barrier &barrier = warp.block->barriers[w.barrier];
  return "waits at barrier " + std::to_string(w.barrier) + line + ": " +
         std::to_string(barrier.arrived) + " of " +
         std::to_string(barrier.expected ? barrier.expected : warp.block->liveThreads) +
         " threads have arrived";
}

} // namespace

std::string describeWaits(std::span<Cluster> clusters) {
  constexpr int kMost = 40;
  std::string text;
  int count = 0;
  for (const Cluster &cluster : clusters)
    for (const Block &block : cluster.blocks)
      for (const Warp &warp : block.warps) {
        if (warp.live == 0)
          continue;
        auto add = [&](uint32_t lanes, const std::string &what) {
          if (++count > kMost)
            return;
          text += (text.empty() ? "" : "; ") + ("block " + dims(block.id)) + " warp " +
                  std::to_string(warp.index) +
                  (lanes == warp.live ? "" : " lanes " + hexOf(lanes)) + " " + what;
        };
        for (const Waiting &w : warp.waiting)
          add(w.group.lanes, describeBarrier(warp, w));
        for (const Group &g : warp.parked)
          add(g.lanes, "waits for other lanes at the .sync instruction in line " +
                           std::to_string(cluster.state->code->ops[g.pc].line));
        uint32_t rest = warp.active;
        for (const Group &g : warp.groups)
          rest |= g.lanes;
        if (rest != 0)
          add(rest, warp.pollOp ? describePoll(warp) : "runs");
      }
  if (count > kMost)
    text += "; and " + std::to_string(count - kMost) + " more";
  return text;
}

} // namespace platen::ptxsim
