// The hash of a section: XXH3-64 over the little-endian XXH3-64 values of its 1 MiB chunks, so that
// threads can check one section together and a writer can hash while it streams. An empty section
// hashes no chunk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace platen::plan {

inline constexpr uint64_t kHashChunkBytes = uint64_t{1} << 20;

uint64_t chunkHash(std::span<const std::byte> chunk);
/// Combines the chunks' hashes, in order.
uint64_t combineHashes(std::span<const uint64_t> chunk_hashes);
/// The hash of a whole section on one thread.
uint64_t sectionHash(std::span<const std::byte> section);

} // namespace platen::plan
