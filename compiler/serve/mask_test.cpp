// Masks by value: causal ones of both kinds pass, each way of being wrong is named.
#include "compiler/serve/mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace platen::compiler::serve {
namespace {

using ops::DType;
using ops::Tensor;
using testing::HasSubstr;

/// Additive f32[1,1,s,p+s] or bool mask from a rule over (query slot, key slot).
Tensor maskOf(const Sizes &sizes, DType dtype,
              const std::function<bool(int64_t, int64_t)> &visible) {
  Tensor mask(ops::TensorType{dtype, {1, 1, sizes.sequence, sizes.total()}});
  for (int64_t q = 0; q < sizes.sequence; ++q)
    for (int64_t k = 0; k < sizes.total(); ++k) {
      bool sees = visible(sizes.past + q, k);
      mask.set(q * sizes.total() + k, dtype == DType::kBool ? sees : (sees ? 0.0 : -3.4e38));
    }
  return mask;
}

bool causal(int64_t q, int64_t k) { return k <= q; }
bool sliding(int64_t q, int64_t k) { return k <= q && k > q - 4; }

TEST(MaskTest, ReadsTheWindowOffALongContext) {
  Sizes sizes{1, 1, 99};
  EXPECT_EQ(*windowOf({sizes, maskOf(sizes, DType::kF32, causal)}), 0);
  EXPECT_EQ(*windowOf({sizes, maskOf(sizes, DType::kF32, sliding)}), 4);
  Tensor nothing = maskOf(sizes, DType::kF32, [](int64_t, int64_t) { return false; });
  EXPECT_FALSE(windowOf({sizes, nothing}).isOk());
}

TEST(MaskTest, AcceptsCausalAndSliding) {
  Sizes sizes{1, 3, 5};
  for (DType dtype : {DType::kF32, DType::kBool}) {
    EXPECT_TRUE(checkMask({sizes, maskOf(sizes, dtype, causal)}, 0).isOk());
    EXPECT_TRUE(checkMask({sizes, maskOf(sizes, dtype, sliding)}, 4).isOk());
  }
  Tensor hiding = maskOf(sizes, DType::kBool, [](int64_t q, int64_t k) { return !causal(q, k); });
  EXPECT_TRUE(checkMask({.sizes = sizes, .mask = hiding, .hides = true}, 0).isOk());
}

TEST(MaskTest, NamesTheContradiction) {
  Sizes sizes{1, 3, 5};
  Tensor everything = maskOf(sizes, DType::kF32, [](int64_t, int64_t) { return true; });
  auto status = checkMask({sizes, everything}, 0);
  EXPECT_EQ(status.code(), base::StatusCode::kUnsupported);
  EXPECT_THAT(status.toString(), HasSubstr("slot 5 sees the key at slot 6"));
  EXPECT_THAT(checkMask({sizes, maskOf(sizes, DType::kF32, sliding)}, 5).toString(),
              HasSubstr("does not see"));
  EXPECT_THAT(checkMask({sizes, maskOf(sizes, DType::kF32, causal)}, 4).toString(),
              HasSubstr("window of 4"));
}

TEST(MaskTest, RefusesBiases) {
  Sizes sizes{1, 1, 3};
  Tensor bias(ops::TensorType{DType::kF32, {1, 1, 1, 4}});
  bias.set(1, -0.5);
  EXPECT_THAT(checkMask({sizes, bias}, 0).toString(), HasSubstr("position bias"));
}

TEST(MaskTest, PaddingMayHideOnlyWhatIsPadded) {
  Sizes sizes{1, 1, 3};
  Tensor padding = Tensor::of<int>(DType::kI64, {1, 4}, std::vector<int>{0, 1, 1, 1});
  Tensor honest = maskOf(sizes, DType::kF32, [](int64_t, int64_t k) { return k != 0; });
  EXPECT_TRUE(checkMask({sizes, honest, &padding}, 0).isOk());
  EXPECT_TRUE(checkMask({sizes, maskOf(sizes, DType::kF32, causal), &padding}, 0).isOk());
  Tensor other = maskOf(sizes, DType::kF32, [](int64_t, int64_t k) { return k != 1; });
  EXPECT_FALSE(checkMask({sizes, other, &padding}, 0).isOk());
}

} // namespace
} // namespace platen::compiler::serve
