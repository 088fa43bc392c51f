// Tensor memory of one thread block (tcgen05): 512 columns of 128 lanes of 32 bits, its allocation,
// and who uses which part of it at the moment.
//
// Cells lie column by column, so that the 128 rows of an accumulator's column are adjacent.
// Reported: what lies outside of an allocation; reads of cells that nobody wrote; accesses that
// overlap an operation in flight (tcgen05.mma or cp before its mbarrier, ld or st before its wait);
// a tcgen05.ld or st of what a finished mma or cp wrote without tcgen05.fence::after_thread_sync
// since; use of what another warp's tcgen05.st wrote unless fence::before_thread_sync there and
// after_thread_sync here lie around what synchronises them; columns that are not given back.
#pragma once

#include "tools/ptxsim/core/machine.h"

#include <memory>
#include <vector>

namespace platen::ptxsim {

inline constexpr uint32_t kTensorLanes = 128, kTensorColumns = 512;

/// Columns [column, column + columns) of the lanes whose group of 16 is set in `lanes`.
struct TensorRegion {
  uint32_t column = 0, columns = 0, lanes = 0xFF;
  bool overlaps(const TensorRegion &other) const {
    return (lanes & other.lanes) != 0 && column < other.column + other.columns &&
           other.column < column + columns;
  }
};

class TensorMemory {
public:
  enum class User : uint8_t { kMma, kCopy, kLoad, kStore };

  TensorMemory()
      : cells_(kTensorColumns * kTensorLanes), written_(cells_.size()),
        stores_(kTensorColumns * 8) {}

  /// The first column of `columns` free ones; stops if there are none, or against the rules.
  uint32_t allocate(uint32_t columns);
  void release(uint32_t address, uint32_t columns);
  void relinquish() { mayAllocate_ = false; }
  /// "line n: …" of what is still allocated; empty: nothing.
  std::string leaks() const;

  /// Stops unless the region is allocated and may be used as `user` wants now.
  void check(const TensorRegion &region, User user, bool isWrite, const Warp &warp) const;
  /// Notes an operation in flight; the number ends it.
  uint64_t begin(const TensorRegion &region, User user, bool isWrite, const Warp &warp,
                 const Op &op);
  void end(uint64_t number);
  /// tcgen05.wait: the warp's loads (or stores) are complete.
  void endOf(const Warp &warp, User user);
  void fenceAfter(const Warp &warp) { fences_.at(warp.index) = ++clock_; }
  void setWarps(size_t count) { fences_.resize(count); }
  /// A mma or cp that wrote the region has been performed.
  void finishWrite(const TensorRegion &region);
  /// The warp's tcgen05.st wrote the region.
  void noteStore(const TensorRegion &region, const Warp &warp, const Op &op);

  uint32_t *column(uint32_t column) { return &cells_[column * kTensorLanes]; }
  uint8_t *written(uint32_t column) { return &written_[column * kTensorLanes]; }
  /// Stops where a cell of the region was never written. `lanes` as bits of 16 lanes.
  void requireWritten(const TensorRegion &region, const char *what) const;

private:
  struct Flight {
    uint64_t number;
    TensorRegion region;
    User user;
    bool isWrite;
    uint32_t warp, line;
  };
  struct Store { // the last one; line 0: none
    uint32_t agent = 0, time = 0, warp = 0, line = 0;
  };
  void checkStores(const TensorRegion &region, const Warp &warp) const;
  std::vector<uint32_t> cells_;
  std::vector<uint8_t> written_;
  struct Allocation {
    uint32_t column, columns;
  };
  std::vector<Allocation> allocations_;
  uint32_t smallest_ = kTensorColumns;
  bool mayAllocate_ = true;
  std::vector<Flight> flights_;
  uint64_t clock_ = 0, flightNumber_ = 0;
  uint64_t finished_[kTensorColumns] = {};
  std::vector<uint64_t> fences_; // of each warp
  std::vector<Store> stores_;    // of each column, by groups of 16 lanes
};

/// The block's tensor memory.
TensorMemory &tensorMemory(Block &block);

} // namespace platen::ptxsim
