// Mbarriers: the 8 bytes in shared memory, and what is known of them beside.
#include "tools/ptxsim/core/asynchrony.h"

#include <cstring>

namespace platen::ptxsim {
namespace {

uint64_t load(const Block &block, uint32_t offset) {
  uint64_t bits;
  std::memcpy(&bits, block.shared.data() + offset, 8);
  return bits;
}
void store(Block &block, uint32_t offset, const MbarrierWord &word) {
  uint64_t bits = word.pack();
  std::memcpy(block.shared.data() + offset, &bits, 8);
}

MbarrierState &stateOf(Block &block, uint32_t offset) {
  auto it = block.mbarriers.find(offset);
  if (it == block.mbarriers.end())
    stop(ViolationKind::kIllegalInstruction,
         "there is no initialised mbarrier at shared address " + hexOf(offset), 0, offset);
  if (!(load(block, offset) & kMbarrierMark))
    stop(ViolationKind::kIllegalInstruction,
         "the mbarrier at shared address " + hexOf(offset) + " was overwritten", 0, offset);
  return it->second;
}

void completeIfDone(Block &block, MbarrierState &state, MbarrierWord &word) {
  if (word.pending != 0 || word.tx != 0)
    return;
  word.pending = word.expected;
  word.parity = !word.parity;
  ++state.phase;
  state.completed = state.arriving;
  state.arriving = Clock{};
  ++block.cluster->time[state.agent];
}

} // namespace

MbarrierWord MbarrierWord::unpack(uint64_t bits) {
  auto tx = static_cast<int32_t>(bits >> 40 & 0x3FFFFF);
  return {static_cast<uint32_t>(bits & kMbarrierMaxCount),
          static_cast<uint32_t>(bits >> 20 & kMbarrierMaxCount),
          tx >= 0x200000 ? tx - 0x400000 : tx, (bits >> 63) != 0};
}

uint64_t MbarrierWord::pack() const {
  return uint64_t{expected} | uint64_t{pending} << 20 |
         (static_cast<uint64_t>(static_cast<uint32_t>(tx)) & 0x3FFFFF) << 40 | kMbarrierMark |
         uint64_t{parity} << 63;
}

std::string describeMbarrier(uint64_t bits, const MbarrierState &state) {
  MbarrierWord word = MbarrierWord::unpack(bits);
  return "phase " + std::to_string(state.phase) + ", " + std::to_string(word.pending) + " of " +
         std::to_string(word.expected) + " arrivals and " + std::to_string(word.tx) +
         " bytes of transactions are missing";
}

void arriveOn(Block &block, uint32_t offset, uint32_t count, const Clock &clock) {
  MbarrierState &state = stateOf(block, offset);
  MbarrierWord word = MbarrierWord::unpack(load(block, offset));
  if (count > word.pending)
    stop(ViolationKind::kIllegalInstruction,
         std::to_string(count) + " arrivals at the mbarrier at shared address " + hexOf(offset) +
             ", of which only " + std::to_string(word.pending) + " are left in this phase (of " +
             std::to_string(word.expected) + ")",
         0, offset);
  word.pending -= count;
  state.arriving.merge(clock);
  completeIfDone(block, state, word);
  store(block, offset, word);
  ++block.cluster->progress;
}

void expectTx(Block &block, uint32_t offset, uint32_t bytes) {
  MbarrierState &state = stateOf(block, offset);
  MbarrierWord word = MbarrierWord::unpack(load(block, offset));
  word.tx += static_cast<int32_t>(bytes);
  if (bytes > kMbarrierMaxCount || word.tx > static_cast<int32_t>(kMbarrierMaxCount))
    stop(ViolationKind::kIllegalInstruction,
         "the mbarrier at shared address " + hexOf(offset) + " would expect " +
             std::to_string(word.tx) + " bytes, more than 2^20 - 1",
         0, offset);
  completeIfDone(block, state, word);
  store(block, offset, word);
  ++block.cluster->progress;
}

void completeTx(Block &block, uint32_t offset, uint32_t bytes, const Clock &clock) {
  MbarrierState &state = stateOf(block, offset);
  MbarrierWord word = MbarrierWord::unpack(load(block, offset));
  word.tx -= static_cast<int32_t>(bytes);
  if (word.tx < -static_cast<int32_t>(kMbarrierMaxCount))
    stop(ViolationKind::kIllegalInstruction,
         "the mbarrier at shared address " + hexOf(offset) +
             " got more bytes than it can count: it expects too few",
         0, offset);
  state.arriving.merge(clock);
  completeIfDone(block, state, word);
  store(block, offset, word);
  ++block.cluster->progress;
}

void addPending(Block &block, uint32_t offset, uint32_t count) {
  stateOf(block, offset);
  MbarrierWord word = MbarrierWord::unpack(load(block, offset));
  word.pending += count;
  if (word.pending > kMbarrierMaxCount)
    stop(ViolationKind::kIllegalInstruction, "an mbarrier's pending count overflows", 0, offset);
  store(block, offset, word);
}

void dropFrom(Block &block, uint32_t offset, uint32_t count) {
  stateOf(block, offset);
  MbarrierWord word = MbarrierWord::unpack(load(block, offset));
  if (count > word.expected)
    stop(ViolationKind::kIllegalInstruction, "more threads drop out than the mbarrier expects", 0,
         offset);
  word.expected -= count;
  store(block, offset, word);
}

MbarrierState &mbarrierAt(Warp &warp, uint64_t address, uint32_t lane, Block *&block,
                          uint32_t &offset) {
  block = &sharedBlock(warp, address, 8, lane, offset);
  if (offset % 8 != 0)
    stop(ViolationKind::kMisaligned,
         "the mbarrier at shared address " + hexOf(offset) + " is not aligned to 8 bytes", lane,
         offset);
  MbarrierState &state = stateOf(*block, offset);
  touchShared(*block, offset, 8, kRead | kWrite | kAtomic,
              {&warp.clock, warp.agent, warp.clock.of[warp.agent], false}, lane);
  return state;
}

} // namespace platen::ptxsim
