// The same bytes are read once through the mapping's pages and once through 2 MiB pages,
// alternating, and the better time of each counts. Whether small pages cost anything differs
// between machines (page-walk caches, virtualisation, large folios in the page cache), which is why
// this is measured and not assumed.
#include "runtime/device/host/host_weights.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace platen::device {
namespace {

using base::AlignedBuffer;
using Bytes = std::span<const std::byte>;

// Large enough that no cache holds the sample.
constexpr uint64_t kSampleBytes = uint64_t{64} << 20;
constexpr int kRounds = 3;
/// A copy must be at least so much faster to read: it costs memory that processes could share, and
/// time to load.
constexpr double kClearGain = 1.15;
constexpr uint64_t kCopyUnitBytes = uint64_t{1} << 20;

class MappedMemory : public Memory {
public:
  explicit MappedMemory(Bytes bytes)
      : Memory(const_cast<std::byte *>(bytes.data()), bytes.size()) {} // kernels only read weights
};

class CopiedMemory : public Memory {
public:
  explicit CopiedMemory(AlignedBuffer buffer)
      : Memory(buffer.data(), buffer.size()), buffer_(std::move(buffer)) {}

private:
  AlignedBuffer buffer_;
};

struct CopyJob {
  Bytes from;
  std::byte *to;
};

/// A PlatenHostKernel: operands[0] is the CopyJob, units are MiB.
void copyUnits(void *const *operands, int64_t begin, int64_t end) {
  const auto *job = static_cast<const CopyJob *>(operands[0]);
  uint64_t from = static_cast<uint64_t>(begin) * kCopyUnitBytes;
  uint64_t to = std::min<uint64_t>(static_cast<uint64_t>(end) * kCopyUnitBytes, job->from.size());
  std::memcpy(job->to + from, job->from.data() + from, to - from);
}

void copyOnAllThreads(Bytes from, std::byte *to, WorkerPool &pool) {
  CopyJob job{from, to};
  void *operands[] = {&job};
  Work work{.function = copyUnits, .operands = operands, .operand_count = 1, .scratch = false};
  pool.run(work, static_cast<int64_t>((from.size() + kCopyUnitBytes - 1) / kCopyUnitBytes));
}

/// GB/s of reading one word of each cache line.
double readSpeed(Bytes bytes) {
  auto begin = std::chrono::steady_clock::now();
  uint64_t sums[4] = {};
  for (size_t at = 0; at + 256 <= bytes.size(); at += 256) {
    for (size_t lane = 0; lane < 4; ++lane) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at + lane * 64, sizeof word);
      sums[lane] += word;
    }
  }
  volatile uint64_t sink = sums[0] ^ sums[1] ^ sums[2] ^ sums[3]; // keeps the loop
  (void)sink;
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(bytes.size()) / std::max(seconds.count(), 1e-9) / 1e9;
}

/// Memory that can be had without swapping; 0 if unknown.
uint64_t availableBytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string key, unit; file >> key;) {
    uint64_t kib = 0;
    if (key == "MemAvailable:" && file >> kib)
      return kib * 1024;
    std::getline(file, unit);
  }
  return 0;
}

base::Result<WeightPlacement> copyToHugePages(WeightPlacement placement, Bytes weights,
                                              WorkerPool &pool) {
  PLATEN_ASSIGN_OR_RETURN(AlignedBuffer buffer,
                          AlignedBuffer::create(weights.size(), "copy of the weights"));
  copyOnAllThreads(weights, buffer.data(), pool);
  placement.memory = std::make_unique<CopiedMemory>(std::move(buffer));
  placement.pages = WeightPages::kHuge;
  return placement;
}

/// Fills in the two speeds. Errors: no memory for the sample.
base::Status measure(WeightPlacement &placement, Bytes weights, WorkerPool &pool) {
  Bytes sample = weights.first(kSampleBytes);
  PLATEN_ASSIGN_OR_RETURN(AlignedBuffer copy,
                          AlignedBuffer::create(sample.size(), "page size sample"));
  copyOnAllThreads(sample, copy.data(), pool); // also touches every page of both
  for (int round = 0; round < kRounds; ++round) {
    placement.mapped_gb_per_s = std::max(placement.mapped_gb_per_s, readSpeed(sample));
    placement.huge_gb_per_s = std::max(placement.huge_gb_per_s, readSpeed(copy.bytes()));
  }
  return base::Status::ok();
}

} // namespace

base::Result<WeightPlacement> placeHostWeights(Bytes weights, WeightPages choice,
                                               WorkerPool &pool) {
  WeightPlacement placement;
  if (choice == WeightPages::kHuge && !weights.empty()) {
    placement.reason = "2 MiB pages were asked for";
    return copyToHugePages(std::move(placement), weights, pool);
  }
  placement.memory = std::make_unique<MappedMemory>(weights);
  if (choice == WeightPages::kMapped || weights.empty()) {
    placement.reason = "the file's pages were asked for";
    return placement;
  }
  if (weights.size() < kSampleBytes) {
    placement.reason = "fewer than 64 MiB of weights: the page size hardly matters";
    return placement;
  }
  if (!measure(placement, weights, pool).isOk()) {
    placement.reason = "there was no memory to measure in";
    return placement;
  }
  char speeds[128];
  std::snprintf(speeds, sizeof speeds, "file pages read at %.1f GB/s, 2 MiB pages at %.1f GB/s",
                placement.mapped_gb_per_s, placement.huge_gb_per_s);
  placement.reason = speeds;
  if (placement.huge_gb_per_s < kClearGain * placement.mapped_gb_per_s)
    return placement;
  if (availableBytes() / 2 < weights.size()) {
    placement.reason += ", but a copy would take more than half of the free memory";
    return placement;
  }
  return copyToHugePages(std::move(placement), weights, pool);
}

} // namespace platen::device
