// Which steps share one recording of their launches, and the recordings made so far.
//
// A recording is made for a bucket: each extent rounded up to a power of two, so that a handful
// serves all decode steps. Only small steps are recorded: in large ones the launches cost nothing
// beside the kernels.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "runtime/device/device.h"
#include "runtime/plan/plan.h"

namespace platen::exec {

/// Steps with more tokens are launched one by one.
inline constexpr int64_t kMostRecordedTokens = 64;
inline constexpr size_t kMostRecordings = 32;

/// The extents that a step of `extents` is recorded for, within the plan's limits; nothing for
/// large and for empty steps.
std::optional<plan::Extents> recordingBucket(const plan::Extents &extents,
                                             const plan::Limits &limits);

class Recordings {
public:
  struct Entry {
    plan::Extents bucket;
    std::unique_ptr<device::Recording> recording; ///< null: the device could not record it
    uint64_t used = 0;
  };

  /// The entry of a bucket, or null. Valid until the next add().
  Entry *find(const plan::Extents &bucket);
  /// Adds one; the one that was not used for longest leaves when there are too many.
  Entry *add(const plan::Extents &bucket, std::unique_ptr<device::Recording> recording);
  size_t size() const { return entries_.size(); }

private:
  std::vector<Entry> entries_;
  uint64_t clock_ = 0;
};

} // namespace platen::exec
