// Where the host device reads weights: in the plan's mapping or in a copy on 2 MiB pages, decided
// by measurement.
#pragma once

#include <memory>
#include <string>

#include "runtime/device/device.h"
#include "runtime/device/host/host_device.h"
#include "runtime/device/host/worker_pool.h"

namespace platen::device {

struct WeightPlacement {
  std::unique_ptr<Memory> memory;
  WeightPages pages = WeightPages::kMapped;
  double mapped_gb_per_s = 0, huge_gb_per_s = 0; // 0: not measured
  std::string reason;                            // one sentence
};

/// Places `weights`, which outlives the result unless it is copied. kAuto measures for about 30 ms
/// when there are at least 64 MiB of weights; a copy costs about 0.2 s a GB. Errors:
/// kResourceExhausted for kHuge without memory.
base::Result<WeightPlacement> placeHostWeights(std::span<const std::byte> weights,
                                               WeightPages choice, WorkerPool &pool);

} // namespace platen::device
