#include "tools/ptxsim/core/lane_races.h"

#include <bit>

namespace platen::ptxsim {
namespace {

[[noreturn]] void race(int access, uint32_t offset, uint32_t lane, bool otherWrites,
                       uint32_t other) {
  stop(ViolationKind::kSharedRace,
       std::string("this ") + (access & kWrite ? "write" : "read") + " of shared address " +
           hexOf(offset) + " races with a " + (otherWrites ? "write" : "read") + " by lane " +
           std::to_string(other) +
           " of the same warp: no bar.warp.sync (__syncwarp) or barrier orders them",
       lane, offset);
}

} // namespace

void checkLane(const Warp &warp, const Block &block, uint32_t lane, uint32_t offset, uint32_t bytes,
               int access) {
  if (bytes == 0)
    return;
  uint32_t granularity = block.cluster->state->code->sharedGranularity, self = 1u << lane;
  for (uint32_t c = offset / granularity; c <= (offset + bytes - 1) / granularity; ++c) {
    const LaneCell &cell = block.laneCells[c];
    if (cell.agent != warp.agent) // another warp's: races.h has compared them
      continue;
    bool bothStrong = (access & kAtomic) && cell.isStrong;
    bool isRecent = cell.writeStamp > warp.laneSync && cell.writeStamp != warp.laneStamp;
    if (isRecent && cell.writer != lane && !bothStrong)
      race(access, c * granularity, lane, true, cell.writer);
    uint32_t others = cell.readStamp > warp.laneSync ? cell.readers & ~self : 0;
    if ((access & kWrite) && others)
      race(access, c * granularity, lane, false, static_cast<uint32_t>(std::countr_zero(others)));
  }
}

void noteLane(const Warp &warp, Block &block, uint32_t lane, uint32_t offset, uint32_t bytes,
              int access) {
  if (bytes == 0)
    return;
  uint32_t granularity = block.cluster->state->code->sharedGranularity;
  for (uint32_t c = offset / granularity; c <= (offset + bytes - 1) / granularity; ++c) {
    LaneCell &cell = block.laneCells[c];
    if (cell.agent != warp.agent)
      cell = LaneCell{.agent = static_cast<uint8_t>(warp.agent)};
    if (cell.readStamp <= warp.laneSync)
      cell.readers = 0;
    if (access & kWrite) {
      cell.writeStamp = warp.laneStamp;
      cell.writer = static_cast<uint8_t>(lane);
      cell.isStrong = access & kAtomic;
    } else if (!(access & kAtomic)) {
      cell.readers |= 1u << lane;
      cell.readStamp = warp.laneStamp;
    }
  }
}

void touchLanes(Warp &warp, Block &block, uint32_t mask, const uint32_t (&offset)[32],
                uint32_t bytes, int access) {
  stampLanes(warp);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      checkLane(warp, block, l, offset[l], bytes, access);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      noteLane(warp, block, l, offset[l], bytes, access);
}

} // namespace platen::ptxsim
