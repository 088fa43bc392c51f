// Race detection on shared memory: each cell remembers its last writer and the readers since.
//
// An access must be ordered (through barriers, mbarriers, release and acquire) after the
// conflicting ones, or both must be strong (atomic, volatile, relaxed). What goes through the
// asynchronous proxy sees a generic write only past a proxy fence. Lanes of one warp are not told
// apart. Sets of readers are interned in the block, because the cells of a tile share few of them;
// most accesses therefore find cell after cell in the same state and cost one comparison each.
#pragma once

#include "tools/ptxsim/core/asynchrony.h"

#include <cstring>

namespace platen::ptxsim {

class RaceCheck {
public:
  RaceCheck(Block &block, int access, const Accessor &who, uint32_t lane)
      : block_(block), who_(who), access_(access), lane_(lane) {}
  void touch(uint32_t offset, uint32_t bytes, uint32_t granularity) {
    Cell *cells = block_.cells.data();
    uint32_t last = (offset + bytes - 1) / granularity;
    for (uint32_t c = offset / granularity; c <= last; ++c) {
      uint64_t state;
      std::memcpy(&state, &cells[c], 8);
      if (state != before_ || !known_)
        step(state, c * granularity);
      std::memcpy(&cells[c], &after_, 8);
    }
  }
  void setLane(uint32_t lane) { lane_ = lane; }
  /// The range is that of 32 lanes, each with `bytes`, from `offset`: names the lane in a report.
  void spread(uint32_t offset, uint32_t bytes) { first_ = offset, laneBytes_ = bytes; }

private:
  void step(uint64_t state, uint32_t offset); // sets before_ and after_, or stops
  uint32_t addReader(uint32_t reader);
  [[noreturn]] void race(uint32_t offset, uint32_t agent, bool otherWrites, bool fenceMissing);

  Block &block_;
  Accessor who_;
  int access_;
  uint32_t lane_, first_ = 0, laneBytes_ = 0;
  bool known_ = false;
  uint64_t before_ = 0, after_ = 0;
};

/// The last writes of the range no longer race with strong accesses.
void strengthen(Block &block, uint32_t offset, uint32_t bytes);

/// The warp itself, accessing through the generic proxy.
inline Accessor accessorOf(const Warp &warp) {
  return {&warp.clock, warp.agent, warp.clock.of[warp.agent], false};
}

} // namespace platen::ptxsim
