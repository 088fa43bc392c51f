// The packing table: names parse to themselves, sizes agree with the architecture page, and the
// addresses of elements, scales and zero points of a weight never collide and never leave it.
#include "kernels/descriptor.h"
#include "kernels/narrow_float.h"
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
static_assert(parsePacking("panel16.f8")->panelBytes(20) == 2 * 256 + 64);
static_assert(parsePacking("panel16.f4")->panelBytes(65) == 2 * (512 + 64) + 64);
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
        const bool f4 = packing.element == Packing::Element::kF4;
        const bool nibble = packing.element == Packing::Element::kQ4 || f4;
        const unsigned shift = f4 ? Packing::floatNibbleShift(i) : Packing::nibbleShift(i);
        const uint8_t bits = !nibble ? 3 : shift == 0 ? 1 : 2;
        take(packing.elementOffset(row, i, k),
             packing.isQuantized() || nibble ? 1 : packing.elementBytes(), bits);
        if (f4 && i % kFloatGroup == 0)
          take(packing.groupScaleOffset(row, i, k), 1, 3);
        if (packing.isNarrowFloat() && i == 0)
          take(packing.channelScaleOffset(row, k), 4, 3);
        if (packing.isQuantized() && i % kGroup == 0) {
          take(packing.scaleOffset(row, i, k), packing.scaleBytes(), 3);
          if (packing.zeroPoints)
            take(packing.zeroOffset(row, i, k), 1, 3);
        }
      }
  }
}

TEST(NarrowFloat, EveryCodeComesBack) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = e4m3ToFloat(static_cast<uint8_t>(code));
    EXPECT_EQ(std::isnan(value), (code & 0x7fU) == 0x7f);
    EXPECT_EQ(floatToE4m3(value), std::isnan(value) ? 0x7f : code);
  }
  for (uint8_t code = 0; code < 16; ++code)
    EXPECT_EQ(floatToE2m1(e2m1ToFloat(code)), code);
}

TEST(NarrowFloat, RoundsToTheNearestAndTiesToEven) {
  for (unsigned code = 0; code + 1 < 0x7f; ++code) {
    const float low = e4m3ToFloat(static_cast<uint8_t>(code)),
                high = e4m3ToFloat(static_cast<uint8_t>(code + 1)), middle = (low + high) / 2;
    EXPECT_EQ(floatToE4m3(middle), code % 2 == 0 ? code : code + 1) << middle;
    EXPECT_EQ(floatToE4m3(std::nextafter(middle, 0.0F)), code) << middle;
    EXPECT_EQ(floatToE4m3(-std::nextafter(middle, 1e9F)), (code + 1) | 0x80U) << middle;
  }
  for (uint8_t code = 0; code < 7; ++code) {
    const float middle = (e2m1ToFloat(code) + e2m1ToFloat(code + 1)) / 2;
    EXPECT_EQ(floatToE2m1(middle), code % 2 == 0 ? code : code + 1) << middle;
  }
  EXPECT_EQ(e4m3ToFloat(0x7e), 448.0F);
  EXPECT_EQ(e4m3ToFloat(1), std::ldexp(1.0F, -9));
  EXPECT_EQ(e2m1ToFloat(7), 6.0F);
  EXPECT_EQ(floatToE4m3(1e30F), 0x7e);
  EXPECT_EQ(floatToE2m1(-1e30F), 15);
  EXPECT_EQ(floatToE4m3(std::nanf("")), 0x7f);
}

TEST(Descriptor, RowsNameKnownPackingsOnce) {
  for (const KernelDescriptor &row : kHostKernels) {
    EXPECT_TRUE(row.packing.empty() || parsePacking(row.packing).has_value()) << row.packing;
    EXPECT_EQ(findKernel(row.op, row.packing), &row) << row.op << ' ' << row.packing;
  }
}

} // namespace
} // namespace platen::kernels
