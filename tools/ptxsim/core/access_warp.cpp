// Accesses of a whole warp at once: where all lanes lie in one space and one allocation, checks
// cost little; whatever is wrong or mixed goes the slow way, lane by lane, which says what it is.
#include "tools/ptxsim/core/access.h"

#include "tools/ptxsim/core/global_races.h"
#include "tools/ptxsim/core/lane_races.h"
#include "tools/ptxsim/core/races.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

/// The allocation that this instruction may access at `address`; null where the slow way must say
/// what is wrong.
const Allocation *recentAllocation(Warp &warp, const Op &op, uint64_t address) {
  Cluster &cluster = *warp.block->cluster;
  const Allocation *&recent = cluster.recent[op.instruction % std::size(cluster.recent)];
  if (recent && address >= recent->begin && address < recent->end) [[likely]]
    return recent;
  const Allocation *a = findAllocation(warp, address, 1);
  const Launch &launch = *cluster.state->launch;
  if (!a || (a->owner != kHostOwner && a->owner != launch.device &&
             !(launch.mayAccess && launch.mayAccess(a->owner))))
    return nullptr;
  return recent = a;
}

} // namespace

uint8_t *resolveBlock(Warp &warp, const Op &op, const uint64_t (&address)[32], uint32_t bytes,
                      int access) {
  uint64_t first = address[0];
  uint64_t different = 0;
  for (uint64_t l = 0; l < 32; ++l)
    different |= address[l] ^ (first + l * bytes);
  if (different != 0 || first % bytes != 0)
    return nullptr;
  ptx::Space space = spaceOf(op, first);
  uint32_t all = bytes * 32;
  const Options &options = *warp.block->cluster->state->options;
  if (space == ptx::Space::kShared) {
    Block &block = *warp.block;
    if (first >= block.shared.size() || all > block.shared.size() - first)
      return nullptr;
    auto offset = static_cast<uint32_t>(first);
    uint8_t *shadow = block.sharedInitialised.data() + offset;
    if (access & kRead) {
      if (options.checkInitialised && std::memchr(shadow, 0, all))
        return nullptr;
    } else {
      std::memset(shadow, 1, all);
    }
    if (!block.cells.empty()) {
      RaceCheck check(block, access, accessorOf(warp), 0);
      check.spread(offset, bytes);
      check.touch(offset, all, warp.block->cluster->state->code->sharedGranularity);
    }
    if (checksLanes(block)) {
      uint32_t offsets[32];
      for (uint32_t l = 0; l < 32; ++l)
        offsets[l] = offset + l * bytes;
      touchLanes(warp, block, ~0u, offsets, bytes, access);
    }
    if (options.counters)
      countShared(warp, ~0u, address, bytes, access);
    return block.shared.data() + offset;
  }
  if (space != ptx::Space::kGlobal && space != ptx::Space::kConst)
    return nullptr;
  const Allocation *a = recentAllocation(warp, op, first);
  if (!a || all > a->end - first)
    return nullptr;
  if (a->initialised) {
    uint8_t *shadow = a->initialised + (first - a->begin);
    if (access & kWrite)
      std::memset(shadow, 1, all);
    else if (options.checkInitialised && std::memchr(shadow, 0, all))
      return nullptr;
  }
  if (GlobalRaces *races = warp.block->cluster->state->globalRaces.get())
    for (uint32_t l = 0; l < 32; ++l)
      races->touch(warp, *a, address[l], bytes, access, l);
  if (options.counters)
    countGlobal(warp, ~0u, address, bytes, access);
  return reinterpret_cast<uint8_t *>(first);
}

namespace {

struct Extent {
  uint64_t low = ~uint64_t{0}, high = 0, bits = 0;
};
Extent extentOf(uint32_t mask, const uint64_t (&address)[32]) {
  Extent e;
  for (uint32_t l = 0; l < 32; ++l) {
    uint64_t in = 0 - uint64_t{mask >> l & 1}, a = address[l];
    e.low = std::min(e.low, a | ~in);
    e.high = std::max(e.high, a & in);
    e.bits |= a & in;
  }
  return e;
}

/// All lanes in one allocation of global memory: bounds are checked once.
bool resolveGlobalLanes(Warp &warp, const Op &op, uint32_t mask, const uint64_t (&address)[32],
                        uint32_t bytes, int access, const Extent &e, uint8_t *(&host)[32]) {
  const Allocation *a = recentAllocation(warp, op, e.low);
  if (!a || e.high >= a->end || bytes > a->end - e.high)
    return false;
  if (a->initialised) {
    auto shadow = [&](int lane) { return a->initialised + (address[lane] - a->begin); };
    bool ok = true;
    if ((access & kRead) && checksInitialised(warp))
      for (uint32_t m = mask; m; m &= m - 1)
        ok &= access & kAtomic ? allInitialisedShared(shadow(std::countr_zero(m)), bytes)
                               : allInitialised(shadow(std::countr_zero(m)), bytes);
    if (!ok)
      return false;
    if (access & kWrite)
      for (uint32_t m = mask; m; m &= m - 1) {
        if (access & kAtomic)
          setInitialisedShared(shadow(std::countr_zero(m)), bytes);
        else
          setInitialised(shadow(std::countr_zero(m)), bytes);
      }
  }
  if (GlobalRaces *races = warp.block->cluster->state->globalRaces.get())
    for (uint32_t m = mask; m; m &= m - 1) {
      auto l = static_cast<uint32_t>(std::countr_zero(m));
      races->touch(warp, *a, address[l], bytes, access, l);
    }
  for (uint32_t l = 0; l < 32; ++l)
    host[l] = reinterpret_cast<uint8_t *>(address[l]);
  if (warp.block->cluster->state->options->counters)
    countGlobal(warp, mask, address, bytes, access);
  return true;
}

/// All lanes in the own block's shared memory.
bool resolveSharedLanes(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                        int access, const Extent &e, uint8_t *(&host)[32]) {
  Block &block = *warp.block;
  uint64_t window = e.low & kWindowMask, high = e.high - window;
  if (high >= block.shared.size() || bytes > block.shared.size() - high)
    return false;
  uint8_t *shadow = block.sharedInitialised.data();
  uint32_t offset[32];
  for (uint32_t l = 0; l < 32; ++l)
    offset[l] = static_cast<uint32_t>(address[l]);
  const LaunchState &state = *block.cluster->state;
  bool ok = true;
  if ((access & kRead) && state.options->checkInitialised)
    for (uint32_t m = mask; m; m &= m - 1)
      ok &= allInitialised(shadow + offset[std::countr_zero(m)], bytes);
  if (!ok)
    return false;
  if (access & kWrite)
    for (uint32_t m = mask; m; m &= m - 1)
      setInitialised(shadow + offset[std::countr_zero(m)], bytes);
  if (!block.cells.empty()) {
    RaceCheck check(block, access, accessorOf(warp), 0);
    for (uint32_t m = mask; m; m &= m - 1) {
      auto l = static_cast<uint32_t>(std::countr_zero(m));
      check.setLane(l);
      check.touch(offset[l], bytes, state.code->sharedGranularity);
    }
  }
  if (checksLanes(block))
    touchLanes(warp, block, mask, offset, bytes, access);
  for (uint32_t m = mask; m; m &= m - 1) {
    auto l = static_cast<uint32_t>(std::countr_zero(m));
    host[l] = block.shared.data() + offset[l];
  }
  if (state.options->counters)
    countShared(warp, mask, address, bytes, access);
  return true;
}

} // namespace

void resolve(Warp &warp, const Op &op, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
             int access, uint8_t *(&host)[32]) {
  Extent e = extentOf(mask, address);
  bool together = !op.generic || (e.low & kWindowMask) == (e.high & kWindowMask);
  if (together && e.bits % bytes == 0 && !(access & kUnchecked)) {
    uint64_t first = e.low;
    ptx::Space space = spaceOf(op, first);
    if (space == ptx::Space::kShared) {
      if (resolveSharedLanes(warp, mask, address, bytes, access, e, host))
        return;
    } else if (space == ptx::Space::kGlobal || space == ptx::Space::kConst) {
      if (resolveGlobalLanes(warp, op, mask, address, bytes, access, e, host))
        return;
    }
  }
  uint64_t plain[32];
  uint32_t globals = 0, shareds = 0;
  stampLanes(warp);
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    plain[l] = address[l];
    ptx::Space space = spaceOf(op, plain[l]);
    host[l] = resolveOne(warp, space, plain[l], bytes, access | kSameInstruction, l);
    globals |= space == ptx::Space::kGlobal || space == ptx::Space::kConst ? 1u << l : 0;
    shareds |= space == ptx::Space::kShared ? 1u << l : 0;
  }
  if (!warp.block->cluster->state->options->counters)
    return;
  if (globals)
    countGlobal(warp, globals, address, bytes, access);
  if (shareds)
    countShared(warp, shareds, plain, bytes, access);
}

} // namespace platen::ptxsim
