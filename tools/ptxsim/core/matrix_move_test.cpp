// ldmatrix, stmatrix and movmatrix by sentinel: every element of the matrices is another number, so
// that the place where each one lands is seen.
#include "tools/ptxsim/core/matrix_testing.h"

namespace platen::ptxsim {
namespace {

/// Copies 1024 bytes of `in` to shared memory, loads matrices, writes `count` registers of each
/// lane. Lane t gives the address of the 16 bytes number t ^ 5.
std::string loader(const std::string &opcode, int count) {
  std::string text = std::string(kTestHeader) +
                     ".visible .entry k(.param .u64 in, .param .u64 out) {\n"
                     ".reg .b64 %i, %o, %p; .reg .b32 %t, %a, %x, %r<4>;\n"
                     ".shared .align 16 .b8 s[1024];\n"
                     "ld.param.u64 %i, [in]; ld.param.u64 %o, [out]; mov.u32 %t, %tid.x;\n"
                     "mul.wide.u32 %p, %t, 32; add.s64 %p, %p, %i;\n"
                     "mov.u32 %a, s; mad.lo.u32 %x, %t, 32, %a;\n"
                     "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%p];\n"
                     "st.shared.v4.u32 [%x], {%r0, %r1, %r2, %r3};\n"
                     "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%p+16];\n"
                     "st.shared.v4.u32 [%x+16], {%r0, %r1, %r2, %r3};\n"
                     "bar.sync 0;\nxor.b32 %x, %t, 5; mad.lo.u32 %x, %x, 16, %a;\n" +
                     opcode + " " + registerVector("r", count) +
                     ", [%x];\n"
                     "mul.wide.u32 %p, %t, 16; add.s64 %p, %p, %o;\n";
  for (int i = 0; i < count; ++i)
    text += "st.global.u32 [%p+" + std::to_string(4 * i) + "], %r" + std::to_string(i) + ";\n";
  return text + "ret;\n}\n";
}

std::vector<uint32_t> load(const std::string &opcode, int count,
                           const std::vector<uint8_t> &shared) {
  KernelRun kernel(loader(opcode, count));
  uint64_t in = kernel.upload(shared), out = kernel.upload(std::vector<uint32_t>(128, 0));
  kernel.runCleanly({1, 1, 1}, {32, 1, 1}, {in, out});
  return kernel.download<uint32_t>(out, 128);
}

/// Byte i of row r (16 bytes each) is unique in 8 bits for 16 rows; two bytes are unique for all.
std::vector<uint8_t> sentinels() {
  std::vector<uint8_t> bytes(1024);
  for (size_t i = 0; i < 1024; i += 2) {
    bytes[i] = static_cast<uint8_t>(i / 2);
    bytes[i + 1] = static_cast<uint8_t>(i / 2 >> 8 | 0x40 | (i & 0x3E) << 1);
  }
  return bytes;
}

uint32_t rowAddress(uint32_t lane) { return (lane ^ 5) * 16; }

TEST(Ldmatrix, Halves) {
  std::vector<uint8_t> shared = sentinels();
  auto half = [&](uint32_t matrix, uint32_t row, uint32_t column) {
    uint32_t at = rowAddress(8 * matrix + row) + 2 * column;
    return shared[at] | uint32_t{shared[at + 1]} << 8;
  };
  for (uint32_t count : {1, 2, 4})
    for (bool transposed : {false, true}) {
      auto result = load("ldmatrix.sync.aligned.m8n8.x" + std::to_string(count) +
                             (transposed ? ".trans" : "") + ".shared.b16",
                         static_cast<int>(count), shared);
      for (uint32_t lane = 0; lane < 32; ++lane)
        for (uint32_t m = 0; m < count; ++m) {
          uint32_t a = lane / 4, b = lane % 4 * 2; // thread t: row t/4, columns 2(t%4) and + 1
          uint32_t expected = transposed ? half(m, b, a) | half(m, b + 1, a) << 16
                                         : half(m, a, b) | half(m, a, b + 1) << 16;
          ASSERT_EQ(result[lane * 4 + m], expected) << "lane " << lane << " matrix " << m;
        }
    }
}

TEST(Ldmatrix, GenericAddressesToo) {
  std::string text = loader("ldmatrix.sync.aligned.m8n8.x1.b16", 1);
  size_t at = text.find(", [%x];\nmul.wide");
  text.replace(at, 6, ", [%p]");
  text.insert(text.find("ldmatrix"), "cvt.u64.u32 %p, %x; cvta.shared.u64 %p, %p;\n");
  KernelRun kernel(text);
  std::vector<uint8_t> shared = sentinels();
  uint64_t in = kernel.upload(shared), out = kernel.upload(std::vector<uint32_t>(128, 0));
  kernel.runCleanly({1, 1, 1}, {32, 1, 1}, {in, out});
  uint32_t word;
  std::memcpy(&word, &shared[rowAddress(3) + 8], 4);
  EXPECT_EQ(kernel.download<uint32_t>(out, 128)[14 * 4], word);
}

TEST(Ldmatrix, TransposedBytes) {
  std::vector<uint8_t> shared = sentinels();
  for (uint32_t count : {1, 2}) {
    auto result =
        load("ldmatrix.sync.aligned.m16n16.x" + std::to_string(count) + ".trans.shared.b8",
             static_cast<int>(2 * count), shared);
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t r = 0; r < 2 * count; ++r)
        for (uint32_t byte = 0; byte < 4; ++byte) {
          // Four rows of one column: column t/4, then (second register) t/4 + 8.
          uint32_t row = 16 * (r / 2) + 4 * (lane % 4) + byte, column = lane / 4 + r % 2 * 8;
          ASSERT_EQ(result[lane * 4 + r] >> 8 * byte & 0xFF, shared[rowAddress(row) + column])
              << "lane " << lane << " register " << r << " byte " << byte;
        }
  }
}

TEST(Ldmatrix, UnpacksSixAndFourBits) {
  std::vector<uint8_t> shared(1024, 0);
  auto put = [&](uint32_t row, uint32_t i, uint32_t bits, uint32_t value) {
    for (uint32_t b = 0; b < bits; ++b) // bit by bit
      if (value >> b & 1)
        shared[rowAddress(row) + (i * bits + b) / 8] |=
            static_cast<uint8_t>(1u << (i * bits + b) % 8);
  };
  for (uint32_t bits : {6, 4}) {
    std::fill(shared.begin(), shared.end(), 0);
    auto value = [&](uint32_t row, uint32_t i) {
      return (row * 7 + i * 5 + 3) & ((1u << bits) - 1);
    };
    for (uint32_t row = 0; row < 32; ++row)
      for (uint32_t i = 0; i < 16; ++i)
        put(row, i, bits, value(row, i));
    std::string format = bits == 6 ? ".b8x16.b6x16_p32" : ".b8x16.b4x16_p64";
    auto plain = load("ldmatrix.sync.aligned.m8n16.x4.shared" + format, 4, shared);
    auto turned = load("ldmatrix.sync.aligned.m16n16.x2.trans.shared" + format, 4, shared);
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t r = 0; r < 4; ++r)
        for (uint32_t byte = 0; byte < 4; ++byte) {
          ASSERT_EQ(plain[lane * 4 + r] >> 8 * byte & 0xFF,
                    value(8 * r + lane / 4, 4 * (lane % 4) + byte));
          ASSERT_EQ(turned[lane * 4 + r] >> 8 * byte & 0xFF,
                    value(16 * (r / 2) + 4 * (lane % 4) + byte, lane / 4 + r % 2 * 8));
        }
  }
}

TEST(Ldmatrix, ReportsMisalignedRows) {
  std::string text = loader("ldmatrix.sync.aligned.m8n8.x1.shared.b16", 1);
  text.insert(text.find("ldmatrix"), "add.u32 %x, %x, 8;\n");
  KernelRun kernel(text);
  uint64_t in = kernel.upload(sentinels()), out = kernel.upload(std::vector<uint32_t>(128, 0));
  Report report = kernel.run({1, 1, 1}, {32, 1, 1}, {in, out});
  ASSERT_TRUE(report.violation.has_value());
  EXPECT_EQ(report.violation->kind, ViolationKind::kMisaligned);
}

/// Stores matrices from registers, then copies the first `rows` rows of 16 bytes out.
std::vector<uint8_t> store(const std::string &opcode, int count,
                           const std::vector<uint32_t> &words) {
  std::string text = std::string(kTestHeader) +
                     ".visible .entry k(.param .u64 in, .param .u64 out) {\n"
                     ".reg .b64 %i, %o, %p; .reg .b32 %t, %a, %x, %r<4>; .reg .pred %q;\n"
                     ".shared .align 16 .b8 s[1024];\n"
                     "ld.param.u64 %i, [in]; ld.param.u64 %o, [out]; mov.u32 %t, %tid.x;\n"
                     "mul.wide.u32 %p, %t, 16; add.s64 %p, %p, %i; mov.u32 %a, s;\n"
                     "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%p];\n"
                     "xor.b32 %x, %t, 5; mad.lo.u32 %x, %x, 16, %a;\n" +
                     opcode + " [%x], " + registerVector("r", count) +
                     ";\nbar.sync 0;\nsetp.ge.u32 %q, %t, " + std::to_string(8 * count) +
                     ";\n@%q ret;\nld.shared.v4.u32 {%r0, %r1, %r2, %r3}, [%x];\n"
                     "mul.wide.u32 %p, %t, 16; add.s64 %p, %p, %o;\n"
                     "st.global.v4.u32 [%p], {%r0, %r1, %r2, %r3};\nret;\n}\n";
  KernelRun kernel(text);
  uint64_t in = kernel.upload(words), out = kernel.upload(std::vector<uint8_t>(512, 0));
  kernel.runCleanly({1, 1, 1}, {32, 1, 1}, {in, out});
  return kernel.download<uint8_t>(out, 512);
}

TEST(Stmatrix, HalvesAndBytes) {
  std::vector<uint32_t> words(128);
  for (uint32_t i = 0; i < 128; ++i)
    words[i] = (2 * i + 1) | (2 * i + 2) << 16;
  auto half = [&](uint32_t lane, uint32_t r, uint32_t which) {
    return words[lane * 4 + r] >> 16 * which & 0xFFFF;
  };
  for (uint32_t count : {1, 2, 4})
    for (bool transposed : {false, true}) {
      auto rows = store("stmatrix.sync.aligned.m8n8.x" + std::to_string(count) +
                            (transposed ? ".trans" : "") + ".shared.b16",
                        static_cast<int>(count), words);
      for (uint32_t m = 0; m < count; ++m)
        for (uint32_t row = 0; row < 8; ++row)
          for (uint32_t column = 0; column < 8; ++column) {
            uint32_t a = transposed ? column : row, b = transposed ? row : column;
            uint32_t at = (8 * m + row) * 16 + 2 * column;
            ASSERT_EQ(rows[at] | uint32_t{rows[at + 1]} << 8, half(a * 4 + b / 2, m, b % 2));
          }
    }
  for (uint32_t i = 0; i < 128; ++i)
    words[i] = i | i << 8 | 0x80 << 8 | (i ^ 0x55) << 16 | (i ^ 0xAA) << 24;
  auto rows = store("stmatrix.sync.aligned.m16n8.x4.trans.shared.b8", 4, words);
  for (uint32_t m = 0; m < 4; ++m)
    for (uint32_t row = 0; row < 16; ++row) // of the 16 x 8 matrix, stored by columns of 16 bytes
      for (uint32_t column = 0; column < 8; ++column) {
        uint32_t lane = row % 8 * 4 + column / 2, byte = row / 8 * 2 + column % 2;
        ASSERT_EQ(rows[(8 * m + column) * 16 + row], words[lane * 4 + m] >> 8 * byte & 0xFF);
      }
}

TEST(Movmatrix, Transposes) {
  KernelRun kernel(std::string(kTestHeader) +
                   ".visible .entry k(.param .u64 in, .param .u64 out) {\n"
                   ".reg .b64 %i, %o, %p; .reg .b32 %t, %r;\n"
                   "ld.param.u64 %i, [in]; ld.param.u64 %o, [out]; mov.u32 %t, %tid.x;\n"
                   "mul.wide.u32 %p, %t, 4; add.s64 %i, %p, %i; add.s64 %o, %p, %o;\n"
                   "ld.global.u32 %r, [%i];\nmovmatrix.sync.aligned.m8n8.trans.b16 %r, %r;\n"
                   "st.global.u32 [%o], %r;\nret;\n}\n");
  std::vector<uint16_t> matrix(64);
  for (size_t i = 0; i < 64; ++i)
    matrix[i] = static_cast<uint16_t>(i * 257);
  uint64_t in = kernel.upload(matrix), out = kernel.allocate(128);
  kernel.runCleanly({1, 1, 1}, {32, 1, 1}, {in, out});
  auto result = kernel.download<uint16_t>(out, 64);
  for (size_t row = 0; row < 8; ++row)
    for (size_t column = 0; column < 8; ++column)
      EXPECT_EQ(result[row * 8 + column], matrix[column * 8 + row]);
}

} // namespace
} // namespace platen::ptxsim
