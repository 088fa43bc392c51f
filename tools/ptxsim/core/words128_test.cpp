// 128-bit registers: mov, ld, st and atom of .b128.
#include "tools/ptxsim/core/simulator_testing.h"

namespace platen::ptxsim {
namespace {

const std::string kRegisters = ".reg .b128 %q<8>;\nmul.wide.u32 %rd10, %r0, 16;\n"
                               "add.s64 %rd11, %rd0, %rd10;\nadd.s64 %rd12, %rd1, %rd10;\n";

std::vector<uint64_t> numbers(size_t count, uint64_t first) {
  std::vector<uint64_t> values(count);
  for (size_t n = 0; n < count; ++n)
    values[n] = (first + n) * 0x123456789ABCDEFu;
  return values;
}

TEST(Words128, LoadsMovesAndStores) {
  Bench b(kRegisters + "ld.global.b128 %q1, [%rd11];\nmov.b128 %q2, %q1;\n"
                       "mov.b128 {%rd20, %rd21}, %q2;\nadd.u64 %rd21, %rd21, 5;\n"
                       "mov.b128 %q3, {%rd21, %rd20};\nst.global.b128 [%rd12], %q3;\n");
  std::vector<uint64_t> values = numbers(64, 1);
  b.buffer<uint64_t>(0, 64, values);
  b.buffer<uint64_t>(1, 64);
  ASSERT_EQ(b.violation(), "");
  std::vector<uint64_t> got = b.read<uint64_t>(1, 64);
  for (size_t n = 0; n < 64; n += 2) {
    EXPECT_EQ(got[n], values[n + 1] + 5);
    EXPECT_EQ(got[n + 1], values[n]);
  }
}

TEST(Words128, AreAlignedTo16Bytes) {
  Bench b(kRegisters + "ld.global.b128 %q1, [%rd11+8];\n");
  b.buffer<uint64_t>(0, 66, numbers(66, 1));
  expectContains(b.violation(), "misaligned");
}

TEST(Words128, ExchangeAndCompareAndSwap) {
  // Even lanes find what they expect, the others differ in the high half only.
  Bench b(kRegisters +
          "ld.global.b128 %q1, [%rd11];\nmov.b128 {%rd20, %rd21}, %q1;\nand.b32 %r1, %r0, 1;\n"
          "cvt.u64.u32 %rd22, %r1;\nadd.u64 %rd21, %rd21, %rd22;\nmov.b128 %q2, {%rd20, %rd21};\n"
          "mov.b64 %rd23, 77;\nmov.b128 %q3, {%rd23, %rd22};\n"
          "atom.relaxed.gpu.global.cas.b128 %q4, [%rd11], %q2, %q3;\nst.global.b128 [%rd12], %q4;\n"
          "add.s64 %rd13, %rd2, %rd10;\natom.global.exch.b128 %q5, [%rd13], %q4;\n"
          "st.global.b128 [%rd12+512], %q5;\n");
  std::vector<uint64_t> values = numbers(64, 1), others = numbers(64, 100);
  b.buffer<uint64_t>(0, 64, values);
  b.buffer<uint64_t>(1, 128);
  b.buffer<uint64_t>(2, 64, others);
  ASSERT_EQ(b.violation(), "");
  std::vector<uint64_t> swapped = b.read<uint64_t>(0, 64), old = b.read<uint64_t>(1, 128);
  for (size_t l = 0; l < 32; ++l) {
    EXPECT_EQ(swapped[2 * l], l % 2 ? values[2 * l] : 77) << l;
    EXPECT_EQ(swapped[2 * l + 1], l % 2 ? values[2 * l + 1] : 0) << l;
  }
  EXPECT_TRUE(std::equal(values.begin(), values.end(), old.begin()));
  EXPECT_TRUE(std::equal(others.begin(), others.end(), old.begin() + 64));
  EXPECT_EQ(b.read<uint64_t>(2, 64), values);
}

TEST(Words128, SharedMemoryToo) {
  Bench b(kRegisters +
          ".shared .align 16 .b8 tile[512];\nmov.u32 %r2, tile;\nshl.b32 %r3, %r0, 4;\n"
          "add.u32 %r2, %r2, %r3;\nld.global.b128 %q1, [%rd11];\n"
          "st.shared.b128 [%r2], %q1;\nmov.b64 %rd20, 0;\nmov.b128 %q2, {%rd20, %rd20};\n"
          "atom.shared.exch.b128 %q3, [%r2], %q2;\nst.global.b128 [%rd12], %q3;\n");
  b.buffer<uint64_t>(0, 64, numbers(64, 1));
  b.buffer<uint64_t>(1, 64);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint64_t>(1, 64), numbers(64, 1));
}

} // namespace
} // namespace platen::ptxsim
