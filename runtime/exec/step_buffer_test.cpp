// The step as kernels see it: alignment, padding, addresses; and which pages a sliding window may
// leave out.
#include "runtime/exec/step_buffer.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace platen::exec {
namespace {

constexpr plan::Limits kLimits{.context_tokens = 100,
                               .step_tokens = 33,
                               .step_rows = 3,
                               .step_sequences = 2,
                               .page_tokens = 4};

TEST(StepBuffer, ArraysAreAlignedPaddedAndAddressedOnTheDevice) {
  std::vector<int32_t> tokens(33), positions(33), sequences(33), rows{5, 32, 0}, table(50);
  for (size_t i = 0; i < 33; ++i) {
    tokens[i] = static_cast<int32_t>(100 + i);
    positions[i] = static_cast<int32_t>(i);
    sequences[i] = static_cast<int32_t>(i / 20);
  }
  for (size_t i = 0; i < 50; ++i)
    table[i] = static_cast<int32_t>(1000 + i);
  auto *device = reinterpret_cast<std::byte *>(uintptr_t{0x10000}); // never dereferenced
  StepBuffer buffer(kLimits, device);
  auto bytes = buffer.fill({tokens, positions, sequences, rows, 2, 25, table});
  EXPECT_EQ(bytes.size(), StepBuffer::maxBytes(kLimits))
      << "the largest step fills the buffer exactly";
  PlatenStep step{};
  std::memcpy(&step, bytes.data(), sizeof step);
  EXPECT_EQ(step.tokens, 33);
  EXPECT_EQ(step.rows, 3);
  EXPECT_EQ(step.sequences, 2);
  EXPECT_EQ(step.page_table_stride, 25);
  auto check = [&](const int32_t *address, const std::vector<int32_t> &expected) {
    auto offset = static_cast<size_t>(reinterpret_cast<const std::byte *>(address) - device);
    EXPECT_EQ(offset % 64, 0U);
    ASSERT_LE(offset + (expected.size() + 15) / 16 * 64, bytes.size())
        << "readable to a multiple of 16";
    std::vector<int32_t> values(expected.size());
    std::memcpy(values.data(), bytes.data() + offset, expected.size() * 4);
    EXPECT_EQ(values, expected);
  };
  check(step.token_ids, tokens);
  check(step.positions, positions);
  check(step.sequence_of_token, sequences);
  check(step.row_tokens, rows);
  check(step.page_table, table);

  auto small = buffer.fill({std::span(tokens).first(1), std::span(positions).first(1),
                            std::span(sequences).first(1), std::span(rows).first(1), 1, 1,
                            std::span(table).first(1)});
  EXPECT_LT(small.size(), 64U * 8) << "a small step is a small upload";
}

TEST(CheckInputs, SlidingWindowsNeedOnlyTheirPages) {
  plan::Manifest manifest;
  manifest.limits = kLimits;
  manifest.model.vocabulary = 10;
  std::vector<plan::Cache> caches = {{.kv_heads = 1, .head_dim = 8, .window = 6},
                                     {.kv_heads = 1, .head_dim = 8, .window = 4}};
  // Tokens at 17 and 18: the wider window reads from position 12 (= 17 + 1 - 6), in page 3, to 18,
  // in page 4.
  std::vector<int32_t> tokens{1, 2}, positions{17, 18}, sequences{0, 0}, table{-1, -1, -1, 7, 0};
  StepInputs inputs{tokens, positions, sequences, {}, 1, 5, table};
  EXPECT_TRUE(checkInputs(inputs, manifest, caches, 8).isOk())
      << checkInputs(inputs, manifest, caches, 8).toString();
  table[3] = -1;
  EXPECT_THAT(checkInputs(inputs, manifest, caches, 8).toString(),
              testing::HasSubstr("page 3 of sequence 0 is -1"));
  table[3] = 7;
  caches[0].window = 7; // from position 11, in page 2
  EXPECT_THAT(checkInputs(inputs, manifest, caches, 8).toString(),
              testing::HasSubstr("page 2 of sequence 0 is -1"));
  caches[0].window = 1 << 30; // wider than what was said so far
  EXPECT_THAT(checkInputs(inputs, manifest, caches, 8).toString(),
              testing::HasSubstr("page 0 of sequence 0 is -1"));
  caches.clear();
  table.assign(5, -1);
  EXPECT_TRUE(checkInputs(inputs, manifest, caches, 0).isOk())
      << "a plan without caches needs no pages";
}

} // namespace
} // namespace platen::exec
