// Random lifetimes: no two buffers alive together overlap, all are aligned and inside the arena.
#include "compiler/select/arena.h"

#include <gtest/gtest.h>
#include <random>

namespace platen::compiler {
namespace {

uint64_t endOf(const plan::Limits &limits, const plan::Buffer &buffer) {
  return buffer.arena_offset + plan::extentLimit(limits, buffer.extent) * buffer.row_bytes;
}

TEST(Arena, LiveBuffersNeverOverlap) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    plan::DeviceProgram program;
    plan::Limits limits = {4096, static_cast<uint32_t>(1 + random() % 64), 8, 8, 16};
    std::vector<Lifetime> lifetimes;
    for (size_t i = 0; i < 1 + random() % 40; ++i) {
      auto extent = random() % 2 ? plan::Extent::kTokens : plan::Extent::kRows;
      program.buffers.push_back({"b", extent, 4 * (1 + random() % 500), 0});
      size_t first = random() % 50;
      lifetimes.push_back({first, first + random() % 6});
    }
    planArena(limits, lifetimes, program);
    uint64_t live = 0;
    for (size_t i = 0; i < lifetimes.size(); ++i) {
      const plan::Buffer &a = program.buffers[i];
      EXPECT_EQ(a.arena_offset % plan::kDataAlignment, 0U);
      EXPECT_LE(endOf(limits, a) + 64, program.arena_bytes);
      live += endOf(limits, a) - a.arena_offset + 128;
      for (size_t j = 0; j < i; ++j) {
        const plan::Buffer &b = program.buffers[j];
        bool together =
            lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last;
        EXPECT_FALSE(together && a.arena_offset < endOf(limits, b) &&
                     b.arena_offset < endOf(limits, a));
      }
    }
    EXPECT_LE(program.arena_bytes, live) << "places are reused, never wasted";
  }
}

TEST(Arena, DeadBuffersShareTheirPlace) {
  plan::DeviceProgram program;
  plan::Limits limits = {16, 16, 16, 1, 16};
  program.buffers.assign(10, {"b", plan::Extent::kTokens, 1024, 0});
  std::vector<Lifetime> lifetimes;
  for (size_t i = 0; i < 10; ++i)
    lifetimes.push_back({i, i + 1});
  planArena(limits, lifetimes, program);
  EXPECT_LE(program.arena_bytes, 2 * (16 * 1024 + 64));
}

} // namespace
} // namespace platen::compiler
