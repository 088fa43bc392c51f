// The CPU as a device: memory is malloc'ed, weights are read where the plan is mapped, code is the
// plan's own.
//
// A launch costs about 0.2 us on two free cores: the calling thread takes the first range of units,
// workers the others (contiguous, fixed by units and thread count alone), then a barrier. Waiting
// spins for `spin_us`, then sleeps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/device/device.h"
#include "runtime/plan/kernel_abi.h"

namespace platen::device {

enum class WeightPages {
  kAuto,   ///< measure both for a few milliseconds, take the copy if reading it is clearly faster
  kMapped, ///< the file's own pages: nothing is copied, and processes share them
  kHuge,   ///< a private copy in 2 MiB pages
};

struct HostOptions {
  /// Threads including the calling one; 0: one for each core in the process's affinity mask.
  unsigned threads = 0;
  /// Pin worker i to the i-th CPU of the affinity mask. Ignored when there are more threads than
  /// CPUs.
  bool pin_workers = true;
  /// Pin each thread that calls launch() to the first CPU of the mask, for good. Threads that it
  /// starts later inherit that, so choose it only for a thread that does nothing else.
  bool pin_caller = false;
  /// How long a waiting thread spins before it sleeps. 0 when there are more threads than CPUs.
  unsigned spin_us = 50;
  WeightPages weight_pages = WeightPages::kAuto;
};

/// What the device decided and measured, for reports. Valid after placeWeights() and loadCode().
struct HostReport {
  unsigned threads = 0;
  std::vector<int> cpus;                           ///< CPU of each thread; empty if not pinned
  WeightPages weight_pages = WeightPages::kMapped; ///< never kAuto
  double mapped_gb_per_s = 0; ///< read speed of the file's pages; 0 if not measured
  double huge_gb_per_s = 0;   ///< read speed of 2 MiB pages; 0 if not measured
  std::string weight_reason;  ///< one sentence
  std::string target;         ///< code target
  bool code_in_place = false; ///< false: copied, because the mapping could not be made executable
};

class HostDevice : public Device {
public:
  /// Errors: kResourceExhausted when threads cannot be started.
  static base::Result<std::unique_ptr<HostDevice>> create(const HostOptions &options = {});
  virtual const HostReport &report() const = 0;
  /// A kernel that is not in a plan: a function of this process (tests, embedding). Reserves its
  /// scratch.
  virtual base::Result<Kernel> registerFunction(PlatenHostKernel function,
                                                uint64_t scratch_bytes) = 0;
};

} // namespace platen::device
