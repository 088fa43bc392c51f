// Races that are looked for on request: between the lanes of a warp, between blocks on global
// memory.
#include "tools/ptxsim/core/simulator_testing.h"

namespace platen::ptxsim {
namespace {

// ---- Lanes of one warp ------------------------------------------------------------------------

std::string lanes(const std::string &body, uint32_t threads = 32, bool check = true) {
  Bench b(".shared .align 16 .b8 tile[4096];\nmov.u32 %r2, tile;\nshl.b32 %r3, %r0, 2;\n"
          "add.u32 %r3, %r2, %r3;\nxor.b32 %r4, %r0, 1;\nshl.b32 %r4, %r4, 2;\n"
          "add.u32 %r4, %r2, %r4;\nsetp.eq.u32 %p1, %r0, 0;\nmov.b32 %r8, 0;\n" +
          body);
  b.buffer<uint32_t>(0, 1024, std::vector<uint32_t>(1024, 7));
  b.launch.block = {threads, 1, 1};
  b.options.checkLaneRaces = check;
  return b.violation();
}
const char *kStoreOwn = "st.shared.u32 [%r3], %r0;\n", *kLoadOther = "ld.shared.u32 %r5, [%r4];\n";
const std::string kWarpSync = "bar.warp.sync -1;\n";

TEST(LaneRaces, AReadNeedsAWarpBarrierAfterTheWrite) {
  EXPECT_EQ(lanes(kStoreOwn + kWarpSync + kLoadOther), "");
  EXPECT_EQ(lanes(std::string(kStoreOwn) + "bar.sync 0;\n" + kLoadOther), "");
  std::string text = lanes(std::string(kStoreOwn) + kLoadOther);
  expectContains(text, "shared-race");
  expectContains(text, "races with a write by lane 1 of the same warp");
  EXPECT_EQ(lanes(std::string(kStoreOwn) + kLoadOther, 32, false), "");
}

TEST(LaneRaces, AWriteNeedsAWarpBarrierAfterTheRead) {
  std::string begin = kStoreOwn + kWarpSync + kLoadOther;
  EXPECT_EQ(lanes(begin + kWarpSync + kStoreOwn), "");
  expectContains(lanes(begin + kStoreOwn), "races with a read by lane 1");
  expectContains(lanes(std::string(kStoreOwn) + "st.shared.u32 [%r4], %r0;\n"),
                 "races with a write by lane");
}

TEST(LaneRaces, OneLaneForAllOthers) {
  std::string begin = "@%p1 st.shared.u32 [%r2], %r0;\n", end = "ld.shared.u32 %r5, [%r2];\n";
  EXPECT_EQ(lanes(begin + kWarpSync + end), "");
  expectContains(lanes(begin + end), "races with a write by lane 0");
}

TEST(LaneRaces, ShufflesOrderNoMemory) {
  expectContains(
      lanes(std::string(kStoreOwn) + "shfl.sync.bfly.b32 %r6, %r0, 1, 31, -1;\n" + kLoadOther),
      "of the same warp");
}

TEST(LaneRaces, OwnBytesAtomicsAndOneInstructionDoNotRace) {
  EXPECT_EQ(lanes(std::string(kStoreOwn) + "ld.shared.u32 %r5, [%r3];\n" + kStoreOwn), "");
  EXPECT_EQ(lanes("st.shared.u32 [%r2], 1;\n"), ""); // all lanes at once: one of them wins
  EXPECT_EQ(lanes("@%p1 st.shared.u32 [%r2], 0;\n" + kWarpSync +
                  "atom.shared.add.u32 %r5, [%r2], 1;\natom.shared.add.u32 %r5, [%r2], 1;\n"),
            "");
  expectContains(lanes("@%p1 st.shared.u32 [%r2], 0;\natom.shared.add.u32 %r5, [%r2], 1;\n"),
                 "races with a write by lane 0");
}

TEST(LaneRaces, CopiesAreWrittenByTheirLane) {
  std::string copy = "mul.wide.u32 %rd10, %r0, 4;\nadd.s64 %rd11, %rd0, %rd10;\n"
                     "cp.async.ca.shared.global [%r3], [%rd11], 4;\ncp.async.wait_all;\n";
  EXPECT_EQ(lanes(copy + kWarpSync + kLoadOther), "");
  expectContains(lanes(copy + kLoadOther), "of the same warp");
}

TEST(LaneRaces, ABulkCopyReadsAsTheLaneThatIssuesIt) {
  std::string end = "fence.proxy.async.shared::cta;\nSYNC"
                    "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd0], [tile], 128;\n"
                    "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n";
  auto with = [&](const std::string &sync) {
    std::string text = kStoreOwn + end;
    return text.replace(text.find("SYNC"), 4, sync);
  };
  EXPECT_EQ(lanes(with(kWarpSync)), "");
  expectContains(lanes(with("")), "of the same warp");
}

// ---- Blocks on global memory ------------------------------------------------------------------

std::string blocks(const std::string &body, uint32_t count = 4, bool check = true,
                   bool cooperative = false) {
  Bench b("mov.u32 %r9, %ctaid.x;\nmul.wide.u32 %rd10, %r9, 4;\nadd.s64 %rd11, %rd0, %rd10;\n"
          "setp.eq.u32 %p1, %r0, 0;\nsetp.eq.u32 %p2, %r9, 0;\nmul.wide.u32 %rd12, %r0, 4;\n"
          "add.s64 %rd12, %rd0, %rd12;\n" +
          body);
  b.buffer<uint32_t>(0, 256, std::vector<uint32_t>(256, 7));
  b.buffer<uint32_t>(1, 4, std::vector<uint32_t>(4, 0));
  b.launch.grid = {count, 1, 1};
  b.launch.cooperative = cooperative;
  b.options.checkGlobalRaces = check;
  return b.violation();
}

TEST(GlobalRaces, TwoBlocksWriteOneWord) {
  EXPECT_EQ(blocks("@%p1 st.global.u32 [%rd11], %r9;\n"), "");
  std::string text = blocks("st.global.u32 [%rd12], %r9;\n");
  expectContains(text, "global-race");
  expectContains(text, "races with a write by block 0");
  EXPECT_EQ(blocks("st.global.u32 [%rd12], %r9;\n", 4, false), "");
  EXPECT_EQ(blocks("st.global.u32 [%rd12], %r9;\n", 1), "");
}

TEST(GlobalRaces, ReadsAndWritesRace) {
  expectContains(blocks("@%p2 st.global.u32 [%rd12], 1;\nld.global.u32 %r5, [%rd12];\n"),
                 "this read of global address");
  // Several blocks have read what the last one writes.
  expectContains(blocks("ld.global.u32 %r5, [%rd12];\nsetp.eq.u32 %p3, %r9, 3;\n"
                        "@%p3 st.global.u32 [%rd12], 1;\n"),
                 "races with a read by other blocks");
  EXPECT_EQ(blocks("ld.global.u32 %r5, [%rd12];\n"), "");
}

TEST(GlobalRaces, AtomicsDoNotRaceWithOneAnother) {
  EXPECT_EQ(blocks("atom.global.add.u32 %r5, [%rd1], 1;\nred.global.add.u32 [%rd1], 1;\n"), "");
  expectContains(blocks("@%p2 st.global.u32 [%rd1], 1;\n@!%p2 red.global.add.u32 [%rd1], 1;\n"),
                 "global-race");
}

TEST(GlobalRaces, HalfWordsOfOneWord) {
  EXPECT_EQ(blocks("mul.wide.u32 %rd13, %r9, 2;\nadd.s64 %rd13, %rd0, %rd13;\nmov.b16 %h1, 5;\n"
                   "@%p1 st.global.b16 [%rd13], %h1;\n"),
            "");
}

/// Every block writes its word; the last to take a ticket reads all of them.
std::string lastBlock(const std::string &fence) {
  return "@%p1 st.global.u32 [%rd11], %r9;\n" + fence +
         "mov.b32 %r6, 0;\n@%p1 atom.global.add.u32 %r6, [%rd1], 1;\n"
         "setp.ne.u32 %p4, %r6, 3;\n@%p4 bra END;\n@!%p1 bra END;\n"
         "ld.global.u32 %r5, [%rd0];\nld.global.u32 %r5, [%rd0+4];\nld.global.u32 %r5, [%rd0+8];\n"
         "END:\n";
}

TEST(GlobalRaces, TheLastBlockReadsWhatAFencePublished) {
  EXPECT_EQ(blocks(lastBlock("fence.acq_rel.gpu;\n")), "");
  EXPECT_EQ(blocks(lastBlock("membar.gl;\n")), "");
  expectContains(blocks(lastBlock("")), "global-race");
  std::string releases = lastBlock("");
  releases.replace(releases.find("atom.global.add"), 15, "atom.acq_rel.gpu.global.add");
  EXPECT_EQ(blocks(releases), "");
}

TEST(GlobalRaces, AGridBarrierOrdersTheBlocks) {
  auto text = [](const std::string &barrier) {
    return "@%p1 st.global.u32 [%rd11], %r9;\n" + barrier +
           "xor.b32 %r7, %r9, 1;\nmul.wide.u32 %rd13, %r7, 4;\nadd.s64 %rd13, %rd0, %rd13;\n"
           "@%p1 ld.global.u32 %r5, [%rd13];\n";
  };
  EXPECT_EQ(blocks(text("fence.acq_rel.gpu;\n@%p1 red.global.add.u32 [%rd1], 1;\n"
                        "POLL:\nld.acquire.gpu.global.u32 %r5, [%rd1];\nsetp.lt.u32 %p5, %r5, 4;\n"
                        "@%p5 bra POLL;\n"),
                   4, true, true),
            "");
  expectContains(blocks(text(""), 4, true, true), "global-race");
}

} // namespace
} // namespace platen::ptxsim
