// wgmma against a triple loop, over swizzles, majors, shapes and types; and what it must report.
#include "tools/ptxsim/core/matrix_image.h"
#include "tools/ptxsim/core/matrix_testing.h"

#include <bit>
#include <cmath>
#include <functional>
#include <random>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kImageBytes = 96 * 1024, kBStart = 48 * 1024;

struct Case {
  std::string d = "f32", a = "bf16", b = "bf16";
  int n = 64;
  uint32_t width = 128;
  bool aTransposed = false, bTransposed = false, aRegisters = false;
  bool accumulate = true, negateA = false, saturate = false;
  int slice = 0; // which k-block of a K-major row of 128 bytes
};

int sizeOf(const std::string &type) {
  return type == "tf32" ? 4 : type == "f16" || type == "bf16" ? 2 : 1;
}

double valueOf(const std::string &type, uint32_t bits) {
  auto general = [](uint32_t b, int e, int m, bool ieee) {
    int exponent = static_cast<int>(b >> m) & ((1 << e) - 1), bias = (1 << (e - 1)) - 1;
    double fraction = (b & ((1u << m) - 1)) / static_cast<double>(1 << m);
    double sign = b >> (e + m) & 1 ? -1 : 1;
    if (ieee && exponent == (1 << e) - 1)
      return fraction != 0 ? std::nan("") : sign * HUGE_VAL;
    if (!ieee && (b & 0x7F) == 0x7F)
      return std::nan("");
    return sign *
           (exponent ? std::ldexp(1 + fraction, exponent - bias) : std::ldexp(fraction, 1 - bias));
  };
  if (type == "bf16")
    return std::bit_cast<float>(bits << 16);
  if (type == "f16")
    return general(bits & 0xFFFF, 5, 10, true);
  if (type == "tf32")
    return std::bit_cast<float>(bits & 0xFFFFE000);
  if (type == "e4m3")
    return general(bits & 0xFF, 4, 3, false);
  if (type == "e5m2")
    return general(bits & 0xFF, 5, 2, true);
  if (type == "s8")
    return static_cast<int8_t>(bits);
  return bits & 0xFF;
}

class Wgmma : public testing::Test {
protected:
  std::mt19937 random_{3};

  static std::string opcode(const Case &c, int k) {
    std::string shape = "m64n" + std::to_string(c.n) + "k" + std::to_string(k);
    return "wgmma.mma_async.sync.aligned." + shape + (c.saturate ? ".satfinite." : ".") + c.d +
           "." + c.a + "." + c.b + (c.a == "b1" ? ".and.popc" : "");
  }

  /// 128 threads: image to shared memory, D from memory, one product, D to memory.
  static std::string kernel(const Case &c, int k, int registers, const std::string &before,
                            const std::string &after, bool fence = true, bool proxyFence = true) {
    std::string tail;
    if (c.a != "s8" && c.a != "u8" && c.a != "b1") {
      tail = std::string(c.negateA ? ", -1" : ", 1") + ", 1";
      if (sizeOf(c.a) == 2)
        tail += (c.aRegisters    ? ""
                 : c.aTransposed ? ", 1"
                                 : ", 0") +
                std::string(c.bTransposed ? ", 1" : ", 0");
    }
    std::string text =
        ".version 8.8\n.target sm_90a\n.address_size 64\n"
        ".extern .shared .align 1024 .b8 s[];\n"
        ".visible .entry k(.param .u64 image, .param .u64 d, .param .u64 da, .param .u64 db, "
        ".param .u64 scale, .param .u64 a) {\n"
        ".reg .b64 %p, %q, %da, %db, %sc, %ap; .reg .b32 %t, %x, %y, %v<4>, %a<4>; .reg .pred %l, "
        "%s;\n"
        ".reg .b32 %d<" +
        std::to_string(registers) +
        ">;\n"
        "ld.param.u64 %p, [image]; ld.param.u64 %q, [d]; ld.param.u64 %da, [da];\n"
        "ld.param.u64 %db, [db]; ld.param.u64 %sc, [scale]; ld.param.u64 %ap, [a];\n"
        "setp.ne.u64 %s, %sc, 0; mov.u32 %t, %tid.x; mul.lo.u32 %x, %t, 16;\n"
        "mov.u32 %y, s; add.u32 %y, %y, %x; cvt.u64.u32 %sc, %x; add.s64 %p, %p, %sc;\n"
        "LOOP: ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p]; st.shared.v4.u32 [%y], {%v0, %v1, %v2, "
        "%v3};\n"
        "add.u32 %x, %x, 2048; add.u32 %y, %y, 2048; add.s64 %p, %p, 2048;\n"
        "setp.lt.u32 %l, %x, " +
        std::to_string(kImageBytes) + ";\n@%l bra LOOP;\n" +
        (proxyFence ? "fence.proxy.async;\n" : "") + "bar.sync 0;\nmul.wide.u32 %sc, %t, " +
        std::to_string(registers * 4) +
        "; add.s64 %q, %q, %sc; mul.wide.u32 %sc, %t, 16; add.s64 %ap, %ap, %sc;\n"
        "ld.global.v4.u32 {%a0, %a1, %a2, %a3}, [%ap];\n";
    for (int i = 0; i < registers; ++i)
      text += "ld.global.u32 %d" + std::to_string(i) + ", [%q+" + std::to_string(4 * i) + "];\n";
    text += (fence ? "wgmma.fence.sync.aligned;\n" : "") + before + opcode(c, k) + " " +
            registerVector("d", registers) + ", " +
            (c.aRegisters ? "{%a0, %a1, %a2, %a3}" : "%da") + ", %db, %s" + tail + ";\n" + after;
    for (int i = 0; i < registers; ++i)
      text += "st.global.u32 [%q+" + std::to_string(4 * i) + "], %d" + std::to_string(i) + ";\n";
    return text + "ret;\n}\n";
  }
  static constexpr const char *kWait =
      "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";

  static MatrixImage imageOf(const Case &c, uint32_t start, bool transposed, uint32_t lines) {
    MatrixImage image{start, c.width, 0, 0, transposed};
    if (!transposed) { // rows of k: one atom of 8 rows is 8 · width bytes (none: two columns of
                       // 128)
      image.stride = c.width == 16 ? 256 : 8 * c.width;
      image.leading = 128;
    } else if (c.width == 16) { // none: chunks of 8 mn by 8 k
      image.stride = 128;
      image.leading = 128 * (lines / 8);
    } else { // atoms of width bytes of mn by 8 k
      image.leading = 16 * c.width;
      image.stride = 8 * c.width;
    }
    return image;
  }

  void check(const Case &c, AsyncOrder order = AsyncOrder::kLatest);
};

void Wgmma::check(const Case &c, AsyncOrder order) {
  bool bits = c.a == "b1", integers = c.d == "s32", half = c.d == "f16";
  int size = sizeOf(c.a), k = bits ? 256 : 32 / size, registers = half ? c.n / 4 : c.n / 2;
  auto n = static_cast<uint32_t>(c.n);
  std::vector<uint8_t> shared(kImageBytes, 0);
  MatrixImage a = imageOf(c, 0, c.aTransposed, 64), b = imageOf(c, kBStart, c.bTransposed, n);
  auto element = [&](const std::string &type) {
    uint32_t x = random_();
    if (type == "bf16")
      return (x & 0x80FF) | 0x3F00; // 0.5 to 2 and their negatives
    if (type == "f16")
      return x & 0xBFFF;
    if (type == "tf32")
      return std::bit_cast<uint32_t>(static_cast<float>(x % 2048) / 3 - 300);
    if (type == "e4m3" || type == "e5m2")
      return x & 0xBF;
    return x & 0xFF;
  };
  uint32_t bytesOfK = 32, columns = bits ? 32 : static_cast<uint32_t>(k);
  auto kOf = [&](uint32_t i) {
    return i + static_cast<uint32_t>(c.slice) * bytesOfK / static_cast<uint32_t>(size);
  };
  std::vector<uint32_t> A(64 * columns), B(n * columns);
  for (uint32_t row = 0; row < 64; ++row)
    for (uint32_t i = 0; i < columns; ++i)
      a.put(shared, row, c.aTransposed ? i : kOf(i), static_cast<uint32_t>(size),
            A[row * columns + i] = element(c.a));
  for (uint32_t column = 0; column < n; ++column)
    for (uint32_t i = 0; i < columns; ++i)
      b.put(shared, column, c.bTransposed ? i : kOf(i), static_cast<uint32_t>(size),
            B[column * columns + i] = element(c.b));
  // Fragments: warp w has rows 16w + lane / 4 (+ 8), columns 8j + 2 (lane % 4) + {0, 1}.
  auto place = [&](uint32_t thread, uint32_t i, uint32_t &row, uint32_t &column) {
    uint32_t lane = thread % 32;
    row = thread / 32 * 16 + lane / 4 + (i % 4 >= 2 ? 8 : 0);
    column = i / 4 * 8 + lane % 4 * 2 + i % 2;
  };
  std::vector<uint32_t> start(128 * static_cast<size_t>(registers)), aWords(128 * 4);
  for (uint32_t &word : start)
    word = integers ? random_() >> 1 | 0x40000000
           : half   ? (random_() & 0xBFFFBFFF)
                    : std::bit_cast<uint32_t>(static_cast<float>(random_() % 4096) - 2048);
  for (uint32_t thread = 0; thread < 128; ++thread)
    for (uint32_t r = 0; r < 4; ++r) {
      uint32_t row = thread / 32 * 16 + thread % 32 / 4 + (r % 2) * 8;
      uint32_t byte = thread % 4 * 4 + (r / 2) * 16; // of the 32 bytes of a row
      for (uint32_t i = 0; i < 4u / static_cast<uint32_t>(size); ++i)
        aWords[thread * 4 + r] |= A[row * columns + byte / static_cast<uint32_t>(size) + i]
                                  << 8 * i * static_cast<uint32_t>(size);
    }
  KernelRun run(kernel(c, k, registers, "", kWait));
  run.options.asyncOrder = order;
  uint64_t image = run.upload(shared), d = run.upload(start), aFragments = run.upload(aWords);
  auto advance = static_cast<uint32_t>(c.slice) * 32;
  run.runCleanly({1, 1, 1}, {128, 1, 1},
                 {image, d, a.descriptor(advance), b.descriptor(advance), c.accumulate, aFragments},
                 kImageBytes);
  auto result = run.download<uint32_t>(d, start.size());
  for (uint32_t thread = 0; thread < 128; ++thread)
    for (uint32_t i = 0; i < n / 2; ++i) {
      uint32_t row, column;
      place(thread, i, row, column);
      size_t at = thread * static_cast<size_t>(registers) + (half ? i / 2 : i);
      uint32_t before = half ? start[at] >> 16 * (i % 2) & 0xFFFF : start[at];
      uint32_t after = half ? result[at] >> 16 * (i % 2) & 0xFFFF : result[at];
      double sum = !c.accumulate ? 0
                   : half        ? valueOf("f16", before)
                                 : static_cast<double>(std::bit_cast<float>(before));
      int64_t integer = c.accumulate ? static_cast<int32_t>(before) : 0;
      for (uint32_t x = 0; x < columns; ++x) {
        uint32_t p = A[row * columns + x], q = B[column * columns + x];
        if (bits)
          integer += std::popcount(p & q);
        else if (integers)
          integer += static_cast<int64_t>(valueOf(c.a, p)) * static_cast<int64_t>(valueOf(c.b, q));
        else
          sum += (c.negateA ? -1 : 1) * valueOf(c.a, p) * valueOf(c.b, q);
      }
      if (c.saturate)
        integer = std::min<int64_t>(integer, INT32_MAX);
      if (half) {
        double got = valueOf("f16", after);
        if (std::fabs(sum) < 65504) {
          ASSERT_LE(std::fabs(got - sum), std::max(std::fabs(sum) / 2048, std::ldexp(1.0, -25)));
        } else if (std::fabs(sum) >= 65520) {
          ASSERT_EQ(after & 0x7FFF, 0x7C00u);
        }
        continue;
      }
      float single = static_cast<float>(sum);
      uint32_t expected = integers           ? static_cast<uint32_t>(integer)
                          : single != single ? 0x7FFFFFFF
                                             : std::bit_cast<uint32_t>(single);
      ASSERT_EQ(after, expected) << opcode(c, k) << " width " << c.width << " row " << row
                                 << " column " << column;
    }
}

TEST_F(Wgmma, SwizzlesAndMajors) {
  for (uint32_t width : {16, 32, 64, 128}) {
    check({.n = 64, .width = width});
    check({.n = 128, .width = width, .aTransposed = true});
    check({.n = 64, .width = width, .bTransposed = true});
    check({.n = 128, .width = width, .bTransposed = true, .aRegisters = true});
  }
  for (int slice = 0; slice < 4; ++slice)
    check({.n = 32, .slice = slice});
  check({.n = 32, .width = 64, .slice = 1});
}

TEST_F(Wgmma, Types) {
  check({.d = "f32", .a = "f16", .b = "f16", .n = 40});
  check({.d = "f16", .a = "f16", .b = "f16", .n = 16});
  check({.d = "f32", .a = "tf32", .b = "tf32", .n = 24, .negateA = true});
  for (const char *a : {"e4m3", "e5m2"})
    for (const char *b : {"e4m3", "e5m2"})
      check({.d = "f32", .a = a, .b = b, .n = 8});
  check({.d = "f16", .a = "e4m3", .b = "e5m2", .n = 8});
  for (const char *a : {"s8", "u8"})
    for (const char *b : {"s8", "u8"})
      check({.d = "s32", .a = a, .b = b, .n = 32, .aRegisters = a[0] == 's'});
  check({.d = "s32", .a = "u8", .b = "u8", .n = 16, .saturate = true});
  check({.d = "s32", .a = "b1", .b = "b1", .n = 16});
  check({.n = 256});
  check({.n = 8, .accumulate = false});
}

TEST_F(Wgmma, EveryAsyncOrder) {
  for (AsyncOrder order : {AsyncOrder::kEarliest, AsyncOrder::kLatest, AsyncOrder::kRandom})
    check({.n = 24}, order);
}

/// The violation of a kernel of n = 8, bf16.
struct Broken {
  std::string before, after;
  bool fence = true, proxyFence = true, goodDescriptor = true, checkRaces = true;
};

TEST_F(Wgmma, ReportsWhatIsWrong) {
  auto violation = [&](const Broken &broken) -> std::string {
    Case c{.n = 8, .width = 32};
    KernelRun run(kernel(c, 16, 4, broken.before, broken.after, broken.fence, broken.proxyFence));
    run.options.checkRaces = broken.checkRaces;
    MatrixImage a = imageOf(c, 0, false, 64), b = imageOf(c, kBStart, false, 8);
    uint64_t image = run.upload(std::vector<uint8_t>(kImageBytes, 0x3C));
    uint64_t d = run.upload(std::vector<uint32_t>(512, 0)),
             aWords = run.upload(std::vector<uint32_t>(512, 0));
    Report report =
        run.run({1, 1, 1}, {128, 1, 1},
                {image, d, a.descriptor() | (broken.goodDescriptor ? 0 : uint64_t{1} << 55),
                 b.descriptor(), 1, aWords},
                kImageBytes);
    return report.violation ? report.violation->toString() : "";
  };
  EXPECT_EQ(violation({.before = "", .after = kWait}), "");
  EXPECT_NE(violation({.before = "", .after = kWait, .fence = false}).find("no wgmma.fence"),
            std::string::npos);
  EXPECT_EQ(violation({.before = "", .after = kWait, .fence = false, .checkRaces = false}), "");
  EXPECT_NE(violation({.before = "add.f32 %d1, %d1, 0f3F800000;\n", .after = kWait})
                .find("written after the last wgmma.fence"),
            std::string::npos);
  EXPECT_NE(violation({.before = "", .after = "wgmma.commit_group.sync.aligned;\n"})
                .find("no wgmma.wait_group has awaited"),
            std::string::npos);
  EXPECT_NE(violation({.before = "", .after = "wgmma.wait_group.sync.aligned 0;\n"}) // no commit
                .find("no wgmma.wait_group has awaited"),
            std::string::npos);
  EXPECT_NE(
      violation({.before = "",
                 .after = "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 1;\n"})
          .find("no wgmma.wait_group has awaited"),
      std::string::npos);
  EXPECT_NE(violation({.before = "", .after = kWait, .proxyFence = false}), "");
  EXPECT_NE(violation({.before = "",
                       .after = std::string("wgmma.commit_group.sync.aligned;\nmov.u32 %y, s;\n"
                                            "st.shared.u32 [%y], %t;\n") +
                                "wgmma.wait_group.sync.aligned 0;\n"}),
            "");
  EXPECT_NE(
      violation({.before = "", .after = kWait, .goodDescriptor = false}).find("reserved bits"),
      std::string::npos);
}

} // namespace
} // namespace platen::ptxsim
