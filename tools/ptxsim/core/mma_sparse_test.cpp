// mma.sp against its definition: the dense product with A spread out by the metadata.
#include "tools/ptxsim/core/mma_testing.h"

#include <random>

namespace platen::ptxsim {
namespace {

struct Case {
  int k;
  std::string d, a, b;
  bool ordered = true;
};

/// Stored element i of a lane's fragment of a sparse A (row, stored column), as the ISA lists the
/// registers: rows g and g + 8 in turn, then the next columns.
std::pair<int, int> placeOfA(int bits, int lane, int i) {
  int perWord = 32 / bits, word = i / perWord, quad = lane / 4, t = lane % 4;
  return {quad + word % 2 * 8, word / 2 * 4 * perWord + t * perWord + i % perWord};
}
/// Row and column of element i of a lane's fragment of B.
std::pair<int, int> placeOfB(int bits, int lane, int i) {
  int perWord = 32 / bits;
  return {i / perWord * 4 * perWord + lane % 4 * perWord + i % perWord, lane / 4};
}

/// Which lane of a quad holds the metadata of stored element s of a row, and from which bit on.
struct MetadataPlace {
  int thread, bit;
};
MetadataPlace metadataOf(const Case &c, int selector, int row, int s) {
  bool upper = row >= 8;
  int bits = widthOf(c.a);
  if (bits == 8) // a word for 16 stored elements: lanes T0 and T1 the first 32 columns, T2 and T3
    return {(c.k == 32 ? 2 * selector : s / 16 * 2) + (upper ? 1 : 0), s % 16 * 2};
  if (bits == 16)
    return {c.k == 16 ? selector : 2 * selector + s / 8, s % 8 * 2 + (upper ? 16 : 0)};
  return {c.k == 8 ? selector : 2 * selector + s / 4, s % 4 * 4 + (upper ? 16 : 0)}; // tf32
}

class SparseMma : public testing::Test {
protected:
  std::mt19937_64 random_{11};

  OneWarp warpFor(const Case &c, int selector) {
    int bits = widthOf(c.a), a = 16 * c.k / 2 * bits / 1024, b = 8 * c.k * bits / 1024;
    int d = c.d == "f16" ? 2 : 4;
    std::string body;
    for (auto [name, count] : {std::pair{'a', a}, {'b', b}, {'c', d}, {'d', d}})
      body += std::string(".reg .b32 %") + name + "<" + std::to_string(count) + ">;\n";
    return OneWarp(body + ".reg .b32 %e;\nmma.sp" + (c.ordered ? "::ordered_metadata" : "") +
                   ".sync.aligned.m16n8k" + std::to_string(c.k) + ".row.col." + c.d + "." + c.a +
                   "." + c.b + "." + c.d + " " + registersOf('d', d) + ", " + registersOf('a', a) +
                   ", " + registersOf('b', b) + ", " + registersOf('c', d) + ", %e, " +
                   std::to_string(selector) + ";");
  }
  /// Small values of the type, whose sums are exact.
  uint32_t element(const std::string &type) {
    auto n = static_cast<uint32_t>(random_() % 15);
    if (type == "f16" || type == "bf16" || type == "tf32") {
      float value = static_cast<float>(n) - 7;
      auto single = std::bit_cast<uint32_t>(value);
      return type == "tf32" ? single : type == "bf16" ? single >> 16 : halfOf(value);
    }
    return type == "e4m3" || type == "e5m2" ? 0x30 + n * 2 : n * 17; // 8 bits
  }
  static uint32_t halfOf(float value) {
    for (uint32_t bits = 0; bits < 65536; ++bits)
      if (minifloat(bits, 5, 10, true, false) == value)
        return bits;
    return 0;
  }
  void check(const Case &c, int selector);
};

void SparseMma::check(const Case &c, int selector) {
  SCOPED_TRACE(c.d + " " + c.a + " k " + std::to_string(c.k) + " F " + std::to_string(selector));
  OneWarp warp = warpFor(c, selector);
  ASSERT_TRUE(warp.refusals().empty()) << warp.refusals()[0].toString();
  int bits = widthOf(c.a), perWord = 32 / bits, stored = c.k / 2, dCount = c.d == "f16" ? 2 : 4;
  size_t aAt = static_cast<size_t>(dCount), aCount = static_cast<size_t>(16 * stored * bits / 1024);
  size_t bAt = aAt + aCount, bCount = static_cast<size_t>(8 * c.k * bits / 1024),
         cAt = bAt + bCount;
  size_t eAt = cAt + static_cast<size_t>(dCount);
  auto word = [&](size_t at, int lane) -> uint32_t & {
    return warp.warp().lanes<uint32_t>(warp.slot(at))[lane];
  };
  std::vector<double> a(static_cast<size_t>(16 * stored)), b(static_cast<size_t>(c.k * 8));
  for (int lane = 0; lane < 32; ++lane) {
    for (auto [at, count, isA] : {std::tuple{aAt, aCount, true}, {bAt, bCount, false}})
      for (int i = 0; i < static_cast<int>(count) * perWord; ++i) {
        uint32_t value = element(isA ? c.a : c.b);
        uint32_t &target = word(at + static_cast<size_t>(i / perWord), lane);
        target = (i % perWord == 0 ? 0 : target) | value << (i % perWord * bits);
        auto [row, column] = isA ? placeOfA(bits, lane, i) : placeOfB(bits, lane, i);
        (isA ? a[static_cast<size_t>(row * stored + column)]
             : b[static_cast<size_t>(row * 8 + column)]) = valueOf(isA ? c.a : c.b, value);
      }
    for (int i = 0; i < dCount; ++i)
      word(cAt + static_cast<size_t>(i), lane) = 0;
    word(eAt, lane) = static_cast<uint32_t>(random_()); // what no selector names is not read
  }
  // Metadata, and the dense A that they make.
  std::vector<double> dense(static_cast<size_t>(16 * c.k), 0.0);
  constexpr uint32_t kPairs[] = {0b0100, 0b1000, 0b1001, 0b1100, 0b1101, 0b1110};
  for (int row = 0; row < 16; ++row)
    for (int s = 0; s < stored; s += bits == 32 ? 1 : 2) {
      auto [thread, bit] = metadataOf(c, selector, row, s);
      uint32_t pair = kPairs[random_() % 6];
      if (bits == 32)
        pair = random_() % 2 ? 0b1110 : 0b0100;
      else if (!c.ordered && random_() % 2)
        pair = pair >> 2 | (pair & 3) << 2;
      uint32_t &target = word(eAt, row % 8 * 4 + thread);
      target = (target & ~(15u << bit)) | pair << bit;
      auto at = [&](int column) -> double & {
        return dense[static_cast<size_t>(row * c.k + column)];
      };
      if (bits == 32) {
        at(2 * s + (pair == 0b1110 ? 1 : 0)) = a[static_cast<size_t>(row * stored + s)];
      } else {
        at(2 * s + static_cast<int>(pair & 3)) = a[static_cast<size_t>(row * stored + s)];
        at(2 * s + static_cast<int>(pair >> 2)) = a[static_cast<size_t>(row * stored + s + 1)];
      }
    }
  warp.run();
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = 0;
      for (int n = 0; n < c.k; ++n)
        sum += dense[static_cast<size_t>(row * c.k + n)] * b[static_cast<size_t>(n * 8 + column)];
      uint32_t got = word(static_cast<size_t>(c.d == "f16" ? i / 2 : i), lane);
      double value = c.d == "s32"   ? static_cast<int32_t>(got)
                     : c.d == "f16" ? valueOf("f16", got >> i % 2 * 16)
                                    : valueOf("f32", got);
      ASSERT_EQ(value, sum) << "lane " << lane << " element " << i;
    }
}

TEST_F(SparseMma, Halves) {
  for (const char *a : {"f16", "bf16"})
    for (bool ordered : {true, false}) {
      for (int selector = 0; selector < 4; ++selector)
        check({16, "f32", a, a, ordered}, selector);
      for (int selector = 0; selector < 2; ++selector)
        check({32, "f32", a, a, ordered}, selector);
    }
  check({16, "f16", "f16", "f16"}, 2);
}

TEST_F(SparseMma, Tf32) {
  for (int selector = 0; selector < 4; ++selector)
    check({8, "f32", "tf32", "tf32"}, selector);
  for (int selector = 0; selector < 2; ++selector)
    check({16, "f32", "tf32", "tf32"}, selector);
}

TEST_F(SparseMma, Bytes) {
  for (auto [a, b] : {std::pair{"s8", "s8"}, {"u8", "s8"}, {"u8", "u8"}}) {
    for (int selector = 0; selector < 2; ++selector)
      check({32, "s32", a, b}, selector);
    check({64, "s32", a, b}, 0);
  }
  check({64, "f32", "e4m3", "e5m2"}, 0);
}

TEST_F(SparseMma, MetadataAndSelectorsAreChecked) {
  OneWarp twice = warpFor({16, "f32", "f16", "f16"}, 0); // both elements in one place
  for (int lane = 0; lane < 32; ++lane)
    twice.warp().lanes<uint32_t>(twice.slot(12))[lane] = 0x44444445;
  EXPECT_THROW(twice.run(), Stop);
  for (bool ordered : {true, false}) { // the second element before the first
    OneWarp back = warpFor({16, "f32", "f16", "f16", ordered}, 0);
    for (int lane = 0; lane < 32; ++lane)
      for (size_t n = 0; n < 13; ++n)
        back.warp().lanes<uint32_t>(back.slot(n))[lane] = n == 12 ? 0x44444441 : 0;
    if (ordered) {
      EXPECT_THROW(back.run(), Stop);
    } else {
      EXPECT_NO_THROW(back.run());
    }
  }
  EXPECT_FALSE(warpFor({16, "f32", "f16", "f16"}, 4).refusals().empty());
  EXPECT_FALSE(warpFor({32, "f32", "f16", "f16"}, 2).refusals().empty());
  EXPECT_FALSE(warpFor({64, "s32", "s8", "s8"}, 1).refusals().empty());
}

TEST_F(SparseMma, WhatIsNotStoredTakesNoPart) {
  // B is infinite where no element of A is stored.
  OneWarp warp = warpFor({16, "f32", "f16", "f16"}, 0);
  for (int lane = 0; lane < 32; ++lane) {
    for (size_t n = 0; n < 13; ++n)
      warp.warp().lanes<uint32_t>(warp.slot(n))[lane] = n < 8 && n >= 4 ? 0x3C003C00 : 0;
    warp.warp().lanes<uint32_t>(warp.slot(12))[lane] = 0x44444444; // elements 0 and 1 of each four
    for (size_t n = 6; n < 8; ++n) // B: rows 4t + 2 and 4t + 3 lie in the odd lanes
      warp.warp().lanes<uint32_t>(warp.slot(n))[lane] = lane % 2 ? 0x7C007C00 : 0x3C003C00;
  }
  warp.run();
  for (size_t n = 0; n < 4; ++n)
    EXPECT_EQ(warp.warp().lanes<float>(warp.slot(n))[9], 8.0F);
}

} // namespace
} // namespace platen::ptxsim
