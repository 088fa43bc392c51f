// Checked arithmetic at its edges, against arithmetic in 128 bits.
#include "runtime/base/checked.h"

#include <gtest/gtest.h>

namespace platen::base {
namespace {

constexpr uint64_t kMax = ~uint64_t{0};
constexpr uint64_t kEdges[] = {
    0,        1,   2, 3, 63, 64, 0xffffffff, 0x100000000, 0x100000001, kMax / 2, kMax / 2 + 1,
    kMax - 1, kMax};
__extension__ using Wide = unsigned __int128;

TEST(Checked, AgreesWithWideArithmetic) {
  for (uint64_t a : kEdges) {
    for (uint64_t b : kEdges) {
      auto sum = checkedAdd(a, b, "sum");
      auto product = checkedMul(a, b, "product");
      EXPECT_EQ(sum.isOk(), Wide{a} + b <= kMax) << a << " + " << b;
      EXPECT_EQ(product.isOk(), Wide{a} * b <= kMax) << a << " * " << b;
      EXPECT_TRUE(!sum.isOk() || *sum == a + b);
      EXPECT_TRUE(!product.isOk() || *product == a * b);
      for (uint64_t limit : kEdges)
        EXPECT_EQ(fitsInside(a, b, limit), Wide{a} + b <= limit) << a << ' ' << b << ' ' << limit;
    }
  }
}

TEST(Checked, OverflowNamesTheQuantity) {
  auto product = checkedMul<uint32_t>(65536, 65536, "page bytes");
  EXPECT_EQ(product.status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(product.status().message(), "page bytes: 65536 * 65536 overflows");
}

TEST(Checked, AlignsUp) {
  EXPECT_EQ(alignUp(0, 64), 0U);
  EXPECT_EQ(alignUp(1, 64), 64U);
  EXPECT_EQ(alignUp(64, 64), 64U);
  EXPECT_EQ(alignUp(65, 64), 128U);
}

} // namespace
} // namespace platen::base
