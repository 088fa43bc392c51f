// XXH3 runs at memory speed, so hashing costs what reading costs; hashSections hands out chunks one
// by one.
#include "runtime/plan/hash.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include <xxhash.h>

#include "runtime/base/threads.h"

namespace platen::plan {

static_assert(std::endian::native == std::endian::little, "plan files are little-endian");

uint64_t hashBytes(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

uint64_t combineHashes(std::span<const uint64_t> chunk_hashes) {
  return XXH3_64bits(chunk_hashes.data(), chunk_hashes.size_bytes());
}

struct SectionHasher::State {
  State() : xxh(XXH3_createState()) { XXH3_64bits_reset(xxh); }
  ~State() { XXH3_freeState(xxh); }
  State(const State &) = delete;
  State &operator=(const State &) = delete;
  XXH3_state_t *xxh;
};

SectionHasher::SectionHasher() : state_(std::make_unique<State>()) {}
SectionHasher::~SectionHasher() = default;

void SectionHasher::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    size_t count = std::min<size_t>(bytes.size(), kHashChunkBytes - chunk_bytes_);
    XXH3_64bits_update(state_->xxh, bytes.data(), count);
    chunk_bytes_ += count;
    bytes = bytes.subspan(count);
    if (chunk_bytes_ == kHashChunkBytes) {
      chunk_hashes_.push_back(XXH3_64bits_digest(state_->xxh));
      XXH3_64bits_reset(state_->xxh);
      chunk_bytes_ = 0;
    }
  }
}

uint64_t SectionHasher::finish() {
  if (chunk_bytes_ != 0)
    chunk_hashes_.push_back(XXH3_64bits_digest(state_->xxh));
  uint64_t hash = combineHashes(chunk_hashes_);
  XXH3_64bits_reset(state_->xxh);
  chunk_bytes_ = 0;
  chunk_hashes_.clear();
  return hash;
}

namespace {

/// All chunks of all sections: chunk i of section s has number first[s] + i.
struct Chunks {
  std::span<const std::span<const std::byte>> sections;
  std::vector<size_t> first;    // [sections + 1]
  std::vector<uint64_t> hashes; // [chunks]
  std::atomic<size_t> next{0};

  explicit Chunks(std::span<const std::span<const std::byte>> all) : sections(all), first{0} {
    for (auto section : all)
      first.push_back(first.back() + (section.size() + kHashChunkBytes - 1) / kHashChunkBytes);
    hashes.resize(first.back());
  }
  void work() {
    for (size_t chunk = next++; chunk < hashes.size(); chunk = next++) {
      auto section = std::upper_bound(first.begin(), first.end(), chunk) - first.begin() - 1;
      auto bytes = sections[static_cast<size_t>(section)];
      uint64_t offset = (chunk - first[static_cast<size_t>(section)]) * kHashChunkBytes;
      hashes[chunk] = hashBytes(
          bytes.subspan(offset, std::min<uint64_t>(kHashChunkBytes, bytes.size() - offset)));
    }
  }
};

} // namespace

std::vector<uint64_t> hashSections(std::span<const std::span<const std::byte>> sections,
                                   unsigned threads) {
  Chunks chunks(sections);
  size_t workers = std::max<size_t>(1, std::min<size_t>(threads, chunks.hashes.size()));
  auto helpers = base::startThreads(workers - 1, [&chunks] { chunks.work(); });
  chunks.work(); // this thread is one of them
  for (std::thread &helper : helpers)
    helper.join();
  std::vector<uint64_t> hashes;
  for (size_t i = 0; i < sections.size(); ++i)
    hashes.push_back(combineHashes(
        std::span(chunks.hashes).subspan(chunks.first[i], chunks.first[i + 1] - chunks.first[i])));
  return hashes;
}

} // namespace platen::plan
