// Race detection between the lanes of one warp on shared memory (Options::checkLaneRaces).
//
// Two lanes that touch the same bytes in different instructions, at least one of them writing, need
// bar.warp.sync (__syncwarp), a barrier of the block or an mbarrier between: .sync instructions
// like shfl and ldmatrix order no memory. Each cell remembers the last writing lane and the lanes
// that have read since, with the number (stamp) of the instruction; a stamp not after the warp's
// last synchronisation is in the past. A synchronisation of some lanes counts as one of all, so
// races may be missed where lanes diverge, but none are invented. Races between warps are
// races.h's.
#pragma once

#include "tools/ptxsim/core/machine.h"

namespace platen::ptxsim {

/// What the lanes of a warp do next is another instruction.
inline void stampLanes(Warp &warp) { ++warp.laneStamp; }
/// The warp's lanes have synchronised.
inline void syncLanes(Warp &warp) { warp.laneSync = warp.laneStamp; }

inline bool checksLanes(const Block &block) { return !block.laneCells.empty(); }
/// Checks an access of one lane to its block's shared memory against what was noted. All lanes of
/// an instruction are checked before the first is noted.
void checkLane(const Warp &warp, const Block &block, uint32_t lane, uint32_t offset, uint32_t bytes,
               int access);
void noteLane(const Warp &warp, Block &block, uint32_t lane, uint32_t offset, uint32_t bytes,
              int access);
inline void touchLane(const Warp &warp, Block &block, uint32_t lane, uint32_t offset,
                      uint32_t bytes, int access) {
  checkLane(warp, block, lane, offset, bytes, access);
  noteLane(warp, block, lane, offset, bytes, access);
}
/// The lanes of `mask` at their offsets.
void touchLanes(Warp &warp, Block &block, uint32_t mask, const uint32_t (&offset)[32],
                uint32_t bytes, int access);

} // namespace platen::ptxsim
