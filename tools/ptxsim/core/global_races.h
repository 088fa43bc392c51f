// Race detection on global memory between the clusters of one launch (Options::checkGlobalRaces).
//
// An access must not conflict with one of another cluster unless both are strong (atomic, volatile,
// relaxed) or they are ordered: the one published its accesses by fence and strong write (or a
// release) to a word, the other read that word by a strong read afterwards. What is ordered within
// a cluster counts as one agent here: races between the blocks of one cluster, and between the
// threads of a block, are not seen. Lenient where programs commonly are: a strong read acquires
// without a fence after it; a cell that several clusters read may be written by one that acquired
// anything. So races may be missed, but none are invented; which one of two accesses is named can
// depend on the host's threads.
// Costs 16 host bytes for each cell that the launch touches: 4 bytes, or fewer if the kernel stores
// narrower words. Thread-safety: everything may be called by all clusters at once.
#pragma once

#include "tools/ptxsim/core/machine.h"

#include <atomic>
#include <memory>
#include <mutex>

namespace platen::ptxsim {

/// What a cluster knows of the others: the time up to which it has seen each.
using ClusterTimes = std::unordered_map<uint32_t, uint32_t>;

class GlobalRaces {
public:
  GlobalRaces(const AllocationTable &table, uint32_t granularity);
  ~GlobalRaces();

  void touch(const Warp &warp, const Allocation &allocation, uint64_t address, uint64_t bytes,
             int access, uint32_t lane);
  /// A strong read (`reads`) or write of a word; `time`: up to which moment of the warp's cluster a
  /// write publishes, 0 for nothing.
  void synchronise(Cluster &cluster, uint64_t address, bool reads, bool writes, uint32_t time);

private:
  static constexpr uint32_t kPageCells = 1024, kMany = ~0u;
  struct Cell { // clusters by number + 1; 0: nobody
    uint32_t writer = 0, writeTime = 0, reader = 0, readTime = 0;
  };
  struct Page {
    std::mutex mutex;
    Cell cells[kPageCells];
  };
  Page &pageAt(size_t allocation, uint64_t page);
  void step(Cell &cell, const Warp &warp, uint64_t address, int access, uint32_t lane);

  const AllocationTable &table_;
  const uint32_t granularity_;
  std::vector<std::unique_ptr<std::atomic<Page *>[]>> pages_; // of each allocation
  std::mutex mutex_;                                          // of making them, and of words_
  std::vector<std::unique_ptr<Page>> owned_;
  std::unordered_map<uint64_t, ClusterTimes> words_; // what strong writes have published
};

} // namespace platen::ptxsim
