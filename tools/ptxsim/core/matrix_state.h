// What the asynchronous tensor instructions keep for a block beside the machine's own state: the
// registers that wgmma has in flight, and tensor memory.
#pragma once

#include "tools/ptxsim/core/matrix_descriptor.h"

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <vector>

namespace platen::ptxsim {

class TensorMemory;

/// One wgmma.mma_async that no wait_group has awaited.
struct MatrixFlight {
  const Op *op = nullptr;
  uint32_t group = 0; // of the warp's commit_groups
  bool fencedSince = false;
  std::vector<uint32_t> accumulators, inputs; // register slots
};

struct WarpMatrix {
  /// The register file at the last wgmma.fence; empty before the first. A completed wgmma writes
  /// its accumulators here too, so that what differs was written by something else.
  std::vector<uint8_t> fenced;
  std::deque<MatrixFlight> flights;
  uint32_t committed = 0; // commit_groups so far
  uint64_t issued = 0;    // wgmma.mma_async so far
};

/// The same instruction as each warp of a warpgroup must issue it.
struct WarpgroupStep {
  const Op *op = nullptr;
  uint64_t descriptors[2] = {};
  uint32_t warps = 0; // a bit for each warp that came by
};

struct MatrixState {
  std::vector<WarpMatrix> warps;
  struct Warpgroup {
    std::deque<WarpgroupStep> steps;
    uint64_t first = 0; // number of steps[0]
  };
  std::vector<Warpgroup> warpgroups;
  std::shared_ptr<TensorMemory> tensorMemory;
  std::map<std::array<uint32_t, 8>, Chunks> chunkLists; // chunksOf()
};
MatrixState &matrixState(Block &block);

} // namespace platen::ptxsim
