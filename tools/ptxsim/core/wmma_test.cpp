// wmma: load, multiply, store against a triple loop. Which lane holds what is nobody's business.
#include "tools/ptxsim/core/matrix_testing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

namespace platen::ptxsim {
namespace {

struct Case {
  uint32_t m = 16, n = 16, k = 16;
  std::string type = "f16", c = "f32", d = "f32";
  bool aColumns = false, bColumns = true, dColumns = false, shared = false, saturate = false;
};

uint32_t sizeOf(const std::string &type) {
  return type == "s8" || type == "u8" ? 1 : type == "f16" || type == "bf16" ? 2 : 4;
}
double halfValue(uint32_t bits) {
  int exponent = static_cast<int>(bits >> 10 & 31);
  double fraction = (bits & 1023) / 1024.0;
  double magnitude = exponent ? std::ldexp(1 + fraction, exponent - 15) : std::ldexp(fraction, -14);
  return bits & 0x8000 ? -magnitude : magnitude;
}
double valueOf(const std::string &type, uint32_t bits) {
  if (type == "f16")
    return halfValue(bits);
  if (type == "s8")
    return static_cast<int8_t>(bits);
  if (type == "u8")
    return bits & 0xFF;
  if (type == "s32")
    return static_cast<int32_t>(bits);
  return std::bit_cast<float>(type == "bf16"   ? bits << 16
                              : type == "tf32" ? bits & 0xFFFFE000
                                               : bits);
}

class Wmma : public testing::Test {
protected:
  std::mt19937 random_{11};

  uint32_t element(const std::string &type) {
    uint32_t x = random_();
    if (type == "f16")
      return 0x3000 + x % 0xC00 + (x >> 31 << 15); // 0.125 to 1
    if (type == "bf16")
      return (x & 0x80FF) | 0x3F00;
    if (type == "s32")
      return 0x7FFFFF00 + x % 128;
    return sizeOf(type) == 1 ? x & 0xFF
                             : std::bit_cast<uint32_t>(static_cast<float>(x % 2001) / 8 - 125);
  }
  /// A matrix in memory with `pad` elements behind each row (or column).
  std::vector<uint8_t> memoryOf(const std::vector<uint32_t> &values, uint32_t rows,
                                uint32_t columns, const std::string &type, bool byColumns,
                                uint32_t pad) {
    uint32_t size = sizeOf(type), line = (byColumns ? rows : columns) + pad;
    std::vector<uint8_t> bytes(size_t{line} * (byColumns ? columns : rows) * size, 0xEE);
    for (uint32_t row = 0; row < rows; ++row)
      for (uint32_t column = 0; column < columns; ++column)
        std::memcpy(&bytes[(byColumns ? column * line + row : row * line + column) * size],
                    &values[row * columns + column], size);
    return bytes;
  }
  void check(const Case &c);
};

uint32_t registersOf(const Case &c, char which) {
  if (which == 'c' || which == 'd')
    return (which == 'c' ? c.c : c.d) == "f16" ? 4 : 8;
  if (c.type == "f16")
    return 8;
  uint32_t lines = which == 'a' ? c.m : c.n;
  return lines * c.k * sizeOf(c.type) / 128;
}

void Wmma::check(const Case &c) {
  std::string shape =
      ".m" + std::to_string(c.m) + "n" + std::to_string(c.n) + "k" + std::to_string(c.k);
  auto order = [](bool columns) { return std::string(columns ? ".col" : ".row"); };
  auto stride = [](uint32_t rows, uint32_t columns, bool byColumns) {
    return std::to_string((byColumns ? rows : columns) + 8);
  };
  bool named = c.type != "f16";
  std::string space = c.shared ? ".shared" : ".global";
  auto vector = [&](char w) {
    return registerVector(std::string(1, w), static_cast<int>(registersOf(c, w)));
  };
  std::string text =
      std::string(kTestHeader) +
      ".visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d) {\n"
      ".reg .b64 %pa, %pb, %pc, %pd; .reg .b32 %a<8>, %b<8>, %c<8>, %d<8>, %t, %x, %y;\n"
      ".shared .align 16 .b8 s[2048];\n"
      "ld.param.u64 %pa, [a]; ld.param.u64 %pb, [b]; ld.param.u64 %pc, [c]; "
      "ld.param.u64 %pd, [d];\n";
  std::string a = "[%pa]";
  if (c.shared) { // A by way of shared memory: 24 rows or columns of 24 elements at most
    text += "mov.u32 %t, %tid.x; mul.lo.u32 %t, %t, 4; mov.u32 %y, s; add.u32 %y, %y, %t;\n"
            ".reg .b64 %w; .reg .pred %l; cvt.u64.u32 %w, %t; add.s64 %w, %w, %pa;\n"
            "LOOP: ld.global.u32 %x, [%w]; st.shared.u32 [%y], %x; add.s64 %w, %w, 128;\n"
            "add.u32 %y, %y, 128; add.u32 %t, %t, 128; setp.lt.u32 %l, %t, 768;\n@%l bra LOOP;\n"
            "bar.sync 0; mov.u32 %y, s;\n";
    a = "[%y]";
  }
  text += "wmma.load.a.sync.aligned" + order(c.aColumns) + shape + space + "." + c.type + " " +
          vector('a') + ", " + a + ", " + stride(c.m, c.k, c.aColumns) + ";\n";
  text += "wmma.load.b.sync.aligned" + order(c.bColumns) + shape + ".global." + c.type + " " +
          vector('b') + ", [%pb], " + stride(c.k, c.n, c.bColumns) + ";\n";
  text += "wmma.load.c.sync.aligned.row" + shape + "." + c.c + " " + vector('c') + ", [%pc], " +
          stride(c.m, c.n, false) + ";\n";
  text += "wmma.mma.sync.aligned" + order(c.aColumns) + order(c.bColumns) + shape + "." + c.d +
          (named ? "." + c.type + "." + c.type : "") + "." + c.c +
          (c.saturate ? ".satfinite " : " ") + vector('d') + ", " + vector('a') + ", " +
          vector('b') + ", " + vector('c') + ";\n";
  text += "wmma.store.d.sync.aligned" + order(c.dColumns) + shape + ".global." + c.d + " [%pd], " +
          vector('d') + ", " + stride(c.m, c.n, c.dColumns) + ";\nret;\n}\n";
  std::vector<uint32_t> A(c.m * c.k), B(c.k * c.n), C(c.m * c.n), zeros(c.m * c.n, 0);
  for (uint32_t &x : A)
    x = element(c.type);
  for (uint32_t &x : B)
    x = element(c.type);
  for (uint32_t &x : C)
    x = element(c.c);
  KernelRun run(text);
  uint64_t pa = run.upload(memoryOf(A, c.m, c.k, c.type, c.aColumns, 8));
  uint64_t pb = run.upload(memoryOf(B, c.k, c.n, c.type, c.bColumns, 8));
  uint64_t pc = run.upload(memoryOf(C, c.m, c.n, c.c, false, 8));
  std::vector<uint8_t> target = memoryOf(zeros, c.m, c.n, c.d, c.dColumns, 8);
  uint64_t pd = run.upload(target);
  run.runCleanly({1, 1, 1}, {32, 1, 1}, {pa, pb, pc, pd});
  for (uint32_t row = 0; row < c.m; ++row)
    for (uint32_t column = 0; column < c.n; ++column) {
      double sum = valueOf(c.c, C[row * c.n + column]);
      for (uint32_t i = 0; i < c.k; ++i)
        sum += valueOf(c.type, A[row * c.k + i]) * valueOf(c.type, B[i * c.n + column]);
      uint32_t &cell = zeros[row * c.n + column];
      if (c.d == "s32")
        cell = static_cast<uint32_t>(c.saturate ? static_cast<int64_t>(std::min(sum, 2147483647.0))
                                                : static_cast<int64_t>(sum));
      else
        cell = std::bit_cast<uint32_t>(static_cast<float>(sum));
    }
  auto got = run.download<uint8_t>(pd, target.size());
  if (c.d != "f16") { // what lies between the rows stays
    ASSERT_EQ(got, memoryOf(zeros, c.m, c.n, c.d, c.dColumns, 8)) << text;
    return;
  }
  uint32_t line = (c.dColumns ? c.m : c.n) + 8;
  for (uint32_t row = 0; row < c.m; ++row)
    for (uint32_t column = 0; column < c.n; ++column) {
      uint16_t bits;
      std::memcpy(&bits, &got[(c.dColumns ? column * line + row : row * line + column) * 2], 2);
      double expected = std::bit_cast<float>(zeros[row * c.n + column]);
      ASSERT_LE(std::fabs(halfValue(bits) - expected), std::fabs(expected) / 2048 + 1e-7);
    }
}

TEST_F(Wmma, ShapesAndLayouts) {
  for (auto [m, n] : {std::pair{16u, 16u}, {8u, 32u}, {32u, 8u}})
    for (bool aColumns : {false, true})
      for (bool bColumns : {false, true}) {
        check({.m = m, .n = n, .aColumns = aColumns, .bColumns = bColumns});
        check({.m = m,
               .n = n,
               .type = "bf16",
               .aColumns = aColumns,
               .bColumns = bColumns,
               .dColumns = true});
        check({.m = m,
               .n = n,
               .type = "s8",
               .c = "s32",
               .d = "s32",
               .aColumns = aColumns,
               .bColumns = bColumns});
      }
  check({.c = "f16", .d = "f16"});
  check({.c = "f16", .dColumns = true});
  check({.c = "f32", .d = "f16"});
  check({.k = 8, .type = "tf32"});
  check({.type = "u8", .c = "s32", .d = "s32", .saturate = true});
  check({.shared = true});
}

} // namespace
} // namespace platen::ptxsim
