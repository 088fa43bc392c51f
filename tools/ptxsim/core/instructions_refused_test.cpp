// What is not executed is refused, and the refusal says which suffix or operand it is.
#include "tools/ptxsim/core/simulator.h"

#include <gtest/gtest.h>

namespace platen::ptxsim {
namespace {

struct Row {
  const char *instruction, *why;
};
constexpr Row kRefused[] = {
    {"add.foo.u32 r, r, r", "'.foo'"},
    {"add.sat.u32 r, r, r", "'.sat'"},
    {"add.ftz.f64 d, d, d", "'.ftz'"},
    {"add.rn.rz.f32 r, r, r", "'.rz'"},
    {"add.sat.sat.s32 r, r, r", "'.sat'"},
    {"add.ftz.bf16 h, h, h", "'.ftz'"},
    {"add.sat.f32x2 d, d, d", "'.sat'"},
    {"add.ftz.f32.f16 r, h, r", "'.ftz'"},
    {"add.b32 r, r, r", "bit-size"},
    {"sub.u16x2 r, r, r", "u16x2"},
    {"mul.u32 r, r, r", ".hi"},
    {"mul.wide.u64 d, d, d", ".wide"},
    {"mul.f32.f16 r, h, r", "'.f16'"},
    {"mad.sat.lo.s32 r, r, r, r", "'.sat'"},
    {"mad24.lo.sat.s32 r, r, r, r", "'.sat'"},
    {"fma.f32 r, r, r, r", "rounding mode"},
    {"fma.rn.oob.f16 h, h, h, h", "'.oob'"},
    {"fma.rn.relu.f32 r, r, r, r", "'.relu'"},
    {"fma.rz.f16 h, h, h, h", ".rn"},
    {"div.f32 r, r, r", ".approx"},
    {"div.approx.f64 d, d, d", "takes"},
    {"abs.u32 r, r", "signed"},
    {"min.relu.u32 r, r, r", "'.relu'"},
    {"min.abs.f32 r, r, r", "'.abs'"},
    {"max.xorsign.f32 r, r, r", "'.xorsign'"},
    {"max.xorsign.abs.f32 r, r, r, r", "'.xorsign'"},
    {"min.xorsign.f16 h, h, h", "'.xorsign'"},
    {"rcp.f32 r, r", ".approx"},
    {"rcp.approx.f64 d, d", ".ftz"},
    {"sin.f32 r, r", ".approx"},
    {"tanh.approx.ftz.f32 r, r", "'.ftz'"},
    {"ex2.approx.bf16 h, h", ".ftz"},
    {"setp.lo.s32 p, r, r", ".lo"},
    {"setp.ltu.u32 p, r, r", ".ltu"},
    {"setp.lt.b32 p, r, r", ".lt"},
    {"setp.lt.ftz.f64 p, d, d", "'.ftz'"},
    {"setp.lt.f16x2 p, r, r", "p|q"},
    {"setp.zz.u32 p, r, r", "comparison"},
    {"set.lt.f16x2.f32 r, r, r", "types"},
    {"selp.pred p, p, p, p", "type"},
    {"slct.b32.u32 r, r, r, r", ".s32"},
    {"testp.odd.f32 p, r", "property"},
    {"shl.u32 r, r, r", "bit-size"},
    {"shf.l.b32 r, r, r, r", ".clamp"},
    {"lop3.b32 r, r, r, r, 256", "255"},
    {"lop3.b32 r, r, r, r, r", "255"},
    {"lop3.xor.b32 r|p, r, r, r, 1, p", "'.xor'"},
    {"prmt.b32.f5e r, r, r, r", "'.f5e'"},
    {"bmsk.b32 r, r, r", ".clamp"},
    {"dp4a.u32 r, r, r, r", "two types"},
    {"dp2a.u32.s32 r, r, r, r", ".lo"},
    {"mov.b128 r, r", "128"},
    {"mov.b128 q, {r, r}", "64"},
    {"add.u64 q, d, d", "128"},
    {"atom.add.b128 q, [d], q", "exch and cas"},
    {"ld.v2.b128 {q, q}, [d]", "vectors of 128"},
    {"st.async.mbarrier::complete_tx::bytes.b32 [r], {}, [r]", "1, 2 or 4"},
    {"st.async.mbarrier::complete_tx::bytes [r], r, [r]", "32 or 64"},
    {"mov.b64 {r, r, r}, d", "vector"},
    {"mov.b64 {h, r}, d", "width"},
    {"mov.f16 h, h", "type"},
    {"mov.u32 r, nowhere", "nowhere"},
    {"cvt.u32.f32 r, r", ".rzi"},
    {"cvt.rn.u32.f32 r, r", "integer rounding"},
    {"cvt.rzi.u32.s32 r, r", "does not fit"},
    {"cvt.rn.f32.f16 r, h", "does not fit"},
    {"cvt.f32.f64 r, d", ".rn"},
    {"cvt.sat.u32.u8 r, r", "'.sat'"},
    {"cvt.rn.sat.bf16.f32 h, r", "'.sat'"},
    {"cvt.rn.relu.f32.f64 r, d", "'.relu'"},
    {"cvt.rn.e4m3x2.f32 h, r, r", ".satfinite"},
    {"cvt.rs.satfinite.e4m3x4.f32 r, {r, r, r, r}, r", "e4m3x4"},
    {"cvt.rn.satfinite.s2f6x2.f32 h, r, r", "s2f6x2"},
    {"cvt.rna.relu.tf32.f32 r, r", "'.relu'"},
    {"cvt.rm.f16x2.f32 r, r, r", "'.rm'"},
    {"cvt.pack.u8.s32.b32 r, r, r, r", ".sat"},
    {"cvt.u16.u32 h2, r", "h2"},
    {"cvt.u32.u32 h, r", "narrower"},
    {"shfl.up.b32 r, r, r, r", ".sync"},
    {"vote.all.pred p, p", ".sync"},
    {"vote.sync.most.pred p, p, r", ".all"},
    {"match.any.sync.b32 r|p, r, r", ".any"},
    {"redux.sync.add.f32 r, r, r", "type"},
    {"redux.sync.add.abs.s32 r, r, r", "'.abs'"},
    {"vadd.s32.s32.s32 r, r, r", "vadd"},
    {"vabsdiff4.u32.u32.u32.add r, r, r, r", "vabsdiff4"},
    {"add.u32 r, r", "operands"},
    {"add.u32 r, d, r", "64 bits"},
    {"add.u64 r, d, d", "width"},
    {"add.u32 r, p, r", "predicate"},
    {"frobnicate.u32 r, r", "frobnicate"},
};

TEST(Instructions, WhatIsNotExecutedIsRefusedByName) {
  std::string text = ".version 9.0\n.target sm_100a\n.address_size 64\n";
  size_t count = 0;
  for (const Row &row : kRefused)
    text += ".visible .entry k" + std::to_string(count++) +
            "() {\n.reg .b16 h; .reg .b32 r; .reg .b64 d; .reg .b128 q; .reg .pred p;\n" +
            row.instruction + ";\nret;\n}\n";
  auto module = Module::parse(text);
  ASSERT_TRUE(module.isOk()) << module.status().toString();
  count = 0;
  for (const Row &row : kRefused) {
    const KernelInfo *kernel = (*module)->kernel("k" + std::to_string(count++));
    ASSERT_NE(kernel, nullptr);
    ASSERT_EQ(kernel->refusals.size(), 1u) << row.instruction;
    const Refusal &refusal = kernel->refusals[0];
    EXPECT_NE(refusal.toString().find(row.why), std::string::npos)
        << row.instruction << ": " << refusal.toString();
    EXPECT_NE(refusal.instruction.find(row.instruction), std::string::npos) << refusal.toString();
  }
}

} // namespace
} // namespace platen::ptxsim
