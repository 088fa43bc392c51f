#include "tools/ptxsim/core/asynchrony.h"

#include "tools/ptxsim/core/access.h"
#include "tools/ptxsim/core/lane_races.h"
#include "tools/ptxsim/core/races.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

namespace platen::ptxsim {
namespace {

constexpr uint8_t kPoison = 0xFF;

const Options &optionsOf(const Warp &warp) { return *warp.block->cluster->state->options; }

uint32_t agentFor(Warp &warp, const Pending &pending) {
  if (pending.mbarrierBlock) {
    auto it = pending.mbarrierBlock->mbarriers.find(pending.mbarrier);
    if (it == pending.mbarrierBlock->mbarriers.end())
      stop(ViolationKind::kIllegalInstruction,
           "there is no initialised mbarrier at shared address " + hexOf(pending.mbarrier),
           pending.lane, pending.mbarrier);
    if (!pending.genericProxy && !it->second.shownToAsync && optionsOf(warp).checkRaces)
      stop(ViolationKind::kSharedRace,
           "the mbarrier at shared address " + hexOf(pending.mbarrier) + ", initialised in line " +
               std::to_string(it->second.line) +
               ", was not made visible to the asynchronous proxy: neither fence.mbarrier_init nor "
               "fence.proxy.async follows mbarrier.init",
           pending.lane, pending.mbarrier);
    return it->second.agent;
  }
  uint32_t &agent = warp.trackAgents[static_cast<int>(pending.track)];
  if (agent == 0)
    agent = warp.block->cluster->newAgent();
  return agent;
}

void checkRange(const Pending &pending, const SharedRange &range, RaceCheck &race,
                bool checkInitialised) {
  Block &block = *range.block;
  if (range.offset > block.shared.size() || range.bytes > block.shared.size() - range.offset)
    stop(ViolationKind::kOutOfBounds,
         std::to_string(range.bytes) + " bytes at shared address " + hexOf(range.offset) +
             " reach past the " + std::to_string(block.shared.size()) + " bytes of shared memory",
         pending.lane, range.offset);
  uint8_t *shadow = block.sharedInitialised.data() + range.offset;
  if (!range.isWrite && checkInitialised && std::memchr(shadow, 0, range.bytes)) {
    uint32_t at = 0;
    while (shadow[at] != 0)
      ++at;
    stop(ViolationKind::kUninitialisedRead,
         "an asynchronous operation reads shared address " + hexOf(range.offset + at) +
             ", which was never written or is still being written",
         pending.lane, range.offset + at);
  }
  if (!block.cells.empty() && range.bytes != 0)
    race.touch(range.offset, range.bytes, block.cluster->state->code->sharedGranularity);
  if (range.isWrite) {
    std::memset(block.shared.data() + range.offset, kPoison, range.bytes);
    std::memset(shadow, 0, range.bytes);
  }
}

/// What one lane issues (copies, tcgen05) uses shared memory as that lane: the others' accesses
/// need a synchronisation before. wgmma belongs to no lane.
void noteLanes(Warp &warp, const Pending &pending) {
  if (!checksLanes(*warp.block) || pending.track == Track::kMatrix)
    return;
  stampLanes(warp);
  for (const SharedRange &range : pending.ranges)
    if (range.block == warp.block && range.offset <= range.block->shared.size() &&
        range.bytes <= range.block->shared.size() - range.offset)
      touchLane(warp, *range.block, pending.lane, range.offset, range.bytes,
                range.isWrite ? kWrite : kRead);
}

void performOne(Warp &warp, const std::shared_ptr<Pending> &pending);

/// Takes it out of the queue, does what must come before, and performs it.
void performNow(Warp &warp, std::shared_ptr<Pending> pending) {
  if (pending->ordered)
    while (true) {
      auto it = std::find_if(warp.pending.begin(), warp.pending.end(), [&](const auto &other) {
        return other->ordered && other->track == pending->track && other->order < pending->order;
      });
      if (it == warp.pending.end())
        break;
      std::shared_ptr<Pending> earlier = *it;
      warp.pending.erase(it);
      performOne(warp, earlier);
    }
  std::erase(warp.pending, pending);
  performOne(warp, pending);
}

void performOne(Warp &warp, const std::shared_ptr<Pending> &pending) {
  try {
    for (const SharedRange &range : pending->ranges)
      if (range.isWrite && range.block->liveWarps == 0)
        stop(ViolationKind::kIllegalInstruction,
             "the operation writes shared memory of block " + std::to_string(range.block->rank) +
                 " of the cluster after that block has ended",
             pending->lane, range.offset);
    pending->perform(*pending);
    for (const SharedRange &range : pending->ranges)
      if (range.isWrite)
        std::memset(range.block->sharedInitialised.data() + range.offset, 1, range.bytes);
  } catch (Stop &caught) { // the report names who issued it
    const Code &code = *warp.block->cluster->state->code;
    if (caught.violation.line == 0) {
      caught.violation.line = pending->op->line;
      caught.violation.instruction = std::string(code.texts[pending->op->instruction]);
      caught.violation.lane = pending->lane;
      caught.violation.kernel = code.info.name;
      caught.violation.block = warp.block->id;
      caught.violation.warp = warp.index;
    }
    throw;
  }
  ++warp.block->cluster->progress;
}

void readSources(Pending &pending) {
  if (!pending.sourcesRead && pending.readSources)
    pending.readSources();
  pending.sourcesRead = true;
}

} // namespace

Clock pendingClock(const Pending &pending) {
  Clock clock;
  clock.of[pending.agent] = clock.tensor[pending.agent] = pending.time;
  return clock;
}

void issue(Warp &warp, const Op &op, Pending given) {
  Cluster &cluster = *warp.block->cluster;
  auto pending = std::make_shared<Pending>(std::move(given));
  pending->op = &op;
  pending->group = warp.committed[static_cast<int>(pending->track)][pending->lane];
  pending->agent = agentFor(warp, *pending);
  pending->time = pending->ordered ? ++cluster.time[pending->agent] : cluster.time[pending->agent];
  pending->order = ++cluster.issued;
  ++cluster.progress;
  Accessor who{&warp.clock, pending->agent, pending->time, !pending->genericProxy};
  bool check = optionsOf(warp).checkInitialised;
  noteLanes(warp, *pending);
  for (bool writes : {false, true}) {
    std::optional<RaceCheck> race; // of one block: ranges of a matrix mostly find equal cells
    const Block *block = nullptr;
    for (const SharedRange &range : pending->ranges) {
      if (range.isWrite != writes)
        continue;
      if (range.block != block)
        race.emplace(*range.block, writes ? kWrite : kRead, who, pending->lane);
      block = range.block;
      checkRange(*pending, range, *race, check);
    }
  }
  AsyncOrder order = optionsOf(warp).asyncOrder;
  if (order == AsyncOrder::kEarliest || (order == AsyncOrder::kRandom && cluster.random() % 3 == 0))
    performNow(warp, std::move(pending));
  else
    warp.pending.push_back(std::move(pending));
}

void commitGroup(Warp &warp, Track track, uint32_t mask) {
  auto t = static_cast<int>(track);
  Cluster &cluster = *warp.block->cluster;
  uint32_t agent = warp.trackAgents[t];
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint32_t group = warp.committed[t][l]++;
    if (agent == 0)
      continue;
    std::vector<uint32_t> &times = warp.groupTimes[t];
    if (times.size() <= group)
      times.resize(group + 1, 0);
    times[group] = cluster.time[agent];
  }
  if (agent != 0)
    ++cluster.time[agent];
}

void waitGroups(Warp &warp, Track track, uint32_t mask, uint32_t keep, bool readOnly) {
  auto t = static_cast<int>(track);
  auto limit = [&](uint32_t lane) {
    uint32_t committed = warp.committed[t][lane];
    return committed > keep ? committed - keep : 0;
  };
  std::vector<std::shared_ptr<Pending>> due;
  for (const auto &pending : warp.pending)
    if (pending->track == track && (mask & 1u << pending->lane) &&
        pending->group < limit(pending->lane))
      due.push_back(pending);
  for (const auto &pending : due) {
    if (readOnly && pending->readSources)
      readSources(*pending);
    else if (std::find(warp.pending.begin(), warp.pending.end(), pending) != warp.pending.end())
      performNow(warp, pending);
  }
  uint32_t agent = warp.trackAgents[t];
  if (agent == 0)
    return;
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      if (uint32_t groups = limit(l); groups > 0 && groups <= warp.groupTimes[t].size())
        warp.clock.of[agent] = std::max(warp.clock.of[agent], warp.groupTimes[t][groups - 1]);
}

void drain(Warp &warp, Track track) {
  while (true) {
    auto it = std::find_if(warp.pending.begin(), warp.pending.end(),
                           [&](const auto &pending) { return pending->track == track; });
    if (it == warp.pending.end())
      return;
    performNow(warp, *it);
  }
}

bool advance(Cluster &cluster, bool force) {
  Warp *warp = nullptr;
  std::shared_ptr<Pending> chosen;
  uint64_t seen = 0;
  for (Block &block : cluster.blocks)
    for (Warp &candidate : block.warps) {
      for (const auto &pending : candidate.pending) {
        // Forced: the oldest one that somebody may wait for on an mbarrier, before all others.
        auto key = [](const Pending &p) {
          bool waitedFor = p.track == Track::kMbarrier || p.track == Track::kTensor;
          return std::pair(!waitedFor, p.order);
        };
        bool better =
            force ? !chosen || key(*pending) < key(*chosen) : cluster.random() % ++seen == 0;
        if (better) {
          chosen = pending;
          warp = &candidate;
        }
      }
      if (!force && !candidate.copies.empty() && cluster.random() % 4 == 0) {
        size_t i = cluster.random() % candidate.copies.size();
        std::swap(candidate.copies[i], candidate.copies.back());
        Copy copy = candidate.copies.back();
        candidate.copies.pop_back();
        std::vector<Copy> rest = std::exchange(candidate.copies, {std::move(copy)});
        performCopies(candidate, ~0u, 0, true);
        candidate.copies = std::move(rest);
      }
    }
  if (!chosen)
    return false;
  performNow(*warp, std::move(chosen));
  return true;
}

void finishBlock(Block &block) {
  for (Warp &warp : block.warps) {
    std::deque<std::shared_ptr<Pending>> left = std::exchange(warp.pending, {});
    for (const auto &pending : left) {
      bool isUnread = false;
      for (const SharedRange &range : pending->ranges)
        isUnread |= !pending->sourcesRead || range.isWrite;
      if (isUnread && pending->track != Track::kMatrix && pending->track != Track::kTensor)
        stop(ViolationKind::kIllegalInstruction,
             "the block ends while the asynchronous operation of line " +
                 std::to_string(pending->op->line) +
                 " still uses its shared memory (it was not waited for)",
             pending->lane);
      if (!isUnread)
        performOne(warp, pending);
    }
    warp.copies.clear();
  }
  finishMatrixState(block);
}

void issueCopy(Warp &warp, Copy copy) {
  Block &block = *warp.block;
  RaceCheck check(block, kWrite, accessorOf(warp), 0);
  uint32_t granularity = block.cluster->state->code->sharedGranularity;
  const uint32_t *committed = warp.committed[static_cast<int>(Track::kCopy)];
  stampLanes(warp);
  for (uint32_t m = copy.lanes; m; m &= m - 1) {
    auto l = static_cast<uint32_t>(std::countr_zero(m));
    if (!block.cells.empty()) {
      check.setLane(l);
      check.touch(copy.target[l], copy.bytes, granularity);
    }
    if (checksLanes(block))
      touchLane(warp, block, l, copy.target[l], copy.bytes, kWrite);
    std::memset(block.shared.data() + copy.target[l], kPoison, copy.bytes);
    std::memset(block.sharedInitialised.data() + copy.target[l], 0, copy.bytes);
    copy.group[l] = committed[l];
  }
  AsyncOrder order = optionsOf(warp).asyncOrder;
  bool now = order == AsyncOrder::kEarliest ||
             (order == AsyncOrder::kRandom && block.cluster->random() % 3 == 0);
  if (!now) {
    warp.copies.push_back(copy);
    return;
  }
  std::vector<Copy> rest = std::exchange(warp.copies, {copy});
  performCopies(warp, ~0u, 0, true);
  warp.copies = std::move(rest);
}

namespace {

void performCopy(Warp &warp, Copy &copy, uint32_t lanes, RaceCheck &check) {
  Block &block = *warp.block;
  uint32_t granularity = block.cluster->state->code->sharedGranularity;
  stampLanes(warp);
  for (uint32_t m = lanes; m; m &= m - 1) {
    auto l = static_cast<uint32_t>(std::countr_zero(m));
    uint8_t *target = block.shared.data() + copy.target[l];
    uint32_t bytes = copy.sourceBytes[l];
    if (bytes != 0)
      std::memcpy(target, resolveGlobal(warp, copy.source[l], bytes, kRead, l, 1), bytes);
    if (bytes != copy.bytes)
      std::memset(target + bytes, 0, copy.bytes - bytes);
    if (!block.cells.empty()) {
      check.setLane(l);
      check.touch(copy.target[l], copy.bytes, granularity);
    }
    if (checksLanes(block))
      touchLane(warp, block, l, copy.target[l], copy.bytes, kWrite);
    setInitialised(block.sharedInitialised.data() + copy.target[l], copy.bytes);
  }
  copy.lanes &= ~lanes;
}

} // namespace

void performCopies(Warp &warp, uint32_t mask, uint32_t keep, bool all) {
  if (warp.copies.empty())
    return;
  // Copies write as an agent of their own, so that no proxy fence is asked for between cp.async and
  // what reads through the asynchronous proxy: kernels that run on hardware have none there.
  uint32_t &agent = warp.trackAgents[static_cast<int>(Track::kCopy)];
  if (agent == 0)
    agent = warp.block->cluster->newAgent();
  uint32_t time = ++warp.block->cluster->time[agent];
  RaceCheck check(*warp.block, kWrite, {&warp.clock, agent, time, false}, 0);
  const uint32_t *committed = warp.committed[static_cast<int>(Track::kCopy)];
  for (Copy &copy : warp.copies) {
    uint32_t due = copy.lanes & mask;
    for (uint32_t m = all ? 0 : due; m; m &= m - 1) {
      auto l = static_cast<uint32_t>(std::countr_zero(m));
      if (copy.group[l] + keep >= committed[l])
        due &= ~(1u << l);
    }
    try {
      performCopy(warp, copy, due, check);
    } catch (Stop &caught) {
      caught.violation.line = copy.op->line;
      caught.violation.instruction =
          std::string(warp.block->cluster->state->code->texts[copy.op->instruction]);
      throw;
    }
  }
  std::erase_if(warp.copies, [](const Copy &copy) { return copy.lanes == 0; });
  warp.clock.of[agent] = time;
}

} // namespace platen::ptxsim
