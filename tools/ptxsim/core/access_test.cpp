// Checks of plain accesses: bounds, alignment, initialised bits, spaces, counters; atomics.
#include "tools/ptxsim/core/simulator_testing.h"

namespace platen::ptxsim {
namespace {

const char *kAddress = "mul.wide.u32 %rd10, %r0, 4;\nadd.s64 %rd11, %rd0, %rd10;\n"
                       "add.s64 %rd12, %rd1, %rd10;\n";
std::string copy() {
  return std::string(kAddress) + "ld.global.u32 %r1, [%rd11];\nst.global.u32 [%rd12], %r1;\n";
}

TEST(Access, InBounds) {
  Bench b(copy());
  b.buffer<uint32_t>(0, 32, std::vector<uint32_t>(32, 9));
  b.buffer<uint32_t>(1, 32);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(1, 32), std::vector<uint32_t>(32, 9));
}

TEST(Access, OneElementTooFar) {
  Bench loads(copy());
  loads.buffer<uint32_t>(0, 31, std::vector<uint32_t>(31, 9));
  loads.buffer<uint32_t>(1, 32);
  Report report = loads.run();
  ASSERT_TRUE(report.violation);
  EXPECT_EQ(report.violation->kind, ViolationKind::kOutOfBounds);
  EXPECT_EQ(report.violation->lane, 31u);
  expectContains(report.violation->toString(), "ld.global.u32");
  expectContains(report.violation->toString(), "0 bytes past the end of the allocation of 124");
  Bench stores(copy());
  stores.buffer<uint32_t>(0, 32, std::vector<uint32_t>(32, 9));
  stores.buffer<uint32_t>(1, 31);
  expectContains(stores.violation(), "write of 4 bytes");
}

TEST(Access, UninitialisedBytesAreNamed) {
  Bench b(copy());
  b.buffer<uint32_t>(0, 32, std::vector<uint32_t>(17, 9));
  b.buffer<uint32_t>(1, 32);
  Report report = b.run();
  ASSERT_TRUE(report.violation);
  EXPECT_EQ(report.violation->kind, ViolationKind::kUninitialisedRead);
  EXPECT_EQ(report.violation->lane, 17u);
  b.options.checkInitialised = false;
  EXPECT_EQ(b.violation(), "");
}

TEST(Access, VectorsAreAligned) {
  std::string text = "mul.wide.u32 %rd10, %r0, 16;\nadd.s64 %rd11, %rd0, %rd10;\n"
                     "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd11+OFF];\n"
                     "add.u32 %r1, %r1, %r4;\nmul.wide.u32 %rd10, %r0, 4;\n"
                     "add.s64 %rd12, %rd1, %rd10;\nst.global.u32 [%rd12], %r1;\n";
  std::vector<uint32_t> values(132);
  for (uint32_t i = 0; i < values.size(); ++i)
    values[i] = i;
  for (int offset : {0, 4, 16}) {
    std::string body = text;
    body.replace(body.find("OFF"), 3, std::to_string(offset));
    Bench b(body);
    b.buffer<uint32_t>(0, 132, values);
    b.buffer<uint32_t>(1, 32);
    std::string violation = b.violation();
    if (offset == 4) {
      expectContains(violation, "misaligned");
      continue;
    }
    ASSERT_EQ(violation, "");
    EXPECT_EQ(b.read<uint32_t>(1, 32)[5], 40u + 3 + static_cast<uint32_t>(offset) / 2);
  }
}

TEST(Access, NarrowLoadsExtendNarrowStoresTruncate) {
  Bench b("cvt.u64.u32 %rd10, %r0;\nadd.s64 %rd11, %rd0, %rd10;\nld.global.s8 %r1, [%rd11];\n"
          "mul.wide.u32 %rd13, %r0, 4;\nadd.s64 %rd12, %rd1, %rd13;\nst.global.u32 [%rd12], %r1;\n"
          "ld.global.u8 %h1, [%rd11];\nadd.s64 %rd14, %rd2, %rd10;\nst.global.u8 [%rd14], %h1;\n"
          "ld.global.s8 %rd15, [%rd11];\n");
  std::vector<uint8_t> values(32);
  for (uint32_t i = 0; i < 32; ++i)
    values[i] = static_cast<uint8_t>(i * 9);
  b.buffer<uint8_t>(0, 32, values);
  b.buffer<uint32_t>(1, 32);
  b.buffer<uint8_t>(2, 32);
  ASSERT_EQ(b.violation(), "");
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(static_cast<int32_t>(b.read<uint32_t>(1, 32)[i]), static_cast<int8_t>(i * 9));
  EXPECT_EQ(b.read<uint8_t>(2, 32), values);
}

TEST(Access, SharedMemoryHasBoundsToo) {
  std::string text = ".shared .align 4 .b32 tile[32];\nmov.u32 %r2, tile;\nshl.b32 %r3, %r0, 2;\n"
                     "add.u32 %r2, %r2, %r3;\nst.shared.u32 [%r2+OFF], %r0;\n";
  for (int offset : {0, 4}) {
    std::string body = text;
    body.replace(body.find("OFF"), 3, std::to_string(offset));
    std::string violation = Bench(body).violation();
    if (offset == 0)
      EXPECT_EQ(violation, "");
    else
      expectContains(violation, "out-of-bounds");
  }
}

TEST(Access, SharedMemoryBeginsUninitialised) {
  expectContains(
      Bench(".shared .align 4 .b32 tile[32];\nld.shared.u32 %r1, [tile+8];\n").violation(),
      "uninitialised-read");
}

TEST(Access, DynamicSharedMemoryFollowsTheStatic) {
  Bench b(".shared .align 4 .b32 own[4];\nmov.u32 %r2, dyn;\nmov.u32 %r1, %dynamic_smem_size;\n"
          "add.u32 %r1, %r1, %r2;\nst.shared.u32 [%r2+60], %r1;\nst.global.u32 [%rd0], %r1;\n",
          "", ".extern .shared .align 16 .b8 dyn[];\n");
  b.launch.dynamicSharedBytes = 64;
  b.launch.block = {1, 1, 1};
  b.buffer<uint32_t>(0, 1);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 1)[0], 64u + 16);
  b.launch.dynamicSharedBytes = 60;
  expectContains(b.violation(), "out-of-bounds");
}

TEST(Access, LocalMemoryIsEachLanesOwn) {
  Bench b(".local .align 4 .b32 spill[4];\nmov.u64 %rd20, spill;\ncvta.local.u64 %rd21, %rd20;\n"
          "st.local.u32 [%rd20+4], %r0;\nld.u32 %r1, [%rd21+4];\n" +
          std::string(kAddress) + "st.global.u32 [%rd12], %r1;\n");
  b.buffer<uint32_t>(1, 32);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(1, 32)[21], 21u);
  EXPECT_NE(Bench(".local .align 4 .b32 spill[4];\nld.local.u32 %r1, [spill];").violation(), "");
}

TEST(Access, GenericAddressesFindTheirSpace) {
  Bench b(".shared .align 4 .b32 tile[32];\nmov.u64 %rd20, tile;\ncvta.shared.u64 %rd21, %rd20;\n"
          "isspacep.shared %p1, %rd21;\nisspacep.global %p2, %rd1;\nisspacep.shared %p3, %rd1;\n"
          "mul.wide.u32 %rd22, %r0, 4;\nadd.s64 %rd21, %rd21, %rd22;\nst.u32 [%rd21], %r0;\n"
          "ld.u32 %r1, [%rd21];\n@!%p1 trap;\n@!%p2 trap;\n@%p3 trap;\n" +
          std::string(kAddress) + "st.u32 [%rd12], %r1;\n");
  b.buffer<uint32_t>(1, 32);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(1, 32)[30], 30u);
}

TEST(Access, ConstantsAndGlobalsOfTheModule) {
  Bench b(
      "ld.const.u32 %r1, [table+4];\nmov.u64 %rd20, counter;\natom.global.add.u32 %r2, [%rd20], "
      "%r1;\nld.global.u64 %rd21, [pointer];\nld.global.u32 %r3, [%rd21];\n"
      "st.global.u32 [%rd1], %r3;\n",
      "",
      ".const .align 4 .u32 table[2] = {7, 8};\n.global .align 4 .u32 counter = 5;\n"
      ".global .align 8 .u64 pointer = counter;\n");
  b.launch.block = {4, 1, 1};
  b.buffer<uint32_t>(1, 1);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(1, 1)[0], 5u + 4 * 8);
}

TEST(Access, OtherDevicesMemoryNeedsPeerAccess) {
  Bench b(copy());
  b.pointers[0] = b.memory.allocate(128, 1).value();
  ASSERT_TRUE(b.memory.fill(b.pointers[0], 1, 128).isOk());
  b.buffer<uint32_t>(1, 32);
  expectContains(b.violation(), "belongs to device 1");
  b.launch.mayAccess = [](int owner) { return owner == 1; };
  EXPECT_EQ(b.violation(), "");
}

TEST(Access, SectorsAndWavesAreCounted) {
  auto report = [](const std::string &scale) {
    Bench b(".shared .align 4 .b32 tile[1024];\nmul.lo.u32 %r2, %r0, " + scale +
            ";\nmov.u32 %r3, tile;\nadd.u32 %r3, %r3, %r2;\nst.shared.u32 [%r3], %r0;\n"
            "cvt.u64.u32 %rd10, %r2;\nadd.s64 %rd10, %rd0, %rd10;\nld.global.u32 %r1, [%rd10];\n");
    b.options.counters = true;
    b.buffer<uint32_t>(0, 1024, std::vector<uint32_t>(1024, 1));
    Report r = b.run();
    EXPECT_FALSE(r.violation);
    return r.counters;
  };
  EXPECT_EQ(report("4").globalLoadSectors, 4u);
  EXPECT_EQ(report("128").globalLoadSectors, 32u);
  EXPECT_EQ(report("4").sharedStoreWaves, 1u);
  EXPECT_EQ(report("8").sharedStoreWaves, 2u);
  EXPECT_EQ(report("128").sharedStoreWaves, 32u);
  EXPECT_EQ(report("4").globalLoadRequests, 1u);
  Counters c = report("4");
  uint64_t sum = 0;
  for (uint64_t count : c.byPipe)
    sum += count;
  EXPECT_EQ(sum, c.warpInstructions);
  expectContains(c.toJson(), "\"global_load_sectors\": 4");
  expectContains(c.toTable(), "waves_per_shared_store");
}

template <class T> T atomic(const std::string &text, T initial) {
  Bench b("cvt.rn.f32.u32 %f0, %r0;\n" + text);
  b.buffer<T>(0, 4, std::vector<T>(4, initial));
  EXPECT_EQ(b.violation(), "") << text;
  return b.read<T>(0, 1)[0];
}

TEST(Atomics, EveryLaneCounts) {
  EXPECT_EQ(atomic<uint32_t>("atom.global.add.u32 %r1, [%rd0], %r0;", 3), 3u + 496);
  EXPECT_EQ(atomic<uint32_t>("red.global.max.u32 [%rd0], %r0;", 3), 31u);
  EXPECT_EQ(atomic<int32_t>("red.global.min.s32 [%rd0], -7;", 3), -7);
  EXPECT_EQ(atomic<uint32_t>("red.global.min.u32 [%rd0], %r0;", 3), 0u);
  EXPECT_EQ(atomic<uint32_t>("red.global.or.b32 [%rd0], %r0;", 64), 95u);
  EXPECT_EQ(atomic<uint32_t>("red.global.and.b32 [%rd0], 12;", 7), 4u);
  EXPECT_EQ(atomic<uint32_t>("red.global.xor.b32 [%rd0], %r0;", 5), 5u);
  EXPECT_EQ(atomic<uint32_t>("red.global.inc.u32 [%rd0], 6;", 0), 32u % 7);
  EXPECT_EQ(atomic<uint32_t>("atom.global.exch.b32 %r1, [%rd0], %r0;", 0), 31u);
  EXPECT_EQ(atomic<uint32_t>("atom.global.cas.b32 %r1, [%rd0], %r0, 77;", 3), 77u);
  EXPECT_EQ(atomic<uint64_t>("cvt.u64.u32 %rd5, %r0;\nred.global.add.u64 [%rd0], %rd5;",
                             uint64_t{1} << 40),
            (uint64_t{1} << 40) + 496);
  EXPECT_EQ(atomic<float>("red.global.add.f32 [%rd0], %f0;", 0.5f), 496.5f);
  EXPECT_EQ(atomic<uint16_t>("mov.b16 %h1, 0x3C00;\nred.global.add.noftz.f16 [%rd0], %h1;", 0),
            0x5000u); // 32
  EXPECT_EQ(
      atomic<uint32_t>("mov.b32 %r5, 0x3F803F80;\nred.global.add.noftz.bf16x2 [%rd0], %r5;", 0),
      0x42004200u);
  EXPECT_EQ(atomic<uint16_t>("mov.b16 %h1, 0;\nmov.b16 %h2, 9;\natom.global.cas.b16 %h3, [%rd0], "
                             "%h1, %h2;",
                             0),
            9u);
}

TEST(Atomics, VectorsAndResults) {
  Bench b("cvt.rn.f32.u32 %f0, %r0;\nred.global.add.v2.f32 [%rd0], {%f0, 0f3F800000};\n"
          "atom.global.add.u32 %r1, [%rd1], 1;\n@!%p0 mov.u32 %r2, 0;\n");
  b.buffer<float>(0, 2, {0, 0});
  b.buffer<uint32_t>(1, 1, {0});
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<float>(0, 2), (std::vector<float>{496, 32}));
  EXPECT_EQ(b.read<uint32_t>(1, 1)[0], 32u);
}

TEST(Atomics, SharedAndMisaligned) {
  Bench b(".shared .align 4 .b32 n[2];\nsetp.eq.u32 %p1, %r0, 0;\n@%p1 st.shared.u32 [n], 0;\n"
          "bar.sync 0;\natom.shared.add.u32 %r1, [n], 1;\nbar.sync 0;\nld.shared.u32 %r2, [n];\n"
          "st.global.u32 [%rd0], %r2;\n");
  b.launch.block = {96, 1, 1};
  b.buffer<uint32_t>(0, 1);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 1)[0], 96u);
  Bench bad("red.global.add.u32 [%rd0+2], 1;");
  bad.buffer<uint32_t>(0, 2, {0, 0});
  expectContains(bad.violation(), "misaligned");
}

} // namespace
} // namespace platen::ptxsim
