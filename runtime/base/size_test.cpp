#include "runtime/base/size.h"

#include <array>
#include <gtest/gtest.h>
#include <limits>

namespace platen::base {
namespace {

const Size s0 = Size::symbol(0), s1 = Size::symbol(1);

TEST(Size, IsCanonical) {
  EXPECT_EQ(s0 * s1 + 3, Size(3) + s1 * s0);
  EXPECT_EQ((s0 + 1) * (s0 - 1), s0 * s0 - 1);
  EXPECT_EQ(s0 - s0, Size(0));
  EXPECT_EQ((s0 - s0).constant(), 0);
  EXPECT_EQ(Size(7).constant(), 7);
  EXPECT_EQ(s0.constant(), std::nullopt);
  EXPECT_EQ((2 * s0 * s1 + 3).toString(), "2*s0*s1 + 3");
  EXPECT_EQ((s1 + 1).symbolCount(), 2U);
  EXPECT_EQ(productOf(std::array{s0, Size(4)}), 4 * s0);
}

TEST(Size, EvaluatesOrSaysThatItDoesNotFit) {
  const std::array<int64_t, 2> values = {5, -2};
  EXPECT_EQ(*(2 * s0 * s1 + s0 + 3).evaluate(values), -12);
  const std::array<int64_t, 2> large = {std::numeric_limits<int64_t>::max() / 2, 3};
  EXPECT_EQ((s0 * s1).evaluate(large).status().code(), StatusCode::kInvalidArgument);
  const Size saturated = Size(std::numeric_limits<int64_t>::max() / 2) * 3;
  EXPECT_FALSE(saturated.evaluate({}).isOk());
}

TEST(Size, OfTermsRefusesWhatOverflows) {
  auto size = Size::of({{{1, 0}, 2}, {{0, 1}, 3}, {{}, 0}});
  ASSERT_TRUE(size.isOk());
  EXPECT_EQ(*size, 5 * s0 * s1);
  const int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(Size::of({{{}, most - 1}, {{}, 5}}).status().code(), StatusCode::kCorrupt);
}

} // namespace
} // namespace platen::base
