// The parser: what it keeps of a text, and that broken text ends in a Status that names its line.
#include "tools/ptxsim/ptx/lexer.h"
#include "tools/ptxsim/ptx/parser.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::ptx {
namespace {

const char *kText = R"(// a comment
.version 8.8
.target sm_90a, debug
.address_size 64
.global .align 4 .f32 table[2][2] = {{0f3F800000, 1.5}, {-2.0, 0f00000000}};
.extern .shared .align 1024 .b8 dynamic[];
.visible .entry k(.param .u64 .ptr .global .align 16 p, .param .align 64 .b8 map[128])
.maxntid 128, 1, 1
.reqnctapercluster 2
{
  .reg .pred %p<3>;
  .reg .b32 %r<10>;
  .reg .b64 %rd<4>;
  .loc 1 2 3
  ld.param.u64 %rd1, [p]; /* here */
$L_1:
  { .reg .b32 t; mov.u32 t, %tid.x; }
  @!%p1 ld.global.v2.u32 {%r1, _}, [%rd1+-16];
  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [dynamic], [%rd1, {%r1, %r2}], [%r3];
  setp.lt.s32 %p1|%p2, %r1, -5;
  @%p1 bra $L_1;
  ret;
}
)";

TEST(Parser, KeepsWhatTheTextSays) {
  auto parsed = parse(kText);
  ASSERT_TRUE(parsed.isOk()) << parsed.status().toString();
  const Module &m = *parsed.value();
  EXPECT_EQ(m.version, 88);
  EXPECT_EQ(m.target, "sm_90a");
  ASSERT_EQ(m.variables.size(), 2u);
  EXPECT_EQ(m.variables[0].count, 4u);
  ASSERT_EQ(m.variables[0].initialisers.size(), 4u);
  EXPECT_EQ(m.variables[0].initialisers[2].bits, 0xC0000000u);
  EXPECT_EQ(m.variables[1].alignment, 1024u);
  ASSERT_EQ(m.functions.size(), 1u);
  const Function &f = m.functions[0];
  EXPECT_EQ(f.maxThreads[0], 128u);
  EXPECT_EQ(f.cluster[0], 2u);
  ASSERT_EQ(f.parameters.size(), 2u);
  EXPECT_EQ(f.parameters[1].bytes(), 128u);
  EXPECT_EQ(f.parameters[0].alignment, 8u); // the .align after .ptr is the pointee's
  ASSERT_EQ(f.instructions.size(), 7u);
  const Instruction &load = f.instructions[2];
  EXPECT_EQ(load.guard, "%p1");
  EXPECT_TRUE(load.guardNegated);
  EXPECT_EQ(load.operands[1].offset, -16);
  EXPECT_EQ(load.line, 18u);
  const Instruction &tensor = f.instructions[3];
  EXPECT_EQ(tensor.parts.back(), "mbarrier::complete_tx::bytes");
  EXPECT_EQ(tensor.operands[1].elements[1].elements.size(), 2u);
  EXPECT_EQ(f.instructions[4].operands[0].kind, Operand::Kind::kPair);
  EXPECT_EQ(f.scopes[0].labels.at("$L_1"), 1u);
}

TEST(Parser, EveryPrefixEndsInAStatusOrAModule) {
  std::string text = kText;
  size_t good = 0;
  for (size_t length = 0; length < text.size(); ++length)
    if (auto parsed = parse(text.substr(0, length)); parsed.isOk())
      ++good;
    else
      EXPECT_EQ(parsed.status().code(), base::StatusCode::kCorrupt);
  EXPECT_LT(good, text.size() / 2);
}

TEST(Parser, EveryChangedByteEndsToo) {
  for (size_t at = 0; at < std::string(kText).size(); ++at)
    for (char c : {'\0', '{', '}', ';', '"', '9', '.', '\xff'}) {
      std::string text = kText;
      text[at] = c;
      (void)parse(std::move(text)).isOk();
    }
}

TEST(Parser, ErrorsNameTheLine) {
  auto parsed =
      parse(".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\nret\n}\n");
  ASSERT_FALSE(parsed.isOk());
  EXPECT_NE(parsed.status().toString().find("line 7"), std::string::npos)
      << parsed.status().toString();
  EXPECT_FALSE(parse("").isOk());
  EXPECT_FALSE(parse(".version 8.0\n.address_size 32\n").isOk());
}

TEST(Parser, NestingIsLimited) {
  EXPECT_FALSE(
      parse(".version 8.0\n.target sm_80\n.entry k()\n{" + std::string(100000, '{')).isOk());
  EXPECT_FALSE(
      parse(".version 8.0\n.target sm_80\n.entry k()\n{ add " + std::string(100000, '{')).isOk());
}

TEST(Lexer, Numbers) {
  auto bits = [](std::string_view text) {
    Number number;
    EXPECT_TRUE(parseNumber(text, number)) << text;
    return number.bits;
  };
  EXPECT_EQ(bits("0f3F800000"), 0x3F800000u);
  EXPECT_EQ(bits("0d3FF0000000000000"), 0x3FF0000000000000u);
  EXPECT_EQ(bits("0x1F"), 31u);
  EXPECT_EQ(bits("0b101"), 5u);
  EXPECT_EQ(bits("017"), 15u);
  EXPECT_EQ(bits("42U"), 42u);
  EXPECT_EQ(bits("1.5"), 0x3FF8000000000000u);
  Number number;
  EXPECT_FALSE(parseNumber("0x", number));
  EXPECT_FALSE(parseNumber("99999999999999999999", number));
  EXPECT_FALSE(parseNumber("0f3F8", number));
}

} // namespace
} // namespace platen::ptxsim::ptx
