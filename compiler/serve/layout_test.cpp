// Roles and reshapes by number.
#include "compiler/serve/layout.h"

#include <gtest/gtest.h>

namespace platen::compiler::serve {
namespace {

constexpr int64_t kB = -1, kS = -2, kBS = -3, kP = -4, kT = -5, kS4 = -6;

Extents dims(std::initializer_list<int64_t> spec) {
  Extents extents;
  for (int64_t dim : spec) {
    Extent extent;
    for (size_t run = 0; run < kSizes.size(); ++run) {
      const Sizes &sizes = kSizes[run];
      extent[run] = dim == kB    ? sizes.batch
                    : dim == kS  ? sizes.sequence
                    : dim == kBS ? sizes.batch * sizes.sequence
                    : dim == kP  ? sizes.past
                    : dim == kT  ? sizes.total()
                    : dim == kS4 ? sizes.sequence * 4
                                 : dim;
    }
    extents.push_back(extent);
  }
  return extents;
}

TEST(LayoutTest, TellsDimensionsApart) {
  EXPECT_EQ(toString(dims({kB, 4, kS, 1, kP, kT, kBS})), "[b,4,s,1,p,p+s,b*s]");
  // Features as large as a run's batch, sequence, past or total are features all the same.
  EXPECT_EQ(toString(dims({2, 3, 5, 8, 6})), "[2,3,5,8,6]");
}

TEST(LayoutTest, KeepsFeaturesInOrder) {
  auto layout = Layout::of(dims({kB, 4, kS, 32}));
  ASSERT_TRUE(layout.isOk());
  EXPECT_EQ(layout->features(), (std::vector<int64_t>{4, 32}));
  EXPECT_EQ(layout->axisOf(1), 1);
  EXPECT_EQ(layout->axisOf(3), 2);
  EXPECT_TRUE(Layout::of(dims({kBS, 128})).isOk());
}

TEST(LayoutTest, RefusesWhatHasNoTokenAxis) {
  EXPECT_FALSE(Layout::of(dims({kB, 128})).isOk());
  EXPECT_FALSE(Layout::of(dims({kB, kS, kT})).isOk());
  EXPECT_FALSE(Layout::of(dims({kB, kS, kBS})).isOk());
  EXPECT_FALSE(Layout::of(dims({kB, kB, kS})).isOk());
}

TEST(LayoutTest, ReshapesFeaturesAndTokensApart) {
  EXPECT_TRUE(checkReshape(dims({kB, kS, 128}), dims({kB, kS, 4, 32})).isOk());
  EXPECT_TRUE(checkReshape(dims({kB, kS, 4, 32}), dims({kB, kS, 128})).isOk());
  EXPECT_TRUE(checkReshape(dims({kB, kS, 128}), dims({kBS, 128})).isOk());
  EXPECT_TRUE(checkReshape(dims({kBS, 2, 2, 32}), dims({kB, 1, kS, 4, 32})).isOk());
  EXPECT_TRUE(checkReshape(dims({kB, kS, 1, 6, 4}), dims({kB, kS, 8, 3})).isOk());
}

TEST(LayoutTest, TakesMergedDimensionsApart) {
  auto layout = Layout::of(dims({kB, kS4, 32}));
  ASSERT_TRUE(layout.isOk());
  EXPECT_EQ(toString(dims({kB, kS4, 32})), "[b,s*4,32]");
  EXPECT_EQ(layout->features(), (std::vector<int64_t>{4, 32}));
  EXPECT_EQ(layout->axisOf(2), 2);
  EXPECT_FALSE(layout->isFeature(1));
  EXPECT_TRUE(checkReshape(dims({kB, kS, 128}), dims({kB, kS4, 32})).isOk());
  EXPECT_TRUE(checkReshape(dims({kB, kS4, 32}), dims({kB, kS, 2, 64})).isOk());
  EXPECT_FALSE(checkReshape(dims({kB, 4, kS, 32}), dims({kB, kS4, 32})).isOk());
}

TEST(LayoutTest, RefusesReshapesThatMix) {
  EXPECT_FALSE(checkReshape(dims({kB, 4, kS, 32}), dims({kB, kS, 128})).isOk());
  EXPECT_FALSE(checkReshape(dims({kB, kS, 4}), dims({kS, kB, 4})).isOk());
  EXPECT_FALSE(checkReshape(dims({kS, kB, 4}), dims({kBS, 4})).isOk());
  EXPECT_FALSE(checkReshape(dims({kB, kS, 4}), dims({kB, kS, 2})).isOk());
}

TEST(LayoutTest, TransposesMoveFeaturesOnly) {
  auto heads = Layout::of(dims({kB, kS, 4, 32}));
  ASSERT_TRUE(heads.isOk());
  EXPECT_EQ(featurePermutation(*heads, {0, 2, 1, 3}), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(featurePermutation(*heads, {0, 3, 1, 2}), (std::vector<int64_t>{0, 2, 1}));
}

} // namespace
} // namespace platen::compiler::serve
