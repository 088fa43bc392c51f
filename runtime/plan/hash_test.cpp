// The section hash: the same whether computed at once, in pieces, or on threads; and built on XXH3
// as published.
#include "runtime/plan/hash.h"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <string_view>

namespace platen::plan {
namespace {

std::span<const std::byte> asBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Hash, IsXxh3) {
  // `printf '' | xxhsum -H3` and `printf abc | xxhsum -H3` of the reference program.
  EXPECT_EQ(hashBytes({}), 0x2d06800538d394c2U);
  EXPECT_EQ(hashBytes(asBytes("abc")), 0x78af5f94892f3950U);
}

std::vector<std::byte> sample(size_t bytes) {
  std::vector<std::byte> data(bytes);
  uint32_t state = 12345;
  for (std::byte &b : data)
    b = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  return data;
}

TEST(Hash, DoesNotDependOnPiecesOrThreads) {
  for (size_t bytes :
       {size_t{0}, size_t{1}, size_t{1 << 20}, size_t{(1 << 20) + 1}, size_t{5'300'000}}) {
    std::vector<std::byte> data = sample(bytes);
    // By definition: hash the chunks, then the hashes.
    std::vector<uint64_t> chunks;
    for (size_t at = 0; at < bytes; at += 1 << 20)
      chunks.push_back(
          hashBytes(std::span(data).subspan(at, std::min<size_t>(1 << 20, bytes - at))));
    uint64_t expected = combineHashes(chunks);
    for (size_t piece : {size_t{999}, size_t{1 << 20}, size_t{3'000'000}}) {
      SectionHasher hasher;
      for (size_t at = 0; at < bytes; at += piece)
        hasher.update(std::span(data).subspan(at, std::min(piece, bytes - at)));
      EXPECT_EQ(hasher.finish(), expected) << bytes << " in pieces of " << piece;
      EXPECT_EQ(hasher.finish(), combineHashes({})) << "finish() starts anew";
    }
    std::span<const std::byte> whole(data), half = whole.first(bytes / 2);
    std::vector<std::span<const std::byte>> sections{half, whole, {}};
    for (unsigned threads : {1U, 2U, 7U}) {
      auto hashes = hashSections(sections, threads);
      ASSERT_EQ(hashes.size(), 3U);
      EXPECT_EQ(hashes[1], expected) << bytes << " on " << threads;
      EXPECT_EQ(hashes[2], combineHashes({}));
    }
  }
}

} // namespace
} // namespace platen::plan
