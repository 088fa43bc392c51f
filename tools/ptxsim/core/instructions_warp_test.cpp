// Warp-level instructions: every lane's result from a definition over all lanes; teams, diverged
// lanes that meet, and what is a violation.
#include "tools/ptxsim/core/instructions_testing.h"

#include "tools/ptxsim/core/simulator.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace platen::ptxsim::testing {
namespace {

using Lanes = std::array<uint64_t, 32>;

/// Runs `body` with one warp: sources a b c (b32), w (b64), lane; results o (b32) and p
/// (predicate).
struct Outcome {
  Lanes o{}, p{};
  std::string why;
};
Outcome runWarp(const std::string &body, const Lanes &a, const Lanes &b = {}, const Lanes &c = {},
                uint32_t threads = 32) {
  std::string text =
      ".version 9.0\n.target sm_100a\n.address_size 64\n.visible .entry k(.param .u64 from_, "
      ".param .u64 to_)\n{\n"
      ".reg .b64 from, to, w; .reg .b32 a, b, c, o, lane, t; .reg .pred p, q, r;\n"
      "ld.param.u64 from, [from_]; ld.param.u64 to, [to_]; mov.u32 lane, %laneid;\n"
      "mul.wide.u32 w, lane, 8; add.u64 from, from, w; add.u64 to, to, w;\n"
      "ld.global.b64 w, [from]; ld.global.b32 a, [from]; ld.global.b32 b, [from+256]; "
      "ld.global.b32 c, [from+512];\n"
      "mov.b32 o, 0xA5A5A5A5; setp.ne.u32 p, lane, lane; and.b32 t, a, 1; setp.ne.u32 q, t, 0;\n" +
      body + "\nst.global.b32 [to], o; selp.b32 t, 1, 0, p; st.global.b32 [to+256], t;\nret;\n}\n";
  Outcome outcome;
  auto module = Module::parse(text);
  if (!module.isOk()) {
    outcome.why = module.status().toString();
    return outcome;
  }
  for (const Refusal &refusal : (*module)->kernel("k")->refusals)
    outcome.why += refusal.toString();
  if (!outcome.why.empty())
    return outcome;
  Memory memory;
  auto loaded = LoadedModule::load(*module, memory, 0);
  uint64_t from = *memory.allocate(768, 0), to = *memory.allocate(512, 0),
           parameters[2] = {from, to};
  EXPECT_TRUE(memory.write(from, a.data(), 256).isOk() &&
              memory.write(from + 256, b.data(), 256).isOk() &&
              memory.write(from + 512, c.data(), 256).isOk() && memory.fill(to, 0, 512).isOk());
  Launch launch;
  launch.kernel = "k";
  launch.block.x = threads;
  launch.parameters = std::as_bytes(std::span(parameters));
  auto report = run(**loaded, memory, launch, {});
  outcome.why = !report.isOk()      ? report.status().toString()
                : report->violation ? report->violation->toString()
                                    : "";
  EXPECT_TRUE(memory.read(to, outcome.o.data(), 256).isOk() &&
              memory.read(to + 256, outcome.p.data(), 256).isOk());
  return outcome;
}

Lanes randomLanes(uint64_t seed, uint64_t mask = 0xFFFFFFFF) {
  std::mt19937_64 random(seed);
  Lanes lanes;
  for (uint64_t &lane : lanes)
    lane = random() & mask;
  return lanes;
}
Lanes same(uint64_t value) {
  Lanes lanes;
  lanes.fill(value);
  return lanes;
}

TEST(WarpInstructions, ShuffleMovesValuesAsDefined) {
  Lanes a = randomLanes(1), b = randomLanes(2, 0x3F);
  for (const char *mode : {"up", "down", "bfly", "idx"})
    for (uint64_t c : {0x1F, 0x0, 0x181F, 0x1C1F, 0x1007, 0x1F00, 0x0C03, 0x180F}) {
      Outcome got = runWarp(std::string("shfl.sync.") + mode + ".b32 o|p, a, b, c, 0xFFFFFFFF;", a,
                            b, same(c));
      ASSERT_EQ(got.why, "");
      for (int lane = 0; lane < 32; ++lane) {
        int distance = static_cast<int>(b[static_cast<size_t>(lane)] & 31),
            clamp = static_cast<int>(c & 31);
        int segment = static_cast<int>(c >> 8 & 31), j = 0;
        int most = (lane & segment) | (clamp & ~segment), least = lane & segment;
        bool inside = false;
        std::string m = mode;
        if (m == "up")
          j = lane - distance, inside = j >= most;
        else if (m == "down")
          j = lane + distance, inside = j <= most;
        else if (m == "bfly")
          j = lane ^ distance, inside = j <= most;
        else
          j = least | (distance & ~segment), inside = j <= most;
        if (!inside)
          j = lane;
        EXPECT_EQ(got.p[static_cast<size_t>(lane)], inside) << mode << " " << lane << " " << c;
        if (j >= 0 && j < 32) {
          EXPECT_EQ(got.o[static_cast<size_t>(lane)], a[static_cast<size_t>(j)])
              << mode << " " << lane << " " << c;
        }
      }
    }
}

TEST(WarpInstructions, TeamsOfOneInstructionShuffleApart) {
  // Two teams of 16 lanes name themselves; each reads within itself.
  Lanes a = randomLanes(3), members;
  for (size_t l = 0; l < 32; ++l)
    members[l] = l < 16 ? 0xFFFF : 0xFFFF0000;
  Outcome got = runWarp("shfl.sync.bfly.b32 o, a, 1, 0x101F, b;", a, members);
  ASSERT_EQ(got.why, "");
  for (size_t l = 0; l < 32; ++l)
    EXPECT_EQ(got.o[l], a[l ^ 1]);
  // A value of a lane outside the team is undefined: all ones here.
  got = runWarp("shfl.sync.bfly.b32 o, a, 16, 31, b;", a, members);
  EXPECT_EQ(got.o[3], 0xFFFFFFFFu);
}

TEST(WarpInstructions, DivergedLanesMeetBeforeTheyExchange) {
  // Odd lanes take a detour that lies behind the meeting point in the text.
  std::string body = "@q bra DETOUR; BACK: shfl.sync.idx.b32 o, a, 5, 31, 0xFFFFFFFF; bra END;\n"
                     "DETOUR: add.u32 a, a, 1000; bra BACK; END:";
  Lanes a;
  for (size_t l = 0; l < 32; ++l)
    a[l] = l;
  Outcome got = runWarp(body, a);
  ASSERT_EQ(got.why, "");
  for (size_t l = 0; l < 32; ++l)
    EXPECT_EQ(got.o[l], 1005u);
}

TEST(WarpInstructions, VotesCountTheParticipants) {
  for (uint64_t seed : {4, 5, 6}) {
    Lanes a = seed == 5 ? same(0) : seed == 6 ? same(1) : randomLanes(seed);
    uint64_t ballot = 0;
    for (size_t l = 0; l < 32; ++l)
      ballot |= (a[l] & 1) << l;
    auto vote = [&](const std::string &text) {
      Outcome got = runWarp(text, a);
      EXPECT_EQ(got.why, "") << text;
      return got;
    };
    for (size_t l = 0; l < 32; ++l) {
      EXPECT_EQ(vote("vote.sync.ballot.b32 o, q, 0xFFFFFFFF;").o[l], ballot);
      EXPECT_EQ(vote("vote.sync.ballot.b32 o, !q, 0xFFFFFFFF;").o[l], ballot ^ 0xFFFFFFFF);
      EXPECT_EQ(vote("vote.sync.all.pred p, q, 0xFFFFFFFF;").p[l], ballot == 0xFFFFFFFF);
      EXPECT_EQ(vote("vote.sync.any.pred p, q, 0xFFFFFFFF;").p[l], ballot != 0);
      EXPECT_EQ(vote("vote.sync.any.pred p, !q, 0xFFFFFFFF;").p[l], ballot != 0xFFFFFFFF);
      EXPECT_EQ(vote("vote.sync.uni.pred p, q, 0xFFFFFFFF;").p[l],
                ballot == 0 || ballot == 0xFFFFFFFF);
      if (l == 0)
        l = 30; // the first and the last lane will do
    }
  }
  // Only the lanes that execute it vote; the others keep what they have.
  Lanes a = same(1);
  Outcome got = runWarp("setp.lt.u32 r, lane, 8; @r vote.sync.ballot.b32 o, q, 0xFF;", a);
  ASSERT_EQ(got.why, "");
  EXPECT_EQ(got.o[7], 0xFFu);
  EXPECT_EQ(got.o[8], 0xA5A5A5A5u);
}

TEST(WarpInstructions, MatchFindsEqualValues) {
  Lanes a = randomLanes(7, 3);
  Outcome any = runWarp("match.any.sync.b32 o, a, 0xFFFFFFFF;", a);
  Outcome wide = runWarp("match.any.sync.b64 o, w, 0xFFFFFFFF;", a);
  Outcome all = runWarp("match.all.sync.b32 o|p, a, 0xFFFFFFFF;", a);
  Outcome equal = runWarp("match.all.sync.b64 o|p, w, 0xFFFFFFFF;", same(9));
  ASSERT_EQ(any.why + wide.why + all.why + equal.why, "");
  for (size_t l = 0; l < 32; ++l) {
    uint64_t wanted = 0;
    for (size_t k = 0; k < 32; ++k)
      wanted |= uint64_t{a[k] == a[l]} << k;
    EXPECT_EQ(any.o[l], wanted);
    EXPECT_EQ(wide.o[l], wanted);
    EXPECT_EQ(all.o[l], 0u);
    EXPECT_EQ(all.p[l], 0u);
    EXPECT_EQ(equal.o[l], 0xFFFFFFFFu);
    EXPECT_EQ(equal.p[l], 1u);
  }
}

TEST(WarpInstructions, ReductionsOfWholeNumbers) {
  Lanes a = randomLanes(8);
  auto reduce = [&](const std::string &op) {
    Outcome got = runWarp("redux.sync." + op + " o, a, 0xFFFFFFFF;", a);
    EXPECT_EQ(got.why, "") << op;
    EXPECT_EQ(got.o[0], got.o[31]);
    return got.o[13];
  };
  uint64_t total = 0, all = 0xFFFFFFFF, some = 0, odd = 0, least = 0xFFFFFFFF, most = 0;
  int64_t low = INT32_MAX, high = INT32_MIN;
  for (uint64_t v : a) {
    total += v, all &= v, some |= v, odd ^= v;
    least = std::min(least, v), most = std::max(most, v);
    low = std::min<int64_t>(low, static_cast<int32_t>(v)),
    high = std::max<int64_t>(high, static_cast<int32_t>(v));
  }
  EXPECT_EQ(reduce("add.u32"), total & 0xFFFFFFFF);
  EXPECT_EQ(reduce("add.s32"), total & 0xFFFFFFFF);
  EXPECT_EQ(reduce("min.u32"), least);
  EXPECT_EQ(reduce("max.u32"), most);
  EXPECT_EQ(reduce("min.s32"), static_cast<uint32_t>(low));
  EXPECT_EQ(reduce("max.s32"), static_cast<uint32_t>(high));
  EXPECT_EQ(reduce("and.b32"), all);
  EXPECT_EQ(reduce("or.b32"), some);
  EXPECT_EQ(reduce("xor.b32"), odd);
}

TEST(WarpInstructions, ReductionsOfFloats) {
  auto reduce = [](const std::string &op, Lanes a) {
    Outcome got = runWarp("redux.sync." + op + " o, a, 0xFFFFFFFF;", a);
    EXPECT_EQ(got.why, "") << op;
    return got.o[21];
  };
  Lanes a = same(0x3F800000);                                                   // 1
  a[3] = 0xC0000000, a[9] = 0x40400000, a[17] = 0x7FC00000, a[20] = 0xC1200000; // -2, 3, NaN, -10
  EXPECT_EQ(reduce("min.f32", a), 0xC1200000u);
  EXPECT_EQ(reduce("max.f32", a), 0x40400000u);
  EXPECT_EQ(reduce("max.abs.f32", a), 0x41200000u);
  EXPECT_EQ(reduce("min.abs.f32", a), 0x3F800000u);
  EXPECT_EQ(reduce("min.NaN.f32", a), 0x7FFFFFFFu);
  EXPECT_EQ(reduce("max.abs.NaN.f32", a), 0x7FFFFFFFu);
  EXPECT_EQ(reduce("max.f32", same(0xFFC00001)), 0x7FFFFFFFu);
  Lanes zeros = same(0x80000000);
  zeros[30] = 0;
  EXPECT_EQ(reduce("max.f32", zeros), 0u);
  EXPECT_EQ(reduce("min.f32", zeros), 0x80000000u);
}

TEST(WarpInstructions, ActiveMaskNamesTheLanesThatExecuteIt) {
  Outcome got = runWarp("@q activemask.b32 o;", randomLanes(9));
  ASSERT_EQ(got.why, "");
  Lanes a = randomLanes(9);
  uint64_t mask = 0;
  for (size_t l = 0; l < 32; ++l)
    mask |= (a[l] & 1) << l;
  for (size_t l = 0; l < 32; ++l)
    EXPECT_EQ(got.o[l], a[l] & 1 ? mask : 0xA5A5A5A5u);
}

TEST(WarpInstructions, WrongParticipantsAreViolations) {
  EXPECT_NE(runWarp("shfl.sync.idx.b32 o, a, 0, 31, 0xFFFF;", same(1))
                .why.find("not among the participants"),
            std::string::npos);
  Lanes members = same(0xFFFFFFFF);
  members[4] = 0x10;
  EXPECT_NE(
      runWarp("vote.sync.any.pred p, q, b;", same(1), members).why.find("different participants"),
      std::string::npos);
  EXPECT_NE(runWarp("setp.lt.u32 r, lane, 8; @r redux.sync.add.u32 o, a, 0xFFFFFFFF;", same(1)).why,
            "");
}

} // namespace

std::vector<std::string> warpOpcodes() {
  return {"shfl.sync.up.b32",       "shfl.sync.down.b32",         "shfl.sync.bfly.b32",
          "shfl.sync.idx.b32",      "vote.sync.ballot.b32",       "vote.sync.all.pred",
          "vote.sync.any.pred",     "vote.sync.uni.pred",         "match.any.sync.b32",
          "match.any.sync.b64",     "match.all.sync.b32",         "match.all.sync.b64",
          "redux.sync.add.u32",     "redux.sync.add.s32",         "redux.sync.min.u32",
          "redux.sync.max.u32",     "redux.sync.min.s32",         "redux.sync.max.s32",
          "redux.sync.and.b32",     "redux.sync.or.b32",          "redux.sync.xor.b32",
          "redux.sync.min.f32",     "redux.sync.max.f32",         "redux.sync.max.abs.f32",
          "redux.sync.min.NaN.f32", "redux.sync.max.abs.NaN.f32", "redux.sync.min.abs.f32",
          "activemask.b32"};
}

} // namespace platen::ptxsim::testing
