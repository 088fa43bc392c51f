// Every access to memory: which space, which bytes, whether it may.
#include "tools/ptxsim/core/access.h"

#include "tools/ptxsim/core/global_races.h"
#include "tools/ptxsim/core/lane_races.h"
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

/// One range of global memory: bounds are checked already.
void checkGlobal(Warp &warp, const Allocation &a, uint64_t address, uint32_t bytes, int access,
                 uint32_t lane) {
  if (GlobalRaces *races = warp.block->cluster->state->globalRaces.get())
    races->touch(warp, a, address, bytes, access, lane);
  if (!a.initialised)
    return;
  uint8_t *shadow = a.initialised + (address - a.begin);
  bool isStrong = access & kAtomic;
  if ((access & kRead) && checksInitialised(warp) &&
      !(isStrong ? allInitialisedShared(shadow, bytes) : allInitialised(shadow, bytes)))
    uninitialised("global", address, bytes, shadow, lane, "");
  if ((access & kWrite) && isStrong)
    setInitialisedShared(shadow, bytes);
  else if (access & kWrite)
    std::memset(shadow, 1, bytes);
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

} // namespace

const Allocation *findAllocation(Warp &warp, uint64_t address, uint32_t bytes) {
  const AllocationTable &table = *warp.block->cluster->state->table;
  auto it = std::upper_bound(table.begin(), table.end(), address,
                             [](uint64_t a, const Allocation &b) { return a < b.begin; });
  if (it == table.begin())
    return nullptr;
  --it;
  return address < it->end && bytes <= it->end - address ? &*it : nullptr;
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
    if (checksLanes(block)) {
      if (!(access & kSameInstruction))
        stampLanes(warp);
      touchLane(warp, block, lane, offset, bytes, access);
    }
  }
  return block.shared.data() + offset;
}

uint8_t *resolveGlobal(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment) {
  align(address, alignment, lane, access);
  const Allocation &a = allocationOf(warp, address, bytes, access, lane);
  if (!(access & kUnchecked))
    checkGlobal(warp, a, address, bytes, access, lane);
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

} // namespace platen::ptxsim
