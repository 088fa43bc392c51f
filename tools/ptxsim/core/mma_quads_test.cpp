// mma.m8n8k4 of f16 against four triple loops, with the fragments as the ISA lists them.
#include "tools/ptxsim/core/mma_testing.h"

#include <random>

namespace platen::ptxsim {
namespace {

uint32_t half(int value) { // small whole numbers
  if (value == 0)
    return 0;
  uint32_t sign = value < 0 ? 0x8000 : 0, magnitude = static_cast<uint32_t>(std::abs(value));
  auto exponent = static_cast<uint32_t>(31 - std::countl_zero(magnitude));
  return sign | (exponent + 15) << 10 | (magnitude - (1u << exponent)) << (10 - exponent);
}

struct Layout {
  const char *a, *b, *d, *c;
};

void check(const Layout &layout) {
  SCOPED_TRACE(std::string(layout.a) + "." + layout.b + "." + layout.d + "." + layout.c);
  bool singleD = std::string(layout.d) == "f32", singleC = std::string(layout.c) == "f32";
  int d = singleD ? 8 : 4, c = singleC ? 8 : 4;
  OneWarp warp(".reg .b32 %d<8>;\n.reg .b32 %a<2>;\n.reg .b32 %b<2>;\n.reg .b32 %c<8>;\n"
               "mma.sync.aligned.m8n8k4." +
               std::string(layout.a) + "." + layout.b + "." + layout.d + ".f16.f16." + layout.c +
               " " + registersOf('d', d) + ", " + registersOf('a', 2) + ", " + registersOf('b', 2) +
               ", " + registersOf('c', c) + ";");
  ASSERT_TRUE(warp.refusals().empty()) << warp.refusals()[0].toString();
  std::mt19937 random(3);
  auto number = [&] { return static_cast<int>(random() % 15) - 7; };
  int a[4][8][4], b[4][4][8], sum[4][8][8];
  for (int lane = 0; lane < 32; ++lane) {
    int q = lane / 4 % 4, t = lane % 4;
    bool upper = lane >= 16;
    auto put = [&](int at, int i, int value) {
      uint32_t &word =
          warp.warp().lanes<uint32_t>(warp.slot(static_cast<size_t>(at + i / 2)))[lane];
      word = i % 2 ? (word & 0xFFFF) | half(value) << 16 : half(value);
    };
    for (int i = 0; i < 4; ++i) {
      int x = number(), y = number();
      put(d, i, x);
      put(d + 2, i, y);
      if (std::string(layout.a) == "row")
        a[q][upper ? t + 4 : t][i] = x;
      else
        a[q][upper ? i + 4 : i][t] = x;
      if (std::string(layout.b) == "row")
        b[q][t][upper ? i + 4 : i] = y;
      else
        b[q][i][upper ? t + 4 : t] = y;
    }
    for (int i = 0; i < 8; ++i) {
      int z = number();
      int x = (lane & 1) + (i & 2), row = singleC ? (upper ? x + 4 : x) : (upper ? t + 4 : t);
      sum[q][row][singleC ? (i & 4) + (lane & 2) + (i & 1) : i] = z;
      if (singleC)
        warp.warp().lanes<float>(warp.slot(static_cast<size_t>(d + 4 + i)))[lane] =
            static_cast<float>(z);
      else
        put(d + 4, i, z);
    }
  }
  warp.run();
  for (int q = 0; q < 4; ++q)
    for (int m = 0; m < 8; ++m)
      for (int n = 0; n < 8; ++n)
        for (int k = 0; k < 4; ++k)
          sum[q][m][n] += a[q][m][k] * b[q][k][n];
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 8; ++i) {
      int t = lane % 4, x = (lane & 1) + (i & 2);
      bool upper = lane >= 16;
      int row = singleD ? (upper ? x + 4 : x) : (upper ? t + 4 : t);
      int expected = sum[lane / 4 % 4][row][singleD ? (i & 4) + (lane & 2) + (i & 1) : i];
      if (singleD)
        ASSERT_EQ(warp.warp().lanes<float>(warp.slot(static_cast<size_t>(i)))[lane], expected);
      else
        ASSERT_EQ(warp.warp().lanes<uint32_t>(warp.slot(static_cast<size_t>(i / 2)))[lane] >>
                          i % 2 * 16 &
                      0xFFFF,
                  half(expected))
            << lane << " " << i;
    }
}

TEST(MmaQuads, AllLayoutsAndTypes) {
  for (const char *a : {"row", "col"})
    for (const char *b : {"row", "col"}) {
      check({a, b, "f32", "f32"});
      check({a, b, "f16", "f16"});
      check({a, b, "f32", "f16"});
    }
}

} // namespace
} // namespace platen::ptxsim
