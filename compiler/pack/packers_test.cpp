// Packers: every packing is read back element by element through the addresses of kernels/packing.h
// and compared with the source; quantisers against their error bounds and against plain rounding;
// ranges of panels against the whole.
#include "compiler/pack/packers.h"

#include "compiler/pack/group_quantizer.h"
#include "compiler/pack/narrow_quantizer.h"
#include "kernels/narrow_float.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace platen::compiler {
namespace {

using base::DType;
using kernels::kGroup;
using kernels::kPackings;
using kernels::Packing;
using kernels::parsePacking;

std::vector<float> randomFloats(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05F);
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

float half(const uint8_t *at) {
  uint16_t bits = 0;
  std::memcpy(&bits, at, 2);
  return base::f16ToFloat(bits);
}

/// What a kernel reads at (n, k).
float readBack(const Packing &packing, const std::vector<uint8_t> &bytes, uint64_t n, uint64_t k,
               uint64_t K) {
  const uint8_t *at = bytes.data() + packing.elementOffset(n, k, K);
  float value = 0;
  if (packing.element == Packing::Element::kF32) {
    std::memcpy(&value, at, 4);
    return value;
  }
  if (packing.element == Packing::Element::kBF16) {
    uint16_t bits = 0;
    std::memcpy(&bits, at, 2);
    return base::bf16ToFloat(bits);
  }
  if (packing.element == Packing::Element::kF16)
    return half(at);
  if (packing.isNarrowFloat()) {
    float scale = 0;
    std::memcpy(&scale, bytes.data() + packing.channelScaleOffset(n, K), 4);
    if (packing.element == Packing::Element::kF8)
      return kernels::e4m3ToFloat(*at) * scale;
    return kernels::e2m1ToFloat(*at >> Packing::floatNibbleShift(k) & 15) *
           kernels::e4m3ToFloat(bytes[packing.groupScaleOffset(n, k, K)]) * scale;
  }
  const uint8_t *scaleAt = bytes.data() + packing.scaleOffset(n, k, K);
  float scale = 0;
  if (packing.scale == DType::kF16)
    scale = half(scaleAt);
  else
    std::memcpy(&scale, scaleAt, 4);
  const int code = packing.element == Packing::Element::kQ8 ? static_cast<int8_t>(*at)
                                                            : *at >> Packing::nibbleShift(k) & 15;
  const int zero = packing.zeroPoints ? static_cast<int8_t>(bytes[packing.zeroOffset(n, k, K)])
                                      : packing.defaultZero();
  return static_cast<float>(code - zero) * scale;
}

std::vector<uint8_t> packAll(const DenseSource &source, const Packing &packing) {
  std::vector<uint8_t> bytes(packing.bytes(source.n, source.k), 0xee);
  const base::Status status = packDense(source, packing, 0, packing.panels(source.n), bytes);
  EXPECT_TRUE(status.isOk()) << status.toString();
  return bytes;
}

TEST(Packers, RefuseWhatHalfPrecisionCannotHold) {
  const Packing f16 = *kernels::parsePacking("panel16.f16");
  std::vector<float> values(2 * 3, 65504.0F);
  packAll({values.data(), DType::kF32, 2, 3, false}, f16);
  values[4] = -70000.0F;
  std::vector<uint8_t> bytes(f16.bytes(2, 3));
  const base::Status status =
      packDense({values.data(), DType::kF32, 2, 3, false}, f16, 0, 1, bytes);
  EXPECT_EQ(status.code(), base::StatusCode::kUnsupported);
  EXPECT_THAT(status.toString(), testing::HasSubstr("row 1"));
  EXPECT_THAT(status.toString(), testing::HasSubstr("use bf16 or f32"));
}

TEST(Packers, EveryPanelPackingReadsBackFromEverySourceType) {
  const uint64_t n = 37, k = 96;
  const std::vector<float> values = randomFloats(n * k, 1);
  for (const Packing &packing : kPackings) {
    if (packing.layout == Packing::Layout::kRaw)
      continue;
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
      for (bool transposed : {false, true}) {
        std::vector<uint8_t> stored(n * k * 4);
        std::vector<float> exact(n * k); // [n][k], after the source type's rounding
        for (uint64_t i = 0; i < n * k; ++i) {
          const uint64_t place = transposed ? i % k * n + i / k : i;
          exact[i] = values[i];
          if (dtype == DType::kF32) {
            std::memcpy(&stored[place * 4], &values[i], 4);
            continue;
          }
          const uint16_t bits =
              dtype == DType::kF16 ? base::floatToF16(values[i]) : base::floatToBf16(values[i]);
          exact[i] = dtype == DType::kF16 ? base::f16ToFloat(bits) : base::bf16ToFloat(bits);
          std::memcpy(&stored[place * 2], &bits, 2);
        }
        const std::vector<uint8_t> bytes =
            packAll({stored.data(), dtype, n, k, transposed}, packing);
        for (uint64_t row = 0; row < n; ++row)
          for (uint64_t i = 0; i < k; ++i) {
            const float want = exact[row * k + i], got = readBack(packing, bytes, row, i, k);
            if (packing.element == Packing::Element::kF32) {
              ASSERT_EQ(got, want);
            } else if (packing.element == Packing::Element::kBF16) {
              ASSERT_EQ(got, base::bf16ToFloat(base::floatToBf16(want)));
            } else if (packing.element == Packing::Element::kF16) {
              ASSERT_EQ(got, base::f16ToFloat(base::floatToF16(want)));
            } else if (packing.element == Packing::Element::kF8) {
              // Half a unit of 3 bits of fraction; behind the smallest normal number, half a step.
              ASSERT_NEAR(got, want, std::abs(want) * 0x1.01p-4F + 0.2F * 0x1p-10F / 448);
            } else if (packing.element == Packing::Element::kF4) {
              float most = 0;
              for (uint64_t j = i / 16 * 16; j < i / 16 * 16 + 16; ++j)
                most = std::max(most, std::abs(exact[row * k + j]));
              // Half of the widest step (4 to 6), the group scale up to 1/4 too small or 1/16
              // large.
              ASSERT_NEAR(got, want, most / 4 + 1e-6F) << row << ' ' << i;
            } else {
              float largest = 0;
              for (uint64_t j = i / kGroup * kGroup; j < (i / kGroup + 1) * kGroup; ++j)
                largest = std::max(largest, std::abs(exact[row * k + j]));
              // q8: half a step plus the scale's own rounding; q4: at most a step of the plain
              // range.
              const float bound = packing.element == Packing::Element::kQ8
                                      ? largest * (0.501F / 127 + 0x1p-11F)
                                      : largest / 5;
              ASSERT_NEAR(got, want, bound) << packing.name << ' ' << row << ' ' << i;
            }
          }
      }
  }
}

TEST(Packers, PanelRangesDoNotMatter) {
  const uint64_t n = 90, k = 64;
  const std::vector<float> values = randomFloats(n * k, 2);
  const DenseSource source{values.data(), DType::kF32, n, k, false};
  for (const Packing &packing : kPackings) {
    if (packing.layout == Packing::Layout::kRaw)
      continue;
    const std::vector<uint8_t> whole = packAll(source, packing);
    std::vector<uint8_t> parts;
    for (uint64_t panel = 0; panel < packing.panels(n); ++panel) {
      std::vector<uint8_t> one(packing.panelBytes(k));
      ASSERT_TRUE(packDense(source, packing, panel, 1, one).isOk());
      parts.insert(parts.end(), one.begin(), one.end());
    }
    EXPECT_EQ(parts, whole) << packing.name;
  }
}

TEST(NarrowQuantizer, ScalesOfChannelsAndGroups) {
  const std::vector<float> row = randomFloats(100, 5);
  float largest = 0;
  for (float value : row)
    largest = std::max(largest, std::abs(value));
  const NarrowRow f8 = quantizeRow8(row), f4 = quantizeRow4(row);
  EXPECT_EQ(f8.scale, largest / 448);
  EXPECT_TRUE(f8.groupScales.empty());
  EXPECT_EQ(f4.scale, largest / 2688);
  ASSERT_EQ(f4.groupScales.size(), 7U);
  ASSERT_EQ(f4.codes.size(), row.size());
  // The scale that loses least is never worse than the plain one.
  double chosen = 0, plain = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    float most = 0;
    for (size_t j = i / 16 * 16; j < std::min<size_t>(i / 16 * 16 + 16, row.size()); ++j)
      most = std::max(most, std::abs(row[j]));
    const float usual = kernels::e4m3ToFloat(kernels::floatToE4m3(most / 6 / f4.scale)) * f4.scale;
    const float own = kernels::e4m3ToFloat(f4.groupScales[i / 16]) * f4.scale;
    const float a = row[i] - kernels::e2m1ToFloat(f4.codes[i]) * own,
                b = row[i] - kernels::e2m1ToFloat(kernels::floatToE2m1(row[i] / usual)) * usual;
    chosen += a * a, plain += b * b;
  }
  EXPECT_LT(chosen, plain);
  const NarrowRow zeros = quantizeRow4(std::vector<float>(20, 0.0F));
  EXPECT_EQ(zeros.scale, 0);
  EXPECT_EQ(zeros.codes, std::vector<uint8_t>(20, 0));
}

/// Mean squared error of a group against its source.
double error(const float *x, const QuantizedGroup &group) {
  double sum = 0;
  for (size_t i = 0; i < kGroup; ++i) {
    const double value = double{group.scale} * (group.codes[i] - group.zero);
    sum += (value - x[i]) * (value - x[i]);
  }
  return sum;
}

TEST(GroupQuantizer, SearchBeatsPlainRounding) {
  double plain = 0, symmetric = 0, withZero = 0;
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const std::vector<float> x = randomFloats(kGroup, seed);
    float largest = 0;
    for (float value : x)
      largest = std::max(largest, std::abs(value));
    QuantizedGroup rounded;
    rounded.scale = largest / 7, rounded.zero = 8;
    for (size_t i = 0; i < kGroup; ++i)
      rounded.codes[i] = static_cast<int8_t>(std::lround(x[i] / rounded.scale) + 8);
    plain += error(x.data(), rounded);
    symmetric += error(x.data(), quantizeGroup4(x.data(), true));
    withZero += error(x.data(), quantizeGroup4WithZero(x.data(), true));
  }
  EXPECT_LT(symmetric, 0.80 * plain);
  EXPECT_LT(withZero, 0.80 * plain);
}

TEST(GroupQuantizer, GroupsOnOneSideOfZeroKeepAllCodes) {
  std::vector<float> x(kGroup);
  for (size_t i = 0; i < kGroup; ++i)
    x[i] = 1.0F + 0.01F * static_cast<float>(i % 16);
  const QuantizedGroup group = quantizeGroup4WithZero(x.data(), false);
  EXPECT_LT(error(x.data(), group), 1e-3 * error(x.data(), quantizeGroup4(x.data(), false)));
}

TEST(GroupQuantizer, ZerosAndTinyAndHugeValues) {
  const std::vector<float> zeros(kGroup, 0.0F), tiny(kGroup, 1e-30F), same(kGroup, 0.25F);
  for (auto *quantize : {quantizeGroup8, quantizeGroup4, quantizeGroup4WithZero}) {
    EXPECT_EQ(error(zeros.data(), quantize(zeros.data(), true)), 0);
    EXPECT_LE(error(tiny.data(), quantize(tiny.data(), true)), 32 * 1e-60 * 1.001);
    EXPECT_LE(error(same.data(), quantize(same.data(), true)), 32 * std::pow(0.25 * 0x1p-10, 2));
    for (int8_t code : quantize(same.data(), true).codes)
      EXPECT_TRUE(quantize == quantizeGroup8 || (code >= 0 && code <= 15));
  }
}

struct Blocks {
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales;
  std::vector<uint16_t> scales16;
  BlockSource source;
};

/// Random blocks of MatMulNBits' form; `zeros`: 0 absent, 1 packed.
Blocks randomBlocks(uint32_t bits, uint32_t block, uint64_t n, uint64_t k, bool zeros, bool f16) {
  std::mt19937 random(bits * 1000 + block);
  Blocks blocks;
  const uint64_t count = (k + block - 1) / block;
  blocks.codes.resize(n * count * block * bits / 8);
  for (uint8_t &code : blocks.codes)
    code = static_cast<uint8_t>(random());
  if (zeros) {
    blocks.zeros.resize(n * ((count * bits + 7) / 8));
    for (uint8_t &zero : blocks.zeros)
      zero = static_cast<uint8_t>(random());
  }
  for (uint64_t i = 0; i < n * count; ++i) {
    blocks.scales.push_back(static_cast<float>(random() % 10000 + 1) * 1e-5F);
    blocks.scales16.push_back(base::floatToF16(blocks.scales.back()));
    if (f16)
      blocks.scales.back() = base::f16ToFloat(blocks.scales16.back());
  }
  blocks.source = {blocks.codes.data(),
                   f16 ? static_cast<const void *>(blocks.scales16.data()) : blocks.scales.data(),
                   f16 ? DType::kF16 : DType::kF32,
                   zeros ? blocks.zeros.data() : nullptr,
                   bits,
                   block,
                   n,
                   k};
  return blocks;
}

TEST(Packers, BlocksAreRepackedExactly) {
  for (uint32_t bits : {4U, 8U})
    for (uint32_t block : {32U, 64U, 128U})
      for (bool zeros : {false, true})
        for (bool f16 : {false, true}) {
          const uint64_t n = 21, k = 288,
                         count = (k + block - 1) / block; // 288 is no multiple of 64 or 128
          const Blocks blocks = randomBlocks(bits, block, n, k, zeros, f16);
          const auto packing = packingFor(blocks.source);
          ASSERT_TRUE(packing.isOk());
          EXPECT_EQ(packing->scale, f16 ? DType::kF16 : DType::kF32);
          EXPECT_EQ(packing->zeroPoints, zeros);
          std::vector<uint8_t> bytes(packing->bytes(n, k));
          ASSERT_TRUE(packBlocks(blocks.source, *packing, 0, packing->panels(n), bytes).isOk());
          for (uint64_t row = 0; row < n; ++row)
            for (uint64_t i = 0; i < k; ++i) {
              // The operator's definition, spelt out bit by bit.
              const uint64_t bit = (row * count * block + i) * bits, b = row * count + i / block;
              const uint32_t mask = (1U << bits) - 1;
              const uint32_t code = static_cast<uint32_t>(blocks.codes[bit / 8]) >> bit % 8 & mask;
              const uint64_t zeroBit = row * ((count * bits + 7) / 8) * 8 + i / block * bits;
              const uint32_t zero =
                  zeros ? static_cast<uint32_t>(blocks.zeros[zeroBit / 8]) >> zeroBit % 8 & mask
                        : 1U << (bits - 1);
              const float want =
                  (static_cast<float>(code) - static_cast<float>(zero)) * blocks.scales[b];
              ASSERT_EQ(readBack(*packing, bytes, row, i, k), want)
                  << bits << ' ' << block << ' ' << row << ' ' << i;
            }
        }
}

TEST(Packers, RawKeepsOrder) {
  const std::vector<float> values = randomFloats(100, 3);
  std::vector<uint8_t> bytes(40 * 2);
  ASSERT_TRUE(
      packRaw({values.data(), DType::kF32, 10, 10, false}, *parsePacking("raw.f16"), 30, 40, bytes)
          .isOk());
  for (size_t i = 0; i < 40; ++i)
    EXPECT_EQ(half(&bytes[i * 2]), base::f16ToFloat(base::floatToF16(values[30 + i])));
}

TEST(Packers, RefusalsNameTheCause) {
  std::vector<float> values = randomFloats(16 * 32, 4);
  const DenseSource source{values.data(), DType::kF32, 16, 32, false};
  const Packing q8 = *parsePacking("panel16.q8g32.f16"), q4 = *parsePacking("panel16.q4g32.f16");
  std::vector<uint8_t> bytes(q8.bytes(16, 32));
  EXPECT_FALSE(packDense(source, q8, 1, 1, bytes).isOk());
  EXPECT_FALSE(packDense(source, q8, 0, 1, std::span(bytes).first(100)).isOk());
  EXPECT_FALSE(packDense(source, *parsePacking("raw.f32"), 0, 1, bytes).isOk());
  values[33] = std::nanf("");
  const base::Status nan = packDense(source, q8, 0, 1, bytes);
  EXPECT_EQ(nan.code(), base::StatusCode::kUnsupported);
  EXPECT_NE(nan.message().find("row 1"), std::string_view::npos);
  values[33] = 1e38F;
  EXPECT_NE(packDense(source, q8, 0, 1, bytes).message().find("f32 scales"),
            std::string_view::npos);

  const Blocks blocks = randomBlocks(4, 32, 16, 32, true, false);
  std::vector<uint8_t> panel(q4.bytes(16, 32));
  EXPECT_EQ(packBlocks(blocks.source, q4, 0, 1, panel).code(), base::StatusCode::kUnsupported);
  BlockSource odd = blocks.source;
  odd.bits = 3;
  EXPECT_EQ(packingFor(odd).status().code(), base::StatusCode::kUnsupported);
  odd.bits = 4, odd.block = 16;
  EXPECT_EQ(packingFor(odd).status().code(), base::StatusCode::kUnsupported);
  EXPECT_EQ(packBlocks(blocks.source, q8, 0, 1, bytes).code(), base::StatusCode::kInvalidArgument);
}

} // namespace
} // namespace platen::compiler
