// tcgen05: allocation, commit and fences, and the dispatch to its other files.
#include "tools/ptxsim/core/tensor_core5.h"

namespace platen::ptxsim {
namespace {

void runAllocate(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  uint32_t columns = uniformWord(warp, op.r[2], mask, "the number of columns");
  uint64_t address[32];
  addresses(warp, op, 1, address);
  uint32_t base = tensorMemory(*warp.block).allocate(columns);
  uint8_t *host = resolveShared(warp, address[0], 4, kWrite, 0, 4);
  std::memcpy(host, &base, 4);
}

void runRelease(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  tensorMemory(*warp.block)
      .release(uniformWord(warp, op.r[1], mask, "the address"),
               uniformWord(warp, op.r[2], mask, "the number of columns"));
}

void runRelinquish(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  tensorMemory(*warp.block).relinquish();
}

/// op.variant: 1 multicast.
void runCommit(Warp &warp, const Op &op, uint32_t mask) {
  uint64_t address[32];
  addresses(warp, op, 1, address);
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    uint32_t offset = 0;
    Block *target = &sharedBlock(warp, address[lane], 8, lane, offset);
    uint32_t blocks = op.variant ? warp.lanes<uint32_t>(op.r[2])[lane] & 0xFFFF : 0;
    Cluster &cluster = *warp.block->cluster;
    if (op.variant && (blocks == 0 || blocks >> cluster.blocks.size()))
      stop(ViolationKind::kIllegalInstruction,
           "ctaMask " + hexOf(blocks) + " names no block, or one that the cluster does not have",
           lane);
    Pending pending;
    pending.track = Track::kTensor;
    pending.ordered = true;
    pending.lane = lane;
    // What came before the products in this thread came before their completion: whoever waits for
    // it may overwrite what they read, whichever thread had written that.
    pending.perform = [&cluster, target, offset, blocks, before = warp.clock](const Pending &self) {
      Clock clock = before;
      clock.merge(pendingClock(self));
      if (blocks == 0)
        arriveOn(*target, offset, 1, clock);
      for (uint32_t rank = 0; rank < 16; ++rank)
        if (blocks >> rank & 1)
          arriveOn(cluster.blocks[rank], offset, 1, clock);
    };
    issue(warp, op, std::move(pending));
  }
}

/// before_thread_sync lets what synchronises next carry the warp's tcgen05 operations along;
/// after_thread_sync lets the following ones come after those that arrived so.
void runFence(Warp &warp, const Op &op, uint32_t) {
  Clock &clock = warp.clock;
  if (op.variant == 0) {
    clock.tensor[warp.agent] = clock.of[warp.agent];
    tick(warp);
    return;
  }
  for (uint32_t a = 0; a < kAgents; ++a)
    warp.tensorSeen[a] = std::max(warp.tensorSeen[a], clock.tensor[a]);
  tensorMemory(*warp.block).fenceAfter(warp);
}

bool sharedAddress(Lowering &lowering, const Instruction &i, Op &op) {
  op.generic = true;
  for (std::string_view part : i.parts)
    op.generic &= part != "shared" && part != "shared::cta" && part != "shared::cluster";
  op.space = Space::kShared;
  return lowering.address(i.operands[0], op, 1);
}

bool lowerAllocation(Lowering &lowering, const Instruction &i, bool isRelease) {
  Place columns, address;
  if (!lowering.operands(i, 2, 2) || !lowering.source(i.operands[1], false, columns))
    return false;
  if (isRelease && !lowering.source(i.operands[0], false, address))
    return false;
  Op &op = lowering.emit(isRelease ? &runRelease : &runAllocate, Pipe::kAsync);
  op.r[1] = address.offset;
  op.r[2] = columns.offset;
  return isRelease || sharedAddress(lowering, i, op);
}

bool lowerCommit(Lowering &lowering, const Instruction &i) {
  bool isMulticast = Lowering::has(i, "multicast::cluster");
  if (!Lowering::has(i, "mbarrier::arrive::one"))
    return lowering.refuse("tcgen05.commit needs .mbarrier::arrive::one");
  size_t count = isMulticast ? 2 : 1;
  Place blocks;
  if (!lowering.operands(i, count, count) ||
      (isMulticast && !lowering.source(i.operands[1], false, blocks)))
    return false;
  Op &op = lowering.emit(&runCommit, Pipe::kAsync);
  op.variant = isMulticast;
  op.r[2] = blocks.offset;
  return sharedAddress(lowering, i, op);
}

} // namespace

bool tensorAddress(Lowering &lowering, const Operand &operand, uint32_t &slot, uint32_t &offset) {
  if (operand.kind != Operand::Kind::kAddress || operand.elements.size() != 1)
    return lowering.refuse("a tensor-memory address in brackets is needed");
  Place place;
  if (!lowering.source(operand.elements[0], false, place))
    return false;
  slot = place.offset;
  offset = static_cast<uint32_t>(operand.offset);
  return true;
}

bool ctaGroup(Lowering &lowering, const Instruction &i, uint8_t &group) {
  group = Lowering::has(i, "cta_group::1") ? 1 : Lowering::has(i, "cta_group::2") ? 2 : 0;
  return group != 0 || lowering.refuse("it has no .cta_group");
}

uint32_t uniformWord(Warp &warp, uint32_t slot, uint32_t mask, std::string_view what) {
  const uint32_t *lanes = warp.lanes<uint32_t>(slot);
  auto first = static_cast<uint32_t>(__builtin_ctz(mask));
  for (uint32_t lane = first; lane < 32; ++lane)
    if ((mask >> lane & 1) && lanes[lane] != lanes[first])
      stop(ViolationKind::kIllegalInstruction, std::string(what) + " is not the same in all lanes",
           lane);
  return lanes[first];
}

Block &peerOf(Block &block) {
  std::vector<Block> &blocks = block.cluster->blocks;
  uint32_t rank = block.rank ^ 1;
  if (rank >= blocks.size())
    stop(ViolationKind::kIllegalInstruction, ".cta_group::2 in a cluster without a peer block");
  return blocks[rank];
}

bool lowerTensorCore5(Lowering &lowering, const Instruction &i) {
  std::string_view name = i.parts.size() > 1 ? i.parts[1] : std::string_view();
  if (name == "fence::before_thread_sync" || name == "fence::after_thread_sync") {
    if (!lowering.operands(i, 0, 0))
      return false;
    lowering.emit(&runFence, Pipe::kAsync).variant = name == "fence::after_thread_sync";
    return true;
  }
  if (name == "ld" || name == "st" || name == "wait::ld" || name == "wait::st")
    return lowerTensorMove(lowering, i);
  uint8_t group = 0;
  if (!ctaGroup(lowering, i, group))
    return false;
  if (name == "alloc" || name == "dealloc")
    return lowerAllocation(lowering, i, name == "dealloc");
  if (name == "relinquish_alloc_permit") {
    lowering.emit(&runRelinquish, Pipe::kAsync);
    return lowering.operands(i, 0, 0);
  }
  if (name == "commit")
    return lowerCommit(lowering, i);
  if (name == "cp")
    return lowerTensorCopy(lowering, i);
  if (name == "mma")
    return lowerTensorMma(lowering, i);
  return lowering.refuse("tcgen05." + std::string(name) + " is not executed");
}

} // namespace platen::ptxsim
