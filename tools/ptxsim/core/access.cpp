// Every access to memory: which space, which bytes, whether it may.
#include "tools/ptxsim/core/access.h"

#include "tools/ptxsim/core/races.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

std::string bytesText(uint32_t bytes) { return std::to_string(bytes) + " bytes"; }
const char *verb(int access) {
  return (access & kWrite) && (access & kRead) ? "atomic of "
         : access & kWrite                     ? "write of "
                                               : "read of ";
}

void align(uint64_t address, uint32_t alignment, uint32_t lane, int access) {
  if (address % alignment != 0)
    stop(ViolationKind::kMisaligned,
         std::string(verb(access)) + "an address " + hexOf(address) + " that is no multiple of " +
             bytesText(alignment),
         lane, address);
}

[[noreturn]] void uninitialised(const char *space, uint64_t address, uint32_t bytes,
                                const uint8_t *shadow, uint32_t lane, const std::string &more) {
  uint32_t at = 0;
  while (at + 1 < bytes && shadow[at] != 0)
    ++at;
  stop(ViolationKind::kUninitialisedRead,
       std::string(space) + " address " + hexOf(address + at) + " was never written" + more, lane,
       address + at);
}

/// Whether an operation in flight will write the byte: then it is no plain missing write.
std::string inFlight(const Block &block, uint32_t offset) {
  for (const Block &other : block.cluster->blocks)
    for (const Warp &warp : other.warps) {
      auto where = [&](const Op *op) {
        return ": the asynchronous operation of warp " + std::to_string(warp.index) + " in line " +
               std::to_string(op->line) + " has not completed (was it waited for?)";
      };
      for (const auto &pending : warp.pending)
        for (const SharedRange &range : pending->ranges)
          if (range.isWrite && range.block == &block && offset - range.offset < range.bytes)
            return where(pending->op);
      if (&other != &block)
        continue;
      for (const Copy &copy : warp.copies)
        for (uint32_t l = 0; l < 32; ++l)
          if (copy.lanes & 1u << l && offset - copy.target[l] < copy.bytes)
            return where(copy.op);
    }
  return {};
}

void checkShared(Block &block, uint32_t offset, uint32_t bytes, int access, uint32_t lane) {
  uint8_t *shadow = block.sharedInitialised.data() + offset;
  if ((access & kRead) && block.cluster->state->options->checkInitialised &&
      std::memchr(shadow, 0, bytes)) {
    uint32_t at = 0;
    while (shadow[at] != 0)
      ++at;
    uninitialised("shared", offset, bytes, shadow, lane, inFlight(block, offset + at));
  }
  if (access & kWrite)
    std::memset(shadow, 1, bytes);
}

const Allocation *findAllocation(Warp &warp, uint64_t address, uint32_t bytes) {
  const AllocationTable &table = *warp.block->cluster->state->table;
  auto it = std::upper_bound(table.begin(), table.end(), address,
                             [](uint64_t a, const Allocation &b) { return a < b.begin; });
  if (it == table.begin())
    return nullptr;
  --it;
  return address < it->end && bytes <= it->end - address ? &*it : nullptr;
}

[[noreturn]] void outside(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane) {
  const AllocationTable &table = *warp.block->cluster->state->table;
  std::string near;
  auto it = std::upper_bound(table.begin(), table.end(), address,
                             [](uint64_t a, const Allocation &b) { return a < b.begin; });
  if (it != table.begin()) {
    const Allocation &a = *std::prev(it);
    if (address < a.end)
      near = "; the allocation of " + std::to_string(a.end - a.begin) + " bytes at " +
             hexOf(a.begin) + " ends inside";
    else if (address - a.end < (uint64_t{1} << 30))
      near = ", " + std::to_string(address - a.end) + " bytes past the end of the allocation of " +
             std::to_string(a.end - a.begin) + " bytes at " + hexOf(a.begin);
  }
  if (near.empty() && it != table.end() && it->begin - address < (uint64_t{1} << 30))
    near = ", " + std::to_string(it->begin - address) + " bytes before the allocation at " +
           hexOf(it->begin);
  stop(ViolationKind::kOutOfBounds,
       std::string(verb(access)) + bytesText(bytes) + " at " + hexOf(address) +
           (near.empty() ? ", where no memory is allocated" : near),
       lane, address);
}

const Allocation &allocationOf(Warp &warp, uint64_t address, uint32_t bytes, int access,
                               uint32_t lane) {
  const Allocation *a = warp.lastAllocation;
  if (a && address >= a->begin && address < a->end && bytes <= a->end - address) [[likely]]
    return *a;
  a = findAllocation(warp, address, bytes);
  if (!a)
    outside(warp, address, bytes, access, lane);
  const Launch &launch = *warp.block->cluster->state->launch;
  if (a->owner != kHostOwner && a->owner != launch.device &&
      !(launch.mayAccess && launch.mayAccess(a->owner)))
    stop(ViolationKind::kOutOfBounds,
         hexOf(address) + " belongs to device " + std::to_string(a->owner) + ", to which device " +
             std::to_string(launch.device) + " has no peer access",
         lane, address);
  warp.lastAllocation = a;
  return *a;
}

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

/// One range of global memory: bounds are checked already.
void checkGlobal(const Allocation &a, uint64_t address, uint32_t bytes, int access, bool check,
                 uint32_t lane) {
  if (!a.initialised)
    return;
  uint8_t *shadow = a.initialised + (address - a.begin);
  if ((access & kRead) && check && !allInitialised(shadow, bytes))
    uninitialised("global", address, bytes, shadow, lane, "");
  if (access & kWrite)
    std::memset(shadow, 1, bytes);
}

bool checksInitialised(const Warp &warp) {
  return warp.block->cluster->state->options->checkInitialised;
}

void countGlobal(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                 int access) {
  uint64_t sectors[32 * 5];
  size_t count = 0;
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      for (uint64_t s = address[l] / 32; s <= (address[l] + bytes - 1) / 32; ++s)
        sectors[count++] = s;
  std::sort(sectors, sectors + count);
  count = static_cast<size_t>(std::unique(sectors, sectors + count) - sectors);
  Counters &c = warp.block->cluster->counters;
  (access & kWrite ? c.globalStoreRequests : c.globalLoadRequests) += 1;
  (access & kWrite ? c.globalStoreSectors : c.globalLoadSectors) += count;
}

/// Passes over 32 banks of 4 bytes: wide accesses go by halves and quarters of a warp.
void countShared(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                 int access) {
  uint32_t together = bytes <= 4 ? 32 : std::max(1u, 128 / bytes), waves = 0;
  for (uint32_t first = 0; first < 32; first += together) {
    uint32_t words[32 * 4], count = 0, ofBank[32] = {}, most = 0;
    for (uint32_t l = first; l < first + together; ++l)
      if (mask & 1u << l)
        for (auto w = static_cast<uint32_t>(address[l] & 0xFFFFFF) / 4, n = 0u;
             n < std::max(1u, bytes / 4) && count < 128; ++n)
          words[count++] = w + n;
    std::sort(words, words + count);
    count = static_cast<uint32_t>(std::unique(words, words + count) - words);
    for (uint32_t i = 0; i < count; ++i)
      most = std::max(most, ++ofBank[words[i] % 32]);
    waves += most;
  }
  Counters &c = warp.block->cluster->counters;
  (access & kWrite ? c.sharedStoreRequests : c.sharedLoadRequests) += 1;
  (access & kWrite ? c.sharedStoreWaves : c.sharedLoadWaves) += waves;
}

uint8_t *resolveLocal(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane) {
  size_t size = warp.block->cluster->state->code->info.localBytes;
  if (address > size || bytes > size - address)
    stop(ViolationKind::kOutOfBounds,
         std::string(verb(access)) + bytesText(bytes) + " at local address " + hexOf(address) +
             " of " + std::to_string(size) + " bytes",
         lane, address);
  uint8_t *shadow = warp.localInitialised + lane * size + address;
  if ((access & kRead) && checksInitialised(warp) && std::memchr(shadow, 0, bytes))
    uninitialised("local", address, bytes, shadow, lane, "");
  if (access & kWrite)
    std::memset(shadow, 1, bytes);
  return warp.local + lane * size + address;
}

ptx::Space spaceOf(const Op &op, uint64_t &address) {
  if (!op.generic)
    return op.space;
  uint64_t window = address & kWindowMask;
  if (window == kSharedWindow || window == kLocalWindow || window == kParamWindow)
    address &= ~kWindowMask;
  return window == kSharedWindow  ? ptx::Space::kShared
         : window == kLocalWindow ? ptx::Space::kLocal
         : window == kParamWindow ? ptx::Space::kParam
                                  : ptx::Space::kGlobal;
}

uint8_t *resolveOne(Warp &warp, ptx::Space space, uint64_t address, uint32_t bytes, int access,
                    uint32_t lane) {
  switch (space) {
  case ptx::Space::kShared:
    return resolveShared(warp, address, bytes, access, lane, bytes);
  case ptx::Space::kLocal:
    align(address, bytes, lane, access);
    return resolveLocal(warp, address, bytes, access, lane);
  case ptx::Space::kParam:
    align(address, bytes, lane, access);
    if (access & kWrite)
      stop(ViolationKind::kIllegalInstruction, "a kernel parameter is written", lane, address);
    return const_cast<uint8_t *>(parameterBytes(warp, address, bytes, lane));
  default:
    return resolveGlobal(warp, address, bytes, access, lane, bytes);
  }
}

} // namespace

const uint8_t *parameterBytes(Warp &warp, uint64_t offset, uint32_t bytes, uint32_t lane) {
  std::span<const std::byte> parameters = warp.block->cluster->state->launch->parameters;
  if (offset > parameters.size() || bytes > parameters.size() - offset)
    stop(ViolationKind::kOutOfBounds,
         "read of " + bytesText(bytes) + " at offset " + std::to_string(offset) + " of " +
             std::to_string(parameters.size()) + " bytes of parameters",
         lane, offset);
  return reinterpret_cast<const uint8_t *>(parameters.data()) + offset;
}

Block &sharedBlock(Warp &warp, uint64_t address, uint32_t bytes, uint32_t lane, uint32_t &offset) {
  if ((address & kWindowMask) == kSharedWindow)
    address &= ~kWindowMask;
  Block *block = warp.block;
  if (uint64_t rank = address >> kRankShift; rank != 0) {
    Cluster &cluster = *block->cluster;
    if (rank - 1 >= cluster.blocks.size())
      stop(ViolationKind::kOutOfBounds,
           "shared address " + hexOf(address) + " lies in no block of the cluster", lane, address);
    block = &cluster.blocks[rank - 1];
    address &= (1u << kRankShift) - 1;
    if (block != warp.block && block->liveWarps == 0)
      stop(ViolationKind::kOutOfBounds,
           "shared memory of block " + std::to_string(rank - 1) +
               " of the cluster is accessed after that block has ended",
           lane, address);
  }
  if (address > block->shared.size() || bytes > block->shared.size() - address)
    stop(ViolationKind::kOutOfBounds,
         bytesText(bytes) + " at shared address " + hexOf(address) + " reach past the " +
             std::to_string(block->shared.size()) + " bytes of shared memory",
         lane, address);
  offset = static_cast<uint32_t>(address);
  return *block;
}

uint8_t *resolveShared(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment) {
  uint32_t offset = 0;
  Block &block = sharedBlock(warp, address, bytes, lane, offset);
  align(offset, alignment, lane, access);
  if (!(access & kUnchecked)) {
    checkShared(block, offset, bytes, access, lane);
    touchShared(block, offset, bytes, access, accessorOf(warp), lane);
  }
  return block.shared.data() + offset;
}

uint8_t *resolveGlobal(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment) {
  align(address, alignment, lane, access);
  const Allocation &a = allocationOf(warp, address, bytes, access, lane);
  if (!(access & kUnchecked))
    checkGlobal(a, address, bytes, access, checksInitialised(warp), lane);
  return reinterpret_cast<uint8_t *>(address);
}

void addresses(Warp &warp, const Op &op, int slot, uint64_t (&address)[32]) {
  if (op.wideAddress) {
    const auto *base = warp.lanes<uint64_t>(op.r[slot]);
    for (int l = 0; l < 32; ++l)
      address[l] = base[l] + static_cast<uint64_t>(op.immediate);
    return;
  }
  const auto *base = warp.lanes<uint32_t>(op.r[slot]);
  for (int l = 0; l < 32; ++l)
    address[l] = base[l] + static_cast<uint32_t>(op.immediate);
  for (int l = 0; l < 32; ++l)
    address[l] &= 0xFFFFFFFFu;
}

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
  if (uint8_t *shadow = a->initialised) {
    shadow -= a->begin;
    bool ok = true;
    if ((access & kRead) && checksInitialised(warp))
      for (uint32_t m = mask; m; m &= m - 1)
        ok &= allInitialised(shadow + address[std::countr_zero(m)], bytes);
    if (!ok)
      return false;
    if (access & kWrite)
      for (uint32_t m = mask; m; m &= m - 1)
        setInitialised(shadow + address[std::countr_zero(m)], bytes);
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
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    plain[l] = address[l];
    ptx::Space space = spaceOf(op, plain[l]);
    host[l] = resolveOne(warp, space, plain[l], bytes, access, l);
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
