// The packing table: names parse to themselves, sizes agree with the architecture page, and the
// addresses of elements, scales and zero points of a weight never collide and never leave it.
#include "kernels/descriptor.h"
#include "kernels/packing.h"

#include <gtest/gtest.h>
#include <vector>

namespace platen::kernels {
namespace {

static_assert(parsePacking("panel16.q8g32.f16")->blockBytes() == 1088);
static_assert(parsePacking("panel16.q4g32.f16")->blockBytes() == 576);
static_assert(parsePacking("panel16.f32")->bytes(17, 3) == 2 * 3 * 16 * 4);
static_assert(parsePacking("panel16.bf16")->bytes(16, 3) == 2 * 16 * 2 * 2);
static_assert(parsePacking("raw.f16")->bytes(3, 5) == 30);
static_assert(!parsePacking("panel16.q4").has_value());
static_assert(QuantizedRow{64}.bytes() == 128);

TEST(Packing, NamesAreUniqueAndParseToThemselves) {
  for (size_t i = 0; i < kPackings.size(); ++i) {
    EXPECT_EQ(parsePacking(kPackings[i].name)->name, kPackings[i].name);
    for (size_t j = 0; j < i; ++j)
      EXPECT_NE(kPackings[i].name, kPackings[j].name);
    if (kPackings[i].layout != Packing::Layout::kPanel16)
      continue;
    EXPECT_EQ(panelPacking(kPackings[i].element, kPackings[i].scale, kPackings[i].zeroPoints).name,
              kPackings[i].name);
  }
}

TEST(Packing, EveryElementHasItsOwnPlaceInside) {
  const uint64_t n = 40, k = 160; // a ragged panel, and half a block at the end
  for (const Packing &packing : kPackings) {
    if (packing.layout == Packing::Layout::kRaw)
      continue;
    std::vector<uint8_t> taken(packing.bytes(n, k)); // bit 0, 1: nibbles or whole bytes
    auto take = [&](uint64_t offset, uint64_t bytes, uint8_t bits) {
      for (uint64_t i = offset; i < offset + bytes; ++i) {
        ASSERT_LT(i, taken.size()) << packing.name;
        ASSERT_EQ(taken[i] & bits, 0) << packing.name << " byte " << i;
        taken[i] |= bits;
      }
    };
    for (uint64_t row = 0; row < n; ++row)
      for (uint64_t i = 0; i < k; ++i) {
        const bool nibble = packing.element == Packing::Element::kQ4;
        const uint8_t bits = !nibble ? 3 : Packing::nibbleShift(i) == 0 ? 1 : 2;
        take(packing.elementOffset(row, i, k), packing.isQuantized() ? 1 : packing.elementBytes(),
             bits);
        if (packing.isQuantized() && i % kGroup == 0) {
          take(packing.scaleOffset(row, i, k), packing.scaleBytes(), 3);
          if (packing.zeroPoints)
            take(packing.zeroOffset(row, i, k), 1, 3);
        }
      }
  }
}

TEST(Descriptor, RowsNameKnownPackingsOnce) {
  for (const KernelDescriptor &row : kHostKernels) {
    EXPECT_TRUE(row.packing.empty() || parsePacking(row.packing).has_value()) << row.packing;
    EXPECT_EQ(findKernel(row.op, row.packing), &row) << row.op << ' ' << row.packing;
  }
}

} // namespace
} // namespace platen::kernels
