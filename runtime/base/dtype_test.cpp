// The 16-bit conversions against the compiler's own _Float16 over every bit pattern and around
// every tie.
#include "runtime/base/dtype.h"

#include <cmath>
#include <gtest/gtest.h>

namespace platen::base {
namespace {

float viaCompiler(uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }

TEST(Dtype, F16WidensLikeTheCompilerForEveryPattern) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float ours = f16ToFloat(static_cast<uint16_t>(bits)),
          theirs = viaCompiler(static_cast<uint16_t>(bits));
    if (std::isnan(theirs)) {
      EXPECT_TRUE(std::isnan(ours)) << bits;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(ours), std::bit_cast<uint32_t>(theirs)) << bits;
    }
  }
}

TEST(Dtype, F16NarrowsLikeTheCompiler) {
  // Every exponent with mantissas around each rounding boundary.
  for (uint32_t high = 0; high < 0x10000U; high += 3) {
    for (uint32_t low :
         {0x0U, 0x1U, 0xfffU, 0x1000U, 0x1001U, 0x1fffU, 0x2000U, 0x3000U, 0xffffU}) {
      float value = std::bit_cast<float>((high << 16) | low);
      if (std::isnan(value))
        continue;
      auto theirs = std::bit_cast<uint16_t>(static_cast<_Float16>(value));
      ASSERT_EQ(floatToF16(value), theirs) << value;
    }
  }
}

TEST(Dtype, Bf16RoundsToNearestEven) {
  EXPECT_EQ(floatToBf16(1.0F), 0x3f80);
  EXPECT_EQ(floatToBf16(std::bit_cast<float>(0x3f808000U)), 0x3f80); // tie, even below
  EXPECT_EQ(floatToBf16(std::bit_cast<float>(0x3f818000U)), 0x3f82); // tie, even above
  EXPECT_EQ(floatToBf16(std::bit_cast<float>(0x3f808001U)), 0x3f81);
  EXPECT_TRUE(std::isnan(bf16ToFloat(floatToBf16(std::nanf("")))));
}

} // namespace
} // namespace platen::base
