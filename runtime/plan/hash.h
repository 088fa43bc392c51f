// The hash of a section: XXH3-64 over the little-endian XXH3-64 values of its 1 MiB chunks, so that
// threads can check one section together and a writer can hash while it streams. An empty section
// hashes no chunk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace platen::plan {

inline constexpr uint64_t kHashChunkBytes = uint64_t{1} << 20;

/// XXH3-64 of the bytes; also the hash of a chunk, of the manifest and of the header.
uint64_t hashBytes(std::span<const std::byte> bytes);
/// Combines the hashes of a section's chunks, in order.
uint64_t combineHashes(std::span<const uint64_t> chunk_hashes);

/// Hashes a section that arrives in pieces.
class SectionHasher {
public:
  SectionHasher();
  ~SectionHasher();
  void update(std::span<const std::byte> bytes);
  /// The hash of all bytes so far; afterwards the hasher is as new.
  uint64_t finish();

private:
  struct State; // of the present chunk
  std::unique_ptr<State> state_;
  uint64_t chunk_bytes_ = 0;
  std::vector<uint64_t> chunk_hashes_;
};

/// The hashes of many sections at once, on `threads` threads (at least 1, the caller's included).
std::vector<uint64_t> hashSections(std::span<const std::span<const std::byte>> sections,
                                   unsigned threads);

} // namespace platen::plan
