// mma.sync against its definition: a triple loop over matrices that are put together from the
// fragments by the formulas of the PTX ISA, written here once more, shape by shape.
#include "tools/ptxsim/core/mma_testing.h"

#include <cfenv>
#include <functional>
#include <random>

namespace platen::ptxsim {
namespace {

struct Place2 {
  int row, column;
};

/// Row and column of element i of a lane's fragment of A (columns are k).
Place2 placeOfA(int m, int k, int bits, int lane, int i) {
  int g = lane >> 2, t = lane % 4;
  if (m == 8)
    return {g, bits == 64 ? t : bits == 8 ? t * 4 + i : bits == 4 ? t * 8 + i : t * 32 + i};
  if (k == 4)
    return {i == 0 ? g : g + 8, t};
  if (k == 8 && bits == 16)
    return {i < 2 ? g : g + 8, t * 2 + (i & 1)};
  if (k == 8)
    return {i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
  if (k == 16 && bits == 16)
    return {i < 2 || (4 <= i && i < 6) ? g : g + 8, t * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
  if (k == 16 && bits == 64)
    return {i % 2 == 0 ? g : g + 8, i % 2 == 0 ? i * 2 + t : i * 2 - 2 + t};
  if (k == 16)
    return {i < 4 ? g : g + 8, t * 4 + (i & 3)};
  if (k == 32 && bits == 4)
    return {i < 8 ? g : g + 8, t * 8 + (i & 7)};
  if (k == 32)
    return {i < 4 || (8 <= i && i < 12) ? g : g + 8, t * 4 + (i & 3) + (i >= 8 ? 16 : 0)};
  if (k == 64)
    return {i < 8 || (16 <= i && i < 24) ? g : g + 8, t * 8 + (i & 7) + (i >= 16 ? 32 : 0)};
  if (k == 128)
    return {i < 32 ? g : g + 8, t * 32 + (i & 31)};
  return {i < 32 || (64 <= i && i < 96) ? g : g + 8, t * 32 + (i & 31) + (i >= 64 ? 128 : 0)};
}

/// Row (k) and column (n) of element i of a lane's fragment of B.
Place2 placeOfB(int k, int bits, int lane, int i) {
  int g = lane >> 2, t = lane % 4;
  switch (bits) {
  case 64:
  case 32:
    return {t + 4 * i, g};
  case 16:
    return {t * 2 + (i & 1) + (k == 16 && i >= 2 ? 8 : 0), g};
  case 8:
    return {t * 4 + (i & 3) + (i >= 4 ? 16 : 0), g};
  case 4:
    return {t * 8 + (i & 7) + (i >= 8 ? 32 : 0), g};
  default:
    return {t * 32 + (i & 31) + (i >= 32 ? 128 : 0), g};
  }
}

Place2 placeOfC(int m, int lane, int i) {
  return {(lane >> 2) + (m == 16 && i >= 2 ? 8 : 0), (lane % 4) * 2 + (i & 1)};
}

struct Case {
  int m, k;
  std::string d, a, b;
  std::string kind = "", suffix = "", scale = ""; // kind: before the types; suffix: behind them
  int scales = 0;
  std::string name() const {
    std::string text = "mma.sync.aligned.m" + std::to_string(m) + "n8k" + std::to_string(k) +
                       ".row.col" + kind + "." + d + "." + type(a) + "." + type(b) + "." + d;
    return text + (scale.empty() ? "" : "." + scale) + suffix;
  }
  static std::string type(const std::string &t) { return t == "e2m1x2" ? "e2m1" : t; }
};

class Mma : public testing::Test {
protected:
  std::mt19937_64 random_{7};

  void fill(OneWarp &warp, size_t first, size_t count, const std::string &type, int mode) {
    for (size_t r = 0; r < count; ++r)
      for (int lane = 0; lane < 32; ++lane) {
        uint64_t bits = random_();
        if (mode == 0 && type == "f32") // of the products' size
          bits = std::bit_cast<uint32_t>(static_cast<float>(random_() % 2048) - 1024.0f);
        if (mode == 0 && type == "f64")
          bits = std::bit_cast<uint64_t>(static_cast<double>(random_() % 65536) / 7 - 4000);
        if (mode == 0 && type == "tf32")
          bits = std::bit_cast<uint32_t>(static_cast<float>(random_() % 65536) / 9 - 4000);
        if (mode == 0 && (type == "f16" || type == "bf16" || type == "e5m2")) {
          // No exponent of all ones: clear one of its bits.
          bits &= type == "f16"    ? 0xBFFFBFFFBFFFBFFF
                  : type == "bf16" ? 0xBFFFBFFFBFFFBFFF
                                   : 0xBFBFBFBFBFBFBFBF;
        }
        if (mode == 0 && type == "e4m3")
          bits &= 0xBFBFBFBFBFBFBFBF;
        if (mode == 1 && type == "s32") // near the ends of the range
          bits = (bits & 1 ? 0x7FFFFFFF : 0x80000000u) + (bits >> 1) % 64 - 32;
        if (type == "f64")
          warp.warp().lanes<uint64_t>(warp.slot(first + r))[lane] = bits;
        else
          warp.warp().lanes<uint32_t>(warp.slot(first + r))[lane] = static_cast<uint32_t>(bits);
      }
  }

  void check(const Case &c);
  void compare(OneWarp &warp, const Case &c, int mode, const std::vector<double> &a,
               const std::vector<double> &b, const std::vector<uint64_t> &cBits, size_t dAt);
  std::vector<double> scalesOf(OneWarp &warp, const Case &c, size_t at, bool isA);
};

/// scale[row or column][block], by the text of "Block Scaling for mma.sync".
std::vector<double> Mma::scalesOf(OneWarp &warp, const Case &c, size_t at, bool isA) {
  const uint32_t *data = warp.warp().lanes<uint32_t>(warp.slot(at));
  uint32_t byteId = warp.warp().lanes<uint32_t>(warp.slot(at + 1))[0];
  uint32_t threadId = warp.warp().lanes<uint32_t>(warp.slot(at + 2))[0];
  std::vector<double> scales;
  for (int line = 0; line < (isA ? 16 : 8); ++line) {
    int quad = line % 8;
    int lane = isA ? quad * 4 + static_cast<int>(threadId) * 2 + line / 8
                   : quad * 4 + static_cast<int>(threadId);
    for (int block = 0; block < c.scales; ++block)
      scales.push_back(
          valueOf(c.scale, data[lane] >> 8 * (byteId + static_cast<uint32_t>(block)) & 0xFF));
  }
  return scales;
}

double fmaSum(const Case &c, double sum, double a, double b) {
  return c.a == "f64" ? std::fma(a, b, sum) : sum + a * b;
}

uint32_t toHalf(double value) { // nearest even, by search among the neighbours
  if (value != value)
    return 0x7FFF;
  uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  double magnitude = std::fabs(value);
  if (magnitude >= 65520)
    return sign | 0x7C00;
  uint32_t low = 0, high = 0x7BFF; // the largest half that is not above
  while (low < high) {
    uint32_t middle = (low + high + 1) / 2;
    if (minifloat(middle, 5, 10, true, false) <= magnitude)
      low = middle;
    else
      high = middle - 1;
  }
  double below = minifloat(low, 5, 10, true, false);
  double above = low == 0x7BFF ? 65536 : minifloat(low + 1, 5, 10, true, false);
  bool up = magnitude - below > above - magnitude ||
            (magnitude - below == above - magnitude && (low & 1));
  return sign | (low + (up ? 1 : 0));
}

void Mma::compare(OneWarp &warp, const Case &c, int mode, const std::vector<double> &a,
                  const std::vector<double> &b, const std::vector<uint64_t> &cBits, size_t dAt) {
  bool integers = c.d == "s32", saturate = c.kind == ".satfinite";
  Fragment d{&warp, dAt, widthOf(c.d)};
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < c.m / 4; ++i) {
      auto [row, column] = placeOfC(c.m, lane, i);
      uint64_t expected = 0, start = cBits[static_cast<size_t>(row * 8 + column)];
      if (integers) {
        int64_t sum = static_cast<int32_t>(start);
        for (int n = 0; n < c.k; ++n) {
          auto x = static_cast<int64_t>(a[static_cast<size_t>(row * c.k + n)]);
          auto y = static_cast<int64_t>(b[static_cast<size_t>(n * 8 + column)]);
          sum += c.suffix == ".xor.popc" ? x ^ y : c.suffix == ".and.popc" ? x & y : x * y;
        }
        if (saturate)
          sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
        expected = static_cast<uint32_t>(sum);
      } else {
        double sum = valueOf(c.d, start);
        for (int n = 0; n < c.k; ++n)
          sum = fmaSum(c, sum, a[static_cast<size_t>(row * c.k + n)],
                       b[static_cast<size_t>(n * 8 + column)]);
        float single = static_cast<float>(sum);
        expected = c.d == "f64"       ? std::bit_cast<uint64_t>(sum)
                   : c.d == "f16"     ? toHalf(sum)
                   : single != single ? 0x7FFFFFFFu
                                      : std::bit_cast<uint32_t>(single);
        if (c.d == "f64" && sum != sum && std::isnan(std::bit_cast<double>(d.get(lane, i))))
          continue;
      }
      ASSERT_EQ(d.get(lane, i), expected)
          << c.name() << " mode " << mode << " lane " << lane << " element " << i;
    }
}

void Mma::check(const Case &c) {
  int wordBits = c.a == "f64" ? 64 : 32, bits = widthOf(c.a), dBits = widthOf(c.d);
  int aCount = c.m * c.k * bits / 32 / wordBits, bCount = 8 * c.k * bits / 32 / wordBits;
  int cCount = c.m * 8 * (dBits == 64 ? 32 : dBits) / 32 / 32;
  std::string type = wordBits == 64 ? ".b64" : ".b32", body;
  for (auto [name, count] : {std::pair{'a', aCount}, {'b', bCount}, {'c', cCount}, {'d', cCount}})
    body += ".reg " + type + " %" + name + "<" + std::to_string(count) + ">;\n";
  body += ".reg .b32 %s<2>; .reg .b16 %t<4>;\n" + c.name() + " " + registersOf('d', cCount) + ", " +
          registersOf('a', aCount) + ", " + registersOf('b', bCount) + ", " +
          registersOf('c', cCount) +
          (c.scale.empty() ? ";" : ", %s0, {%t0, %t1}, %s1, {%t2, %t3};");
  for (int mode = 0; mode < 2; ++mode) {
    OneWarp warp(body);
    ASSERT_TRUE(warp.refusals().empty()) << c.name() << ": " << warp.refusals()[0].toString();
    size_t dAt = 0, aAt = static_cast<size_t>(cCount), bAt = aAt + static_cast<size_t>(aCount);
    size_t cAt = bAt + static_cast<size_t>(bCount), sAt = cAt + static_cast<size_t>(cCount);
    fill(warp, aAt, static_cast<size_t>(aCount), c.a, mode);
    fill(warp, bAt, static_cast<size_t>(bCount), c.b, mode);
    fill(warp, cAt, static_cast<size_t>(cCount), c.d, mode);
    if (!c.scale.empty()) {
      fill(warp, sAt, 1, "", 1);
      fill(warp, sAt + 3, 1, "", 1);
      uint32_t step = c.scales == 1 ? 1 : 2, choices = c.scales == 1 ? 4 : c.scales == 2 ? 2 : 1;
      uint32_t ids[] = {
          static_cast<uint32_t>(random_()) % choices * step, static_cast<uint32_t>(random_()) % 2,
          static_cast<uint32_t>(random_()) % choices * step, static_cast<uint32_t>(random_()) % 4};
      for (size_t n = 0; n < 4; ++n)
        for (int lane = 0; lane < 32; ++lane)
          warp.warp().lanes<uint32_t>(warp.slot(sAt + 1 + n + n / 2))[lane] = ids[n];
    }
    std::vector<double> a(static_cast<size_t>(c.m * c.k)), b(static_cast<size_t>(c.k * 8));
    std::vector<uint64_t> cBits(static_cast<size_t>(c.m * 8));
    Fragment fa{&warp, aAt, bits}, fb{&warp, bAt, bits}, fc{&warp, cAt, dBits};
    std::vector<double> sa(16, 1), sb(8, 1);
    int scales = std::max(c.scales, 1);
    if (!c.scale.empty()) {
      sa = scalesOf(warp, c, sAt, true);
      sb = scalesOf(warp, c, sAt + 3, false);
    }
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < c.m * c.k / 32; ++i) {
        auto [row, column] = placeOfA(c.m, c.k, bits, lane, i);
        a[static_cast<size_t>(row * c.k + column)] =
            valueOf(c.a, fa.get(lane, i)) *
            sa[static_cast<size_t>(row * scales + column / (c.k / scales))];
      }
      for (int i = 0; i < 8 * c.k / 32; ++i) {
        auto [row, column] = placeOfB(c.k, bits, lane, i);
        b[static_cast<size_t>(row * 8 + column)] =
            valueOf(c.b, fb.get(lane, i)) *
            sb[static_cast<size_t>(column * scales + row / (c.k / scales))];
      }
      for (int i = 0; i < c.m / 4; ++i) {
        auto [row, column] = placeOfC(c.m, lane, i);
        cBits[static_cast<size_t>(row * 8 + column)] = fc.get(lane, i);
      }
    }
    warp.run();
    compare(warp, c, mode, a, b, cBits, dAt);
  }
}

TEST_F(Mma, HalfAndTf32) {
  for (const char *d : {"f16", "f32"})
    for (int k : {8, 16})
      check({16, k, d, "f16", "f16"});
  for (int k : {8, 16})
    check({16, k, "f32", "bf16", "bf16"});
  for (int k : {4, 8})
    check({16, k, "f32", "tf32", "tf32"});
}

TEST_F(Mma, Doubles) {
  check({8, 4, "f64", "f64", "f64"});
  for (int k : {4, 8, 16})
    check({16, k, "f64", "f64", "f64"});
}

TEST_F(Mma, NarrowFloats) {
  for (const char *a : {"e4m3", "e5m2"})
    for (const char *b : {"e4m3", "e5m2"})
      for (const char *d : {"f16", "f32"})
        for (int k : {16, 32})
          check({16, k, d, a, b});
  for (const char *a : {"e4m3", "e5m2", "e3m2", "e2m3", "e2m1"})
    for (const char *b : {"e4m3", "e5m2", "e3m2", "e2m3", "e2m1"}) {
      check({16, 32, "f32", a, b, ".kind::f8f6f4"});
      check({16, 32, "f16", a, b, ".kind::f8f6f4"});
    }
}

TEST_F(Mma, BlockScales) {
  for (int repeat = 0; repeat < 8; ++repeat) { // selectors are random
    for (const char *a : {"e4m3", "e5m2", "e3m2", "e2m3", "e2m1"})
      check({16, 32, "f32", a, "e3m2", ".kind::mxf8f6f4.block_scale", "", "ue8m0", 1});
    check({16, 32, "f32", "e4m3", "e2m1", ".kind::mxf8f6f4.block_scale.scale_vec::1X", "", "ue8m0",
           1});
    check({16, 64, "f32", "e2m1x2", "e2m1x2", ".kind::mxf4.block_scale", "", "ue8m0", 2});
    check({16, 64, "f32", "e2m1x2", "e2m1x2", ".kind::mxf4nvf4.block_scale.scale_vec::2X", "",
           "ue8m0", 2});
    check({16, 64, "f32", "e2m1x2", "e2m1x2", ".kind::mxf4nvf4.block_scale.scale_vec::4X", "",
           "ue4m3", 4});
    check({16, 64, "f32", "e2m1x2", "e2m1x2", ".kind::mxf4nvf4.block_scale.scale_vec::4X", "",
           "ue8m0", 4});
  }
}

TEST_F(Mma, Integers) {
  for (const char *kind : {"", ".satfinite"}) {
    for (const char *a : {"s8", "u8"})
      for (const char *b : {"s8", "u8"}) {
        check({8, 16, "s32", a, b, kind});
        check({16, 16, "s32", a, b, kind});
        check({16, 32, "s32", a, b, kind});
      }
    for (const char *a : {"s4", "u4"})
      for (const char *b : {"s4", "u4"}) {
        check({8, 32, "s32", a, b, kind});
        check({16, 32, "s32", a, b, kind});
        check({16, 64, "s32", a, b, kind});
      }
  }
  for (const char *operation : {".xor.popc", ".and.popc"}) {
    check({8, 128, "s32", "b1", "b1", "", operation});
    check({16, 128, "s32", "b1", "b1", "", operation});
    check({16, 256, "s32", "b1", "b1", "", operation});
  }
}

TEST_F(Mma, RoundsDoublesAsAsked) {
  OneWarp warp(
      ".reg .f64 %d<2>, %a, %b, %c<2>;\n"
      "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64.rp {%d0, %d1}, {%a}, {%b}, {%c0, %c1};");
  ASSERT_TRUE(warp.refusals().empty());
  for (size_t n = 2; n < 6; ++n)
    for (int lane = 0; lane < 32; ++lane)
      warp.warp().lanes<double>(warp.slot(n))[lane] = n < 4 ? 1e-30 : 1;
  warp.run();
  double expected = 1;
  for (int k = 0; k < 4; ++k)
    expected = std::nextafter(expected, 2);
  EXPECT_EQ(warp.warp().lanes<double>(warp.slot(0))[5], expected);
}

TEST_F(Mma, RefusesByName) {
  auto refusal = [](const std::string &opcode, int a, int b, int c) {
    OneWarp warp(".reg .b32 %r<16>;\n" + opcode + " " + registersOf('r', c) + ", " +
                 registersOf('r', a) + ", " + registersOf('r', b) + ", " + registersOf('r', c) +
                 ";");
    return warp.refusals().empty() ? std::string() : warp.refusals()[0].why;
  };
  EXPECT_NE(refusal("mma.sync.aligned.m8n8k4.row.col.f16.f16.f16.f32", 2, 2, 4), "");
  EXPECT_NE(refusal("mma.sync.aligned.m8n8k4.row.col.f32.bf16.bf16.f32", 2, 2, 8), "");
  EXPECT_EQ(refusal("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32", 2, 2, 8), "");
  EXPECT_NE(refusal("mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16", 4, 2, 2), "");
  EXPECT_NE(refusal("mma.sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32", 4, 2, 4), "");
  EXPECT_NE(refusal("mma.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32", 8, 4, 4), "");
  EXPECT_NE(refusal("mma.sync.aligned.m16n8k32.row.col.f32.e2m1.e4m3.f32", 4, 2, 4), "");
  EXPECT_NE(refusal("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 3, 2, 4), "");
  EXPECT_NE(refusal("mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.f32.e4m3.e4m3.f32", 4, 2, 4),
            "");
  EXPECT_NE(refusal("mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32", 4, 4, 4), "");
  EXPECT_NE(refusal("mma.sp.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32", 4, 4, 4), "");
  EXPECT_EQ(refusal("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 4, 2, 4), "");
}

TEST_F(Mma, ARoundingModeEndsWithAViolation) {
  OneWarp warp(".reg .f64 %d<2>;\nmma.sync.aligned.m8n8k4.row.col.rz.f64.f64.f64.f64 "
               "{%d0, %d1}, {%d0}, {%d0}, {%d0, %d1};");
  ASSERT_TRUE(warp.refusals().empty()) << warp.refusals()[0].toString();
  warp.warp().live = 0xFFFF;
  EXPECT_THROW(warp.run(0xFFFF), Stop);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

TEST_F(Mma, NeedsTheWholeWarpAndLegalSelectors) {
  OneWarp warp(".reg .b32 %r<4>;\nmma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 "
               "{%r0, %r1, %r2, %r3}, {%r0, %r1}, {%r0}, {%r0, %r1, %r2, %r3};");
  warp.warp().live = 0xFFFF;
  EXPECT_THROW(warp.run(0xFFFF), Stop);
  OneWarp scaled(".reg .b32 %r<8>;\nmma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale"
                 ".f32.e4m3.e4m3.f32.ue8m0 {%r0, %r1, %r2, %r3}, {%r0, %r1, %r2, %r3}, {%r0, %r1}, "
                 "{%r0, %r1, %r2, %r3}, %r4, {0, 2}, %r5, {0, 0};");
  ASSERT_TRUE(scaled.refusals().empty());
  EXPECT_THROW(scaled.run(), Stop); // thread-id-a is 0 or 1
}

} // namespace
} // namespace platen::ptxsim
