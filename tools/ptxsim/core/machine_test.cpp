// Divergence, barriers, clusters, ends of kernels.
#include "tools/ptxsim/core/simulator_testing.h"

#include <numeric>

namespace platen::ptxsim {
namespace {

/// Stores %r1 at p0[thread].
const char *kStore = "mul.wide.u32 %rd10, %r0, 4;\nadd.s64 %rd10, %rd0, %rd10;\n"
                     "st.global.u32 [%rd10], %r1;\n";

TEST(Machine, LoopsOfDifferentLengthsMeetAgain) {
  // Lane l adds l + 1 ones; all lanes shuffle afterwards, so they must have met.
  Bench b(std::string("mov.u32 %r1, 0;\nLOOP:\nadd.u32 %r1, %r1, 1;\nsetp.le.u32 %p1, %r1, %r0;\n"
                      "@%p1 bra LOOP;\nbar.warp.sync 0xffffffff;\n") +
          kStore);
  b.buffer<uint32_t>(0, 32);
  b.options.counters = true;
  Report report = b.run();
  ASSERT_FALSE(report.violation) << report.violation->toString();
  std::vector<uint32_t> expected(32);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(b.read<uint32_t>(0, 32), expected);
  EXPECT_EQ(report.counters.divergentBranches, 31u);
  EXPECT_EQ(report.counters.branches, 32u);
}

TEST(Machine, BothSidesOfABranchRun) {
  Bench b(std::string("and.b32 %r2, %r0, 1;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra EVEN;\n"
                      "mov.u32 %r1, 100;\nbra.uni END;\nEVEN:\nmov.u32 %r1, 200;\nEND:\n") +
          kStore);
  b.buffer<uint32_t>(0, 32);
  ASSERT_EQ(b.violation(), "");
  auto values = b.read<uint32_t>(0, 32);
  for (uint32_t l = 0; l < 32; ++l)
    EXPECT_EQ(values[l], l % 2 ? 100u : 200u);
}

TEST(Machine, BranchTable) {
  Bench b(std::string("and.b32 %r2, %r0, 3;\nTS: .branchtargets A, B, C, D;\n"
                      "brx.idx %r2, TS;\nA: mov.u32 %r1, 5;\nbra E;\nB: mov.u32 %r1, 6;\nbra E;\n"
                      "C: mov.u32 %r1, 7;\nbra E;\nD: mov.u32 %r1, 8;\nE:\n") +
          kStore);
  b.buffer<uint32_t>(0, 32);
  ASSERT_EQ(b.violation(), "");
  auto values = b.read<uint32_t>(0, 32);
  for (uint32_t l = 0; l < 32; ++l)
    EXPECT_EQ(values[l], 5 + l % 4);
}

TEST(Machine, CallsAreInlined) {
  Bench b(std::string("{\n.param .b32 a;\n.param .b32 r;\nst.param.b32 [a], %r0;\n"
                      "call.uni (r), twice, (a);\nld.param.b32 %r1, [r];\n}\n") +
              kStore,
          "",
          ".func (.param .b32 result) twice(.param .b32 x)\n{\n.reg .b32 %q<3>;\n"
          "ld.param.b32 %q1, [x];\nadd.u32 %q2, %q1, %q1;\nst.param.b32 [result], %q2;\nret;\n}\n");
  b.buffer<uint32_t>(0, 32);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 32)[21], 42u);
}

TEST(Machine, SpecialRegisters) {
  Bench b("mov.u32 %r2, %ctaid.y;\nmov.u32 %r3, %nctaid.x;\nmov.u32 %r4, %ctaid.x;\n"
          "mad.lo.u32 %r5, %r2, %r3, %r4;\nmov.u32 %r6, %ntid.x;\nmad.lo.u32 %r0, %r5, %r6, %r0;\n"
          "mov.u32 %r1, %warpid;\n" +
          std::string(kStore));
  b.launch.grid = {2, 3, 1};
  b.launch.block = {48, 1, 1};
  b.buffer<uint32_t>(0, 288);
  ASSERT_EQ(b.violation(), "");
  auto values = b.read<uint32_t>(0, 288);
  for (uint32_t i = 0; i < 288; ++i)
    EXPECT_EQ(values[i], i % 48 / 32) << i;
}

// The reversal of a block through shared memory; `barrier` stands between.
std::string reversal(const std::string &barrier) {
  return ".shared .align 4 .b32 tile[128];\nmov.u32 %r2, tile;\nshl.b32 %r3, %r0, 2;\n"
         "add.u32 %r4, %r2, %r3;\nst.shared.u32 [%r4], %r0;\n" +
         barrier + "\nsub.u32 %r5, 508, %r3;\nadd.u32 %r5, %r2, %r5;\nld.shared.u32 %r1, [%r5];\n" +
         kStore;
}

TEST(Machine, ABarrierOrdersWarps) {
  Bench b(reversal("bar.sync 0;"));
  b.launch.block = {128, 1, 1};
  b.buffer<uint32_t>(0, 128);
  ASSERT_EQ(b.violation(), "");
  auto values = b.read<uint32_t>(0, 128);
  for (uint32_t i = 0; i < 128; ++i)
    EXPECT_EQ(values[i], 127 - i);
}

TEST(Machine, AMissingBarrierIsARace) {
  for (AsyncOrder order : {AsyncOrder::kEarliest, AsyncOrder::kLatest, AsyncOrder::kRandom}) {
    Bench b(reversal(""));
    b.options.asyncOrder = order;
    b.launch.block = {128, 1, 1};
    b.buffer<uint32_t>(0, 128);
    std::string text = b.violation();
    EXPECT_TRUE(text.find("shared-race") == 0 || text.find("uninitialised-read") == 0) << text;
  }
}

TEST(Machine, NamedBarriersWithCounts) {
  // Warps 0 and 1 exchange over barrier 1 while warps 2 and 3 use barrier 2.
  Bench b("shr.u32 %r8, %r0, 6;\nadd.u32 %r8, %r8, 1;\n" +
          reversal("bar.sync %r8, 64;\nbar.sync 0;"));
  b.launch.block = {128, 1, 1};
  b.buffer<uint32_t>(0, 128);
  EXPECT_EQ(b.violation(), "");
}

TEST(Machine, ProducersArriveConsumersWait) {
  std::string body = "shr.u32 %r8, %r0, 5;\nsetp.eq.u32 %p1, %r8, 0;\n"
                     ".shared .align 4 .b32 tile[32];\nmov.u32 %r2, tile;\nand.b32 %r3, %r0, 31;\n"
                     "shl.b32 %r3, %r3, 2;\nadd.u32 %r2, %r2, %r3;\n@!%p1 bra CONSUME;\n"
                     "st.shared.u32 [%r2], 7;\nbar.arrive 3, 64;\nbra END;\nCONSUME:\n"
                     "bar.sync 3, 64;\nld.shared.u32 %r1, [%r2];\n" +
                     std::string(kStore) + "END:\n";
  Bench b(body);
  b.launch.block = {64, 1, 1};
  b.buffer<uint32_t>(0, 64);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 64)[40], 7u);
}

TEST(Machine, BarriersReduce) {
  Bench b(std::string("setp.lt.u32 %p1, %r0, 40;\nbar.red.popc.u32 %r1, 0, %p1;\n"
                      "bar.red.and.pred %p2, 0, %p1;\nbar.red.or.pred %p3, 0, %p1;\n"
                      "@%p2 add.u32 %r1, %r1, 1000;\n@%p3 add.u32 %r1, %r1, 2000;\n") +
          kStore);
  b.launch.block = {64, 1, 1};
  b.buffer<uint32_t>(0, 64);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 64), std::vector<uint32_t>(64, 2040));
}

TEST(Machine, AWaitThatNobodyEndsIsADeadlock) {
  Bench b("setp.lt.u32 %p1, %r0, 32;\n@%p1 bar.sync 1, 64;\n@!%p1 bar.sync 2, 64;");
  b.launch.block = {64, 1, 1};
  std::string text = b.violation();
  expectContains(text, "deadlock");
  expectContains(text, "warp 0 waits at barrier 1");
  expectContains(text, "warp 1 waits at barrier 2");
  expectContains(text, "32 of 64 threads");
}

TEST(Machine, ADivergedBarrierIsReported) {
  Bench b("setp.lt.u32 %p1, %r0, 16;\n@%p1 bra A;\nbar.sync 0;\nbra B;\nA:\nbar.sync 0;\nB:\n");
  b.launch.block = {64, 1, 1};
  expectContains(b.violation(), "deadlock");
}

TEST(Machine, ExitedThreadsAreNotWaitedFor) {
  Bench b(std::string("setp.ge.u32 %p1, %r0, 40;\n@%p1 exit;\nbar.sync 0;\nmov.u32 %r1, 3;\n") +
          kStore);
  b.launch.block = {64, 1, 1};
  b.buffer<uint32_t>(0, 64);
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 64)[39], 3u);
}

TEST(Machine, AnEndlessLoopIsAHang) {
  Bench b("LOOP:\nbra LOOP;\n");
  b.options.warpInstructionLimit = 100000;
  std::string text = b.violation();
  expectContains(text, "hang");
  expectContains(text, "bra LOOP");
  expectContains(text, "has executed 100001 instructions");
}

TEST(Machine, ATrapNamesItsThread) {
  Bench b("setp.eq.u32 %p1, %r0, 37;\n@%p1 trap;");
  b.launch.block = {64, 1, 1};
  Report report = b.run();
  ASSERT_TRUE(report.violation);
  EXPECT_EQ(report.violation->kind, ViolationKind::kTrap);
  EXPECT_EQ(report.violation->warp, 1u);
  EXPECT_EQ(report.violation->lane, 5u);
  expectContains(report.violation->instruction, "trap");
}

TEST(Machine, UnknownInstructionsAreRefusedByName) {
  auto module = Module::parse(kernelText("frobnicate.u32 %r1, %r0;"));
  ASSERT_TRUE(module.isOk());
  ASSERT_EQ(module.value()->kernels()[0].refusals.size(), 1u);
  expectContains(module.value()->kernels()[0].refusals[0].toString(), "frobnicate.u32");
}

TEST(Machine, ASpinLockInOneWarpEnds) {
  // Lane after lane takes the lock: those that spin must let the holder go on.
  Bench b(
      "LOOP:\natom.global.cas.b32 %r2, [%rd0], 0, 1;\nsetp.ne.u32 %p1, %r2, 0;\n@%p1 bra LOOP;\n"
      "ld.volatile.global.u32 %r3, [%rd0+4];\nadd.u32 %r3, %r3, 1;\n"
      "st.volatile.global.u32 [%rd0+4], %r3;\natom.global.exch.b32 %r2, [%rd0], 0;\n");
  b.options.warpInstructionLimit = uint64_t{1} << 32;
  b.buffer<uint32_t>(0, 2, {0, 0});
  ASSERT_EQ(b.violation(), "");
  EXPECT_EQ(b.read<uint32_t>(0, 2)[1], 32u);
}

TEST(Machine, CooperativeBlocksProgressTogether) {
  // A barrier over the grid: every block waits for all.
  Bench b("atom.global.add.u32 %r2, [%rd0], 1;\nLOOP:\nld.acquire.gpu.global.u32 %r3, [%rd0];\n"
          "setp.lt.u32 %p1, %r3, 128;\n@%p1 bra LOOP;\n");
  b.launch.grid = {4, 1, 1};
  b.launch.cooperative = true;
  b.options.warpInstructionLimit = uint64_t{1} << 32;
  b.buffer<uint32_t>(0, 1, {0});
  EXPECT_EQ(b.violation(), "");
}

TEST(Machine, HostThreadsShareTheGrid) {
  for (unsigned threads : {1u, 4u}) {
    Bench b("mov.u32 %r4, %ctaid.x;\nmad.lo.u32 %r0, %r4, 32, %r0;\nmov.u32 %r1, %r0;\n"
            "red.global.add.u32 [%rd1], %r4;\n" +
            std::string(kStore));
    b.options.threads = threads;
    b.launch.grid = {100, 1, 1};
    b.buffer<uint32_t>(0, 3200);
    b.buffer<uint32_t>(1, 1, {0});
    Report report = b.run();
    ASSERT_FALSE(report.violation);
    EXPECT_EQ(report.counters.blocks, 100u);
    EXPECT_EQ(b.read<uint32_t>(1, 1)[0], 4950u * 32);
    std::vector<uint32_t> expected(3200);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(b.read<uint32_t>(0, 3200), expected);
  }
}

TEST(Cluster, DistributedSharedMemory) {
  std::string body = ".shared .align 4 .b32 tile[32];\nmov.u32 %r2, tile;\nshl.b32 %r3, %r0, 2;\n"
                     "add.u32 %r2, %r2, %r3;\nmov.u32 %r4, %cluster_ctarank;\n"
                     "mad.lo.u32 %r5, %r4, 100, %r0;\nst.shared.u32 [%r2], %r5;\n";
  std::string rest = "xor.b32 %r6, %r4, 1;\nmapa.shared::cluster.u32 %r7, %r2, %r6;\n"
                     "ld.shared::cluster.u32 %r1, [%r7];\nbarrier.cluster.arrive.aligned;\n"
                     "barrier.cluster.wait.aligned;\nmad.lo.u32 %r0, %r4, 32, %r0;\n" +
                     std::string(kStore);
  std::string sync =
      "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n";
  Bench good(body + sync + rest);
  good.launch.grid = good.launch.cluster = {2, 1, 1};
  good.buffer<uint32_t>(0, 64);
  ASSERT_EQ(good.violation(), "");
  auto values = good.read<uint32_t>(0, 64);
  EXPECT_EQ(values[5], 105u);
  EXPECT_EQ(values[37], 5u);
  Bench bad(body + rest);
  bad.launch.grid = bad.launch.cluster = {2, 1, 1};
  bad.buffer<uint32_t>(0, 64);
  EXPECT_NE(bad.violation(), "");
}

TEST(Cluster, ABlockThatHasEndedIsNotRead) {
  Bench b(".shared .align 4 .b32 tile[32];\nmov.u32 %r2, tile;\nst.shared.u32 [%r2], 1;\n"
          "barrier.cluster.arrive;\nbarrier.cluster.wait;\nmov.u32 %r4, %cluster_ctarank;\n"
          "setp.eq.u32 %p1, %r4, 0;\n@%p1 exit;\nnanosleep.u32 20;\n"
          "mapa.shared::cluster.u32 %r7, %r2, 0;\nld.shared::cluster.u32 %r1, [%r7];\n");
  b.launch.grid = b.launch.cluster = {2, 1, 1};
  expectContains(b.violation(), "after that block has ended");
}

TEST(Launch, LimitsAreChecked) {
  Bench b("");
  b.launch.block = {2048, 1, 1};
  std::vector<std::byte> parameters(192);
  b.launch.parameters = parameters;
  auto module = Module::parse(kernelText("", ".maxntid 64, 1, 1\n")).value();
  auto loaded = std::move(LoadedModule::load(module, b.memory, 0).value());
  auto codeOf = [&] { return run(*loaded, b.memory, b.launch, b.options).status().code(); };
  EXPECT_EQ(codeOf(), base::StatusCode::kInvalidArgument);
  b.launch.block = {128, 1, 1};
  EXPECT_EQ(codeOf(), base::StatusCode::kInvalidArgument); // .maxntid
  b.launch.block = {64, 1, 1};
  EXPECT_EQ(codeOf(), base::StatusCode::kOk);
  b.launch.dynamicSharedBytes = 1 << 20;
  EXPECT_EQ(codeOf(), base::StatusCode::kInvalidArgument);
  b.launch.dynamicSharedBytes = 0;
  b.launch.parameters = std::span(parameters).subspan(8);
  EXPECT_EQ(codeOf(), base::StatusCode::kInvalidArgument);
}

} // namespace
} // namespace platen::ptxsim
