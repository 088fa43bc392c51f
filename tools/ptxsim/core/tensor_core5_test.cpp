// tcgen05: products against a triple loop, data movement by sentinel, and what must be reported.
#include "tools/ptxsim/core/matrix_image.h"
#include "tools/ptxsim/core/matrix_testing.h"

#include <bit>
#include <cmath>
#include <random>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kImageBytes = 64 * 1024, kBStart = 24 * 1024, kScaleStart = 60 * 1024;

/// Tensor memory for a block of 128 threads: `body` runs between allocation and release, with %ta
/// the address, %tw the address of the warp's lanes, %t the thread, s the image in shared memory.
std::string tensorKernel(const std::string &body, const std::string &release = "512") {
  return std::string(kTestHeader) +
         ".extern .shared .align 1024 .b8 s[];\n"
         ".visible .entry k(.param .u64 image, .param .u64 in, .param .u64 out, .param .u64 da, "
         ".param .u64 db, .param .u64 idesc, .param .u64 flag) {\n"
         ".reg .b64 %p, %i, %o, %da, %db, %w, %sd; .reg .b32 %t, %x, %y, %v<4>, %r<256>;\n"
         ".reg .b32 %ta, %tw, %id, %b, %m0, %m1, %m2, %m3, %z; .reg .pred %l, %f, %one, %w0;\n"
         "ld.param.u64 %p, [image]; ld.param.u64 %i, [in]; ld.param.u64 %o, [out];\n"
         "ld.param.u64 %da, [da]; ld.param.u64 %db, [db]; ld.param.u64 %w, [idesc];\n"
         "cvt.u32.u64 %id, %w; ld.param.u64 %w, [flag]; setp.ne.u64 %f, %w, 0;\n"
         "mov.u32 %t, %tid.x; setp.eq.u32 %one, %t, 0; setp.lt.u32 %w0, %t, 32; mov.u32 %b, s; "
         "add.u32 %b, %b, 64512;\n"
         "mul.lo.u32 %x, %t, 16; mov.u32 %y, s; add.u32 %y, %y, %x; cvt.u64.u32 %w, %x;\n"
         "add.s64 %p, %p, %w;\n"
         "LOOP: ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p];\n"
         "st.shared.v4.u32 [%y], {%v0, %v1, %v2, %v3};\n"
         "add.u32 %x, %x, 2048; add.u32 %y, %y, 2048; add.s64 %p, %p, 2048;\n"
         "setp.lt.u32 %l, %x, " +
         std::to_string(kImageBytes) +
         ";\n@%l bra LOOP;\n"
         "bar.sync 0;\n@%one mbarrier.init.shared.b64 [%b], 1;\nfence.proxy.async;\n"
         "mov.u32 %x, s; add.u32 %x, %x, 64520;\n"
         "@%w0 tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%x], 512;\n"
         "@%w0 tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;\n"
         "bar.sync 0;\nld.shared.u32 %ta, [%x];\n"
         "shr.u32 %y, %t, 5; shl.b32 %y, %y, 21; add.u32 %tw, %ta, %y;\n"
         "mul.wide.u32 %w, %t, 1024; add.s64 %i, %i, %w; add.s64 %o, %o, %w;\n" +
         body + "bar.sync 0;\n" +
         (release.empty()
              ? ""
              : "@%w0 tcgen05.dealloc.cta_group::1.sync.aligned.b32 %ta, " + release + ";\n") +
         "ret;\n}\n";
}

/// The same for two blocks that work as a pair: each has its own image and rows of `in` and `out`.
std::string pairKernel(const std::string &body) {
  std::string text = tensorKernel(body);
  auto replace = [&](const std::string &from, const std::string &to) {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  };
  replace("cta_group::1", "cta_group::2");
  replace("mov.u32 %t, %tid.x;",
          ".reg .pred %even; .reg .b64 %rank; mov.u32 %x, %cluster_ctarank;\n"
          "setp.eq.u32 %even, %x, 0; cvt.u64.u32 %rank, %x;\n"
          "mad.lo.s64 %p, %rank, " +
              std::to_string(kImageBytes) +
              ", %p;\n"
              "mad.lo.s64 %i, %rank, 131072, %i; mad.lo.s64 %o, %rank, 131072, %o;\n"
              "mov.u32 %t, %tid.x;");
  replace("bar.sync 0;\n", "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n");
  return text;
}

std::string loads(int first, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += "ld.global.u32 %r" + std::to_string(i) + ", [%i+" + std::to_string(4 * (first + i)) +
            "];\n";
  return text;
}
std::string stores(int first, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += "st.global.u32 [%o+" + std::to_string(4 * (first + i)) + "], %r" + std::to_string(i) +
            ";\n";
  return text;
}
std::string vectorOf(int count) { return registerVector("r", count); }

/// Lane t's row of `columns` words to and from tensor memory.
std::string fillTensor(int columns) {
  std::string text;
  for (int c = 0; c < columns; c += 8)
    text += loads(c, 8) + "tcgen05.st.sync.aligned.32x32b.x8.b32 [%tw+" + std::to_string(c) +
            "], " + vectorOf(8) + ";\n";
  return text + "tcgen05.wait::st.sync.aligned;\n";
}
std::string readTensor(int columns) {
  std::string text;
  for (int c = 0; c < columns; c += 8)
    text += "tcgen05.ld.sync.aligned.32x32b.x8.b32 " + vectorOf(8) + ", [%tw+" + std::to_string(c) +
            "];\ntcgen05.wait::ld.sync.aligned;\n" + stores(c, 8);
  return text;
}
const std::string kBarrier = "tcgen05.fence::before_thread_sync;\nbar.sync 0;\n"
                             "tcgen05.fence::after_thread_sync;\n";
const std::string kCommit =
    "@%one tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%b];\n";
const std::string kAwait =
    "WAIT: mbarrier.try_wait.parity.shared.b64 %l, [%b], 0;\n@!%l bra WAIT;\n";
const std::string kFence = "tcgen05.fence::after_thread_sync;\n";

struct Case {
  std::string kind = "f16", a = "bf16", b = "bf16", d = "f32", scale = "", suffix = "";
  uint32_t m = 128, n = 64, width = 128;
  bool aTransposed = false, bTransposed = false, aTensor = false, accumulate = true, negate = false;
  bool saturate = false, mask = false, upperLanes = false;
  uint32_t scales = 0, scaleIdA = 0, scaleIdB = 0, scaleInput = 0;
};

int bitsOf(const std::string &type) {
  return type == "tf32" ? 32 : type == "f16" || type == "bf16" ? 16 : type == "e2m1x2" ? 4 : 8;
}
/// Bits that an element takes where 16 of them fill 16 bytes with padding.
int packedBits(const std::string &type) {
  return type == "e2m1" ? 4 : type == "e3m2" || type == "e2m3" ? 6 : bitsOf(type);
}

double valueOf(const std::string &type, uint32_t bits) {
  auto general = [](uint32_t b, int e, int m) {
    int exponent = static_cast<int>(b >> m) & ((1 << e) - 1), bias = (1 << (e - 1)) - 1;
    double fraction = (b & ((1u << m) - 1)) / static_cast<double>(1 << m);
    double magnitude =
        exponent ? std::ldexp(1 + fraction, exponent - bias) : std::ldexp(fraction, 1 - bias);
    return b >> (e + m) & 1 ? -magnitude : magnitude;
  };
  if (type == "bf16")
    return std::bit_cast<float>(bits << 16);
  if (type == "f16")
    return general(bits, 5, 10);
  if (type == "tf32")
    return std::bit_cast<float>(bits & 0xFFFFE000);
  if (type == "e4m3" || type == "ue4m3")
    return general(bits, 4, 3);
  if (type == "e5m2")
    return general(bits, 5, 2);
  if (type == "e3m2")
    return general(bits, 3, 2);
  if (type == "e2m3")
    return general(bits, 2, 3);
  if (type == "e2m1" || type == "e2m1x2")
    return general(bits, 2, 1);
  if (type == "ue8m0")
    return std::ldexp(1.0, static_cast<int>(bits) - 127);
  return type == "s8" ? static_cast<int8_t>(bits) : static_cast<double>(bits);
}

uint32_t descriptorOf(const Case &c) {
  auto code = [&](const std::string &type) -> uint32_t {
    if (type == "tf32")
      return 2;
    if (type == "bf16" || type == "s8" || type == "e5m2" || type == "e2m1x2")
      return 1;
    return type == "e2m3" ? 3 : type == "e3m2" ? 4 : type == "e2m1" ? 5 : 0;
  };
  uint32_t bits = code(c.a) << 7 | code(c.b) << 10 | (c.negate ? 1u << 14 : 0) |
                  (c.aTransposed ? 1u << 15 : 0) | (c.bTransposed ? 1u << 16 : 0) | c.n / 8 << 17 |
                  c.m / 16 << 24;
  if (c.scales)
    return bits | (c.scale == "ue8m0" ? 1u << 23 : 0) | c.scaleIdB << 4 | c.scaleIdA << 29;
  return bits | (c.d == "s32" ? 2u << 4 : c.d == "f32" ? 1u << 4 : 0) | (c.saturate ? 8 : 0);
}

class TensorCore5 : public testing::Test {
protected:
  std::mt19937 random_{5};

  uint32_t element(const std::string &type) {
    uint32_t x = random_();
    if (type == "bf16")
      return (x & 0x80FF) | 0x3F00;
    if (type == "f16")
      return x & 0xBFFF;
    if (type == "tf32")
      return std::bit_cast<uint32_t>(static_cast<float>(x % 2048) / 3 - 300);
    if (type == "e4m3" || type == "e5m2")
      return x & 0xBF;
    return x & ((1u << packedBits(type)) - 1);
  }

  static MatrixImage imageOf(const Case &c, uint32_t start, bool transposed, uint32_t lines,
                             int bits) {
    MatrixImage image{start, c.width, 0, 0, transposed};
    if (!transposed) {
      image.stride = c.width == 16 ? 256 : 8 * c.width;
      image.leading = 128;
    } else if (c.width == 16) {
      image.stride = 128;
      image.leading = 128 * (lines * static_cast<uint32_t>(bits) / 128);
    } else {
      image.leading = 32 * c.width;
      image.stride = 8 * c.width;
    }
    return image;
  }

  /// Element i of line `line`; sub-byte elements bit by bit.
  static void put(std::vector<uint8_t> &shared, const MatrixImage &image, const std::string &type,
                  uint32_t line, uint32_t i, uint32_t value) {
    auto bits = static_cast<uint32_t>(packedBits(type));
    if (bits >= 8)
      return image.put(shared, line, i, bits / 8, value);
    uint32_t perChunk = type == "e2m1x2" ? 32 : 16;
    for (uint32_t b = 0; b < bits; ++b) {
      uint32_t bit = i % perChunk * bits + b;
      if (value >> b & 1)
        shared[image.at(line, i / perChunk * 16 + bit / 8)] |= static_cast<uint8_t>(1u << bit % 8);
    }
  }

  void check(const Case &c);
};

void TensorCore5::check(const Case &c) {
  uint32_t k = 256u / static_cast<uint32_t>(bitsOf(c.a)), lanes = c.upperLanes ? 16 : 0;
  std::vector<uint8_t> shared(kImageBytes, 0);
  MatrixImage a = imageOf(c, 0, c.aTransposed, c.m, bitsOf(c.a));
  MatrixImage b = imageOf(c, kBStart, c.bTransposed, c.n, bitsOf(c.b));
  std::vector<uint32_t> A(c.m * k), B(c.n * k);
  for (uint32_t row = 0; row < c.m; ++row)
    for (uint32_t i = 0; i < k; ++i)
      put(shared, a, c.a, row, i, A[row * k + i] = element(c.a));
  for (uint32_t column = 0; column < c.n; ++column)
    for (uint32_t i = 0; i < k; ++i)
      put(shared, b, c.b, column, i, B[column * k + i] = element(c.b));
  // Scales: 32 rows of 16 bytes; row r has those of rows r, r + 32, r + 64, r + 96, four bytes
  // each.
  std::vector<uint32_t> scales[2] = {std::vector<uint32_t>(128 * 4),
                                     std::vector<uint32_t>(128 * 4)};
  for (uint32_t which = 0; which < 2; ++which)
    for (uint32_t line = 0; line < 128; ++line)
      for (uint32_t j = 0; j < 4; ++j) {
        uint32_t value = c.scale == "ue4m3" ? random_() % 0x7F : 120 + random_() % 16;
        scales[which][line * 4 + j] = value;
        shared[kScaleStart + which * 512 + line % 32 * 16 + line / 32 * 4 + j] =
            static_cast<uint8_t>(value);
      }
  // Tensor memory before: columns 0.. D, from 256 A if it lies there, from 300 the scales.
  std::vector<uint32_t> cells(128 * 256);
  for (uint32_t lane = 0; lane < 128; ++lane)
    for (uint32_t column = 0; column < c.n; ++column)
      cells[lane * 256 + column] =
          c.d == "s32"   ? 0x7FFFFF00 + random_() % 256
          : c.d == "f16" ? random_() & 0xBFFF
                         : std::bit_cast<uint32_t>(static_cast<float>(random_() % 4096) - 2048);
  auto laneOf = [&](uint32_t row) { return c.m == 128 ? row : row / 16 * 32 + row % 16 + lanes; };
  std::string body = fillTensor(static_cast<int>(c.n));
  std::string operandA = "%da";
  if (c.aTensor) {
    for (uint32_t row = 0; row < c.m; ++row)
      for (uint32_t i = 0; i < k; ++i)
        for (uint32_t at = i * static_cast<uint32_t>(bitsOf(c.a));
             at < (i + 1) * static_cast<uint32_t>(bitsOf(c.a)); ++at)
          if (A[row * k + i] >> (at - i * static_cast<uint32_t>(bitsOf(c.a))) & 1)
            cells[laneOf(row) * 256 + 200 + at / 32] |= 1u << at % 32;
    body += loads(200, 8) + "tcgen05.st.sync.aligned.32x32b.x8.b32 [%tw+256], " + vectorOf(8) +
            ";\ntcgen05.wait::st.sync.aligned;\nadd.u32 %z, %ta, " +
            std::to_string((lanes << 16) + 256) + ";\n";
    operandA = "[%z]";
  }
  body += kBarrier;
  std::string mask = c.mask ? "{%m0, %m1, %m2, %m3}, " : "", scaleOperands;
  if (c.mask)
    body += "mov.u32 %m0, 0x0000FFFF; mov.u32 %m1, 0; mov.u32 %m2, 0x80000001; mov.u32 %m3, 5;\n";
  if (c.scales) {
    MatrixImage source{kScaleStart, 16, 0, 128, false};
    for (uint32_t which = 0; which < 2; ++which) {
      source.start = kScaleStart + 512 * which;
      body += "mov.u64 %sd, " + std::to_string(source.tensorDescriptor()) +
              ";\n@%one tcgen05.cp.cta_group::1.32x128b.warpx4 [%ta+" +
              std::to_string(300 + 4 * which) + "], %sd;\n";
    }
    scaleOperands = "[%ta+300], [%ta+304], ";
  }
  std::string d = c.upperLanes ? "[%ta+1048576]" : "[%ta]"; // lane 16
  body += "@%one tcgen05.mma.cta_group::1.kind::" + c.kind + c.suffix + " " + d + ", " + operandA +
          ", %db, %id, " + scaleOperands + mask + "%f" +
          (c.scaleInput ? ", " + std::to_string(c.scaleInput) : "") + ";\n" + kCommit + kAwait +
          kFence + readTensor(static_cast<int>(c.n));
  KernelRun run(tensorKernel(body));
  uint64_t image = run.upload(shared), in = run.upload(cells);
  uint64_t out = run.upload(std::vector<uint32_t>(128 * 256, 0));
  run.runCleanly(
      {1, 1, 1}, {128, 1, 1},
      {image, in, out, a.tensorDescriptor(), b.tensorDescriptor(), descriptorOf(c), c.accumulate},
      kImageBytes);
  auto result = run.download<uint32_t>(out, 128 * 256);
  // The elements as numbers, scaled.
  std::vector<double> left(c.m * k), right(c.n * k);
  for (uint32_t i = 0; i < c.m * k; ++i)
    left[i] =
        valueOf(c.a, A[i]) *
        (c.scales ? valueOf(c.scale, scales[0][i / k * 4 + c.scaleIdA + i % k / (k / c.scales)])
                  : 1);
  for (uint32_t i = 0; i < c.n * k; ++i)
    right[i] =
        valueOf(c.b, B[i]) *
        (c.scales ? valueOf(c.scale, scales[1][i / k * 4 + c.scaleIdB + i % k / (k / c.scales)])
                  : 1);
  constexpr uint32_t kMask[4] = {0x0000FFFF, 0, 0x80000001, 5};
  for (uint32_t row = 0; row < c.m; ++row)
    for (uint32_t column = 0; column < c.n; ++column) {
      uint32_t lane = laneOf(row), before = cells[lane * 256 + column],
               after = result[lane * 256 + column];
      if (c.mask && (kMask[lane / 32] >> lane % 32 & 1)) {
        ASSERT_EQ(after, before);
        continue;
      }
      double sum = 0;
      int64_t integer = c.accumulate ? static_cast<int32_t>(before) : 0;
      if (c.accumulate)
        sum = c.d == "f16" ? valueOf("f16", before)
                           : static_cast<double>(std::bit_cast<float>(before));
      sum = std::ldexp(sum, -static_cast<int>(c.scaleInput));
      for (uint32_t i = 0; i < k; ++i) {
        double x = left[row * k + i], y = right[column * k + i];
        sum += (c.negate ? -x : x) * y;
        integer += static_cast<int64_t>(x) * static_cast<int64_t>(y);
      }
      if (c.saturate)
        integer = std::min<int64_t>(integer, INT32_MAX);
      if (c.d == "f16") {
        if (std::fabs(sum) < 65504) {
          ASSERT_LE(std::fabs(valueOf("f16", after) - sum),
                    std::max(std::fabs(sum) / 2048, std::ldexp(1.0, -25)));
        }
        continue;
      }
      uint32_t expected = c.d == "s32" ? static_cast<uint32_t>(integer)
                                       : std::bit_cast<uint32_t>(static_cast<float>(sum));
      ASSERT_EQ(after, expected) << c.kind << " " << c.a << " " << c.b << " row " << row
                                 << " column " << column;
    }
}

TEST_F(TensorCore5, KindsAndLayouts) {
  for (uint32_t width : {16, 32, 64, 128}) {
    check({.width = width});
    check({.n = 128, .width = width, .aTransposed = true, .bTransposed = true});
  }
  check({.a = "f16", .b = "f16", .n = 24, .accumulate = false});
  check({.a = "f16", .b = "f16", .d = "f16", .n = 16});
  check({.m = 64, .n = 32});
  check({.m = 64, .n = 32, .aTensor = true, .upperLanes = true});
  check({.n = 32, .aTensor = true, .mask = true});
  check({.n = 16, .scaleInput = 3});
  check({.kind = "tf32", .a = "tf32", .b = "tf32", .n = 16, .negate = true});
  for (const char *a : {"e4m3", "e5m2", "e3m2", "e2m3", "e2m1"})
    check({.kind = "f8f6f4", .a = a, .b = "e4m3", .n = 16});
  check({.kind = "f8f6f4", .a = "e4m3", .b = "e2m1", .d = "f16", .n = 16});
  check({.kind = "f8f6f4",
         .a = "e4m3",
         .b = "e5m2",
         .n = 128,
         .aTransposed = true,
         .bTransposed = true});
  check({.kind = "i8", .a = "s8", .b = "u8", .d = "s32", .n = 48});
  check({.kind = "i8", .a = "u8", .b = "u8", .d = "s32", .n = 32, .saturate = true});
}

TEST_F(TensorCore5, BlockScales) {
  check({.kind = "mxf8f6f4",
         .a = "e4m3",
         .b = "e5m2",
         .scale = "ue8m0",
         .suffix = ".block_scale.scale_vec::1X",
         .n = 64,
         .scales = 1,
         .scaleIdA = 2,
         .scaleIdB = 3});
  check({.kind = "mxf8f6f4",
         .a = "e2m1",
         .b = "e3m2",
         .scale = "ue8m0",
         .suffix = ".block_scale.block32",
         .n = 128,
         .scales = 1});
  check({.kind = "mxf4",
         .a = "e2m1x2",
         .b = "e2m1x2",
         .scale = "ue8m0",
         .suffix = ".block_scale",
         .n = 64,
         .scales = 2,
         .scaleIdA = 2});
  check({.kind = "mxf4nvf4",
         .a = "e2m1x2",
         .b = "e2m1x2",
         .scale = "ue4m3",
         .suffix = ".block_scale.block16.collector::a::fill",
         .n = 128,
         .scales = 4});
  check({.kind = "mxf4nvf4",
         .a = "e2m1x2",
         .b = "e2m1x2",
         .scale = "ue4m3",
         .suffix = ".block_scale.scale_vec::4X",
         .n = 32,
         .scales = 4});
}

/// Row and column that a lane's register v holds, from the strides (in bits) of the shape's layout.
void placeIn(const std::string &shape, uint32_t repeats, uint32_t lane, uint32_t v, uint32_t &row,
             uint32_t &column) {
  uint32_t width = shape == "32x32b"    ? 32 * repeats
                   : shape == "16x64b"  ? 64 * repeats
                   : shape == "16x128b" ? 128 * repeats
                   : shape == "16x256b" ? 256 * repeats
                                        : 32 * repeats;
  uint32_t bit = 0;
  if (shape == "32x32b")
    bit = lane * width + v * 32;
  else if (shape == "16x64b")
    bit = (lane & 1) * 8 * width + (lane >> 1 & 1) * 32 + (lane >> 2) * width + v * 64;
  else if (shape == "16x128b")
    bit = (lane & 3) * 32 + (lane >> 2) * width + (v & 1) * 8 * width + (v >> 1) * 128;
  else if (shape == "16x256b")
    bit = (lane & 3) * 64 + (lane >> 2) * width + (v & 1) * 32 + (v >> 1 & 1) * 8 * width +
          (v >> 2) * 256;
  else
    bit = (lane & 15) * width + v * 32;
  row = bit / width;
  column = bit % width / 32 + (shape == "16x32bx2" && lane >= 16 ? 40 : 0); // its split offset
}

TEST_F(TensorCore5, LoadAndStoreShapes) {
  std::vector<uint32_t> cells(128 * 256);
  for (uint32_t i = 0; i < cells.size(); ++i)
    cells[i] = i * 2654435761u;
  struct Row {
    std::string shape;
    int registers;
  };
  for (const Row &r :
       {Row{"32x32b", 1}, {"16x64b", 1}, {"16x128b", 2}, {"16x256b", 4}, {"16x32bx2", 1}})
    for (int repeats : {1, 4, 16})
      for (bool packs : {false, true}) {
        int count = repeats * r.registers;
        bool split = r.shape == "16x32bx2";
        std::string name = r.shape + ".x" + std::to_string(repeats);
        // Load: from columns that were filled; store: into columns 128.. which are then read whole.
        std::string address = r.shape == "32x32b" ? "%tw" : "%tw+1048576"; // the upper 16 lanes
        std::string text = fillTensor(256) + "tcgen05.ld.sync.aligned." + name +
                           (packs ? ".pack::16b" : "") + ".b32 " + vectorOf(count) + ", [" +
                           address + "]" + (split ? ", 40" : "") +
                           ";\ntcgen05.wait::ld.sync.aligned;\n" + stores(0, count);
        KernelRun run(tensorKernel(text));
        uint64_t image = run.upload(std::vector<uint8_t>(kImageBytes, 0)), in = run.upload(cells);
        uint64_t out = run.upload(std::vector<uint32_t>(128 * 256, 0));
        run.runCleanly({1, 1, 1}, {128, 1, 1}, {image, in, out, 0, 0, 0, 0}, kImageBytes);
        auto result = run.download<uint32_t>(out, 128 * 256);
        for (uint32_t t = 0; t < 128; ++t)
          for (uint32_t v = 0; v < static_cast<uint32_t>(count); ++v) {
            uint32_t row, column;
            placeIn(r.shape, static_cast<uint32_t>(repeats), t % 32, v, row, column);
            uint32_t splitPart = split && t % 32 >= 16 ? 40 : 0;
            uint32_t lane = t / 32 * 32 + row + (r.shape == "32x32b" ? 0 : 16);
            uint32_t first = packs ? 2 * (column - splitPart) + splitPart : column;
            uint32_t expected =
                packs ? (cells[lane * 256 + first] & 0xFFFF) | cells[lane * 256 + first + 1] << 16
                      : cells[lane * 256 + first];
            ASSERT_EQ(result[t * 256 + v], expected)
                << name << " thread " << t << " register " << v;
          }
        // The same fragments stored into zeros and loaded back the same way.
        std::string fill0 = "tcgen05.st.sync.aligned." + name + (packs ? ".unpack::16b" : "") +
                            ".b32 [" + address + "]" + (split ? ", 40" : "") + ", " +
                            vectorOf(count) + ";\ntcgen05.wait::st.sync.aligned;\n";
        KernelRun back(tensorKernel(loads(0, count) + fill0 + "tcgen05.ld.sync.aligned." + name +
                                    (packs ? ".pack::16b" : "") + ".b32 " + vectorOf(count) +
                                    ", [" + address + "]" + (split ? ", 40" : "") +
                                    ";\ntcgen05.wait::ld.sync.aligned;\n" + stores(0, count)));
        image = back.upload(std::vector<uint8_t>(kImageBytes, 0)), in = back.upload(cells);
        out = back.upload(std::vector<uint32_t>(128 * 256, 0));
        back.runCleanly({1, 1, 1}, {128, 1, 1}, {image, in, out, 0, 0, 0, 0}, kImageBytes);
        result = back.download<uint32_t>(out, 128 * 256);
        for (uint32_t t = 0; t < 128; ++t)
          for (uint32_t v = 0; v < static_cast<uint32_t>(count); ++v)
            ASSERT_EQ(result[t * 256 + v], cells[t * 256 + v]) << name;
      }
}

TEST_F(TensorCore5, CopiesFromSharedMemory) {
  std::vector<uint8_t> shared(kImageBytes, 0);
  MatrixImage image{0, 32, 0, 256, false};
  auto value = [](uint32_t row, uint32_t word) { return row * 1000 + word + 1; };
  for (uint32_t row = 0; row < 128; ++row)
    for (uint32_t word = 0; word < 8; ++word)
      image.put(shared, row, word, 4, value(row, word));
  struct Row {
    std::string name;
    int columns;
  };
  for (const Row &r : {Row{"128x256b", 8},
                       {"128x128b", 8},
                       {"64x128b.warpx2::02_13", 8},
                       {"64x128b.warpx2::01_23", 8},
                       {"32x128b.warpx4", 8}}) {
    bool isWide = r.name == "128x256b";
    std::string body = fillTensor(8) + kBarrier + "@%one tcgen05.cp.cta_group::1." + r.name +
                       " [%ta], %da;\n" + kCommit + kAwait + kFence + readTensor(8);
    KernelRun run(tensorKernel(body));
    uint64_t source = run.upload(shared), in = run.upload(std::vector<uint32_t>(128 * 256, 7));
    uint64_t out = run.upload(std::vector<uint32_t>(128 * 256, 0));
    run.runCleanly({1, 1, 1}, {128, 1, 1}, {source, in, out, image.tensorDescriptor(), 0, 0, 0},
                   kImageBytes);
    auto result = run.download<uint32_t>(out, 128 * 256);
    for (uint32_t lane = 0; lane < 128; ++lane)
      for (uint32_t word = 0; word < 8; ++word) {
        uint32_t warp = lane / 32, row = lane % 32;
        uint32_t half = r.name.find("02_13") != std::string::npos ? warp % 2 : warp / 2;
        if (r.name[0] == '1')
          row = lane;
        if (r.name[0] == '6')
          row += 32 * half;
        ASSERT_EQ(result[lane * 256 + word], word < 4 || isWide ? value(row, word) : 7)
            << r.name << " lane " << lane;
      }
  }
}

TEST_F(TensorCore5, PairsOfBlocks) {
  for (uint32_t m : {256, 128})
    for (AsyncOrder order : {AsyncOrder::kEarliest, AsyncOrder::kLatest, AsyncOrder::kRandom}) {
      constexpr uint32_t kN = 64, kK = 16;
      Case c{.m = m, .n = kN, .width = 32};
      uint32_t rows = m / 2, columns = kN / 2;
      std::vector<uint8_t> shared(2 * kImageBytes, 0);
      MatrixImage a = imageOf(c, 0, false, rows, 16), b = imageOf(c, kBStart, false, columns, 16);
      std::vector<uint32_t> A(m * kK), B(kN * kK);
      for (uint32_t block = 0; block < 2; ++block) {
        std::vector<uint8_t> half(kImageBytes, 0);
        for (uint32_t row = 0; row < rows; ++row)
          for (uint32_t i = 0; i < kK; ++i)
            put(half, a, "bf16", row, i, A[(block * rows + row) * kK + i] = element("bf16"));
        for (uint32_t column = 0; column < columns; ++column)
          for (uint32_t i = 0; i < kK; ++i)
            put(half, b, "bf16", column, i,
                B[(block * columns + column) * kK + i] = element("bf16"));
        std::copy(half.begin(), half.end(), shared.begin() + block * kImageBytes);
      }
      std::vector<uint32_t> cells(2 * 128 * 256);
      for (uint32_t &cell : cells)
        cell = std::bit_cast<uint32_t>(static_cast<float>(random_() % 4096) - 2048);
      std::string body =
          fillTensor(kN) + kBarrier + "and.pred %one, %one, %even;\n" +
          "@%one tcgen05.mma.cta_group::2.kind::f16 [%ta], %da, %db, %id, %f;\nmov.u32 %z, 3;\n"
          "@%one "
          "tcgen05.commit.cta_group::2.mbarrier::arrive::one.shared::cluster.multicast::cluster"
          ".b64 [%b], %z;\n" +
          kAwait + kFence + readTensor(kN);
      std::string text = pairKernel(body);
      KernelRun run(text);
      run.options.asyncOrder = order;
      uint64_t image = run.upload(shared), in = run.upload(cells);
      uint64_t out = run.upload(std::vector<uint32_t>(cells.size(), 0));
      run.runCleanly(
          {2, 1, 1}, {128, 1, 1},
          {image, in, out, a.tensorDescriptor(), b.tensorDescriptor(), descriptorOf(c), 1},
          kImageBytes, {2, 1, 1});
      auto result = run.download<uint32_t>(out, cells.size());
      for (uint32_t row = 0; row < m; ++row)
        for (uint32_t column = 0; column < kN; ++column) {
          // 256 rows: a lane each. 128 rows: 64 a block, the right half of D in lanes 64 and up.
          uint32_t lane = row % rows + (m == 128 && column >= kN / 2 ? 64 : 0);
          uint32_t cell =
              ((row / rows * 128 + lane) * 256) + (m == 128 ? column % (kN / 2) : column);
          double sum = std::bit_cast<float>(cells[cell]);
          for (uint32_t i = 0; i < kK; ++i)
            sum += valueOf("bf16", A[row * kK + i]) * valueOf("bf16", B[column * kK + i]);
          ASSERT_EQ(result[cell], std::bit_cast<uint32_t>(static_cast<float>(sum)))
              << "m " << m << " row " << row << " column " << column;
        }
    }
}

TEST_F(TensorCore5, ReportsWhatIsWrong) {
  Case c{.n = 16, .width = 32};
  MatrixImage a = imageOf(c, 0, false, 128, 16), b = imageOf(c, kBStart, false, 16, 16);
  auto violation = [&](const std::string &body, uint32_t instruction,
                       const std::string &release = "512") -> std::string {
    KernelRun run(tensorKernel(body, release));
    uint64_t image = run.upload(std::vector<uint8_t>(kImageBytes, 0)),
             in = run.upload(std::vector<uint32_t>(128 * 256, 0));
    uint64_t out = run.upload(std::vector<uint32_t>(128 * 256, 0));
    Report report = run.run(
        {1, 1, 1}, {128, 1, 1},
        {image, in, out, a.tensorDescriptor(), b.tensorDescriptor(), instruction, 1}, kImageBytes);
    return report.violation ? report.violation->toString() : "";
  };
  uint32_t good = descriptorOf(c);
  std::string mma = "@%one tcgen05.mma.cta_group::1.kind::f16 [%ta], %da, %db, %id, %f;\n";
  std::string filled = fillTensor(16) + kBarrier;
  auto has = [](const std::string &text, const char *part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_EQ(violation(filled + mma + kCommit + kAwait + kFence + readTensor(16), good), "");
  // No wait for the mbarrier; no fence; nobody wrote D; never given back; freed twice.
  EXPECT_TRUE(has(violation(filled + mma + kCommit + kFence + readTensor(16), good),
                  "not been waited for"));
  EXPECT_TRUE(
      has(violation(filled + mma + kCommit + kAwait + readTensor(16), good), "after_thread_sync"));
  EXPECT_TRUE(
      has(violation(mma + kCommit + kAwait + kFence + readTensor(16), good), "nobody wrote"));
  EXPECT_TRUE(has(violation(filled, good, ""), "without tcgen05.dealloc"));
  EXPECT_TRUE(has(violation(filled, good, "256"), "no tcgen05.alloc returned"));
  EXPECT_TRUE(has(
      violation(filled + "@%w0 tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%x], 32;\n",
                good),
      "relinquish"));
  // A warp that reaches for another's lanes; a load not waited for before the next product.
  EXPECT_TRUE(has(violation(filled + "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r0}, [%ta];\n", good),
                  "reaches the lanes"));
  EXPECT_TRUE(
      has(violation(filled + "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r0}, [%tw];\nbar.sync 0;\n" +
                        mma + kCommit,
                    good),
          "no tcgen05.wait"));
  // What one warp stored and another's product reads: both fences are needed around the barrier.
  std::string end = mma + kCommit + kAwait + kFence + readTensor(16);
  EXPECT_TRUE(has(violation(fillTensor(16) + "bar.sync 0;\n" + kFence + end, good),
                  "before_thread_sync lies"));
  EXPECT_TRUE(has(
      violation(fillTensor(16) + "tcgen05.fence::before_thread_sync;\nbar.sync 0;\n" + end, good),
      "after_thread_sync since it synchronised"));
  // Descriptors.
  EXPECT_TRUE(has(violation(filled + mma + kCommit, good | 1u << 23), "reserved bits"));
  EXPECT_TRUE(has(violation(filled + mma + kCommit, (good & ~(31u << 24)) | 2u << 24), "no shape"));
  EXPECT_TRUE(
      has(violation(filled + mma + kCommit, good & ~(3u << 4) & ~(7u << 10)), "no such types"));
}

} // namespace
} // namespace platen::ptxsim
