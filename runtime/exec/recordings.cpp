// A short list: looked through in a few nanoseconds, since most engines use two or three entries.
#include "runtime/exec/recordings.h"

#include <algorithm>
#include <bit>

namespace platen::exec {
namespace {

int64_t roundUp(int64_t extent, uint64_t limit) {
  if (extent == 0)
    return 0;
  auto power = std::bit_ceil(static_cast<uint64_t>(extent));
  return static_cast<int64_t>(std::min(power, limit));
}

} // namespace

std::optional<plan::Extents> recordingBucket(const plan::Extents &extents,
                                             const plan::Limits &limits) {
  if (extents.tokens == 0 || extents.tokens > kMostRecordedTokens)
    return std::nullopt;
  return plan::Extents{.tokens = roundUp(extents.tokens, limits.step_tokens),
                       .rows = roundUp(extents.rows, limits.step_rows),
                       .sequences = roundUp(extents.sequences, limits.step_sequences)};
}

Recordings::Entry *Recordings::find(const plan::Extents &bucket) {
  auto found = std::ranges::find(entries_, bucket, &Entry::bucket);
  if (found == entries_.end())
    return nullptr;
  found->used = ++clock_;
  return &*found;
}

Recordings::Entry *Recordings::add(const plan::Extents &bucket,
                                   std::unique_ptr<device::Recording> recording) {
  Entry entry{.bucket = bucket, .recording = std::move(recording), .used = ++clock_};
  if (entries_.size() < kMostRecordings)
    return &entries_.emplace_back(std::move(entry));
  auto oldest = std::ranges::min_element(entries_, {}, &Entry::used);
  *oldest = std::move(entry);
  return &*oldest;
}

} // namespace platen::exec
