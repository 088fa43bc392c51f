// One thread an element of x, hidden or logits; blocks may be more than the step needs.
#include "runtime/plan/testing/tiny_kernels_cuda.h"

namespace platen::plan::testing {
namespace {

/// Rows that the head's workspace holds.
constexpr uint64_t kWorkspaceRows = 4096;

// Offsets into PlatenStep: tokens 0, rows 8, page_table_stride 24, token_ids 32, positions 40,
// sequence_of_token 48, row_tokens 56, page_table 64.
constexpr char kPtx[] = R"ptx(.version 7.0
.target sm_80
.address_size 64

.visible .entry platen_tiny_embed(.param .u64 p_step, .param .u64 p_table, .param .u64 p_x)
{
  .reg .pred %p<2>;
  .reg .b32 %r<10>;
  .reg .b64 %a<12>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_table];
  ld.param.u64 %a3, [p_x];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  shr.u32 %r5, %r4, 2;
  cvt.u64.u32 %a4, %r5;
  ld.global.u64 %a5, [%a1];
  setp.ge.u64 %p1, %a4, %a5;
  @%p1 ret;
  ld.global.u64 %a6, [%a1+32];
  shl.b64 %a7, %a4, 2;
  add.u64 %a6, %a6, %a7;
  ld.global.u32 %r6, [%a6];
  and.b32 %r7, %r4, 3;
  mad.lo.u32 %r8, %r6, 4, %r7;
  mul.wide.u32 %a8, %r8, 4;
  add.u64 %a8, %a2, %a8;
  ld.global.u32 %r9, [%a8];
  mul.wide.u32 %a9, %r4, 4;
  add.u64 %a9, %a3, %a9;
  st.global.u32 [%a9], %r9;
  ret;
}

.visible .entry platen_tiny_store(.param .u64 p_step, .param .u64 p_meta, .param .u64 p_x, .param .u64 p_cache)
{
  .reg .pred %p<2>;
  .reg .b32 %r<20>;
  .reg .b64 %a<20>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_meta];
  ld.param.u64 %a3, [p_x];
  ld.param.u64 %a4, [p_cache];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  shr.u32 %r5, %r4, 2;
  cvt.u64.u32 %a5, %r5;
  ld.global.u64 %a6, [%a1];
  setp.ge.u64 %p1, %a5, %a6;
  @%p1 ret;
  shl.b64 %a5, %a5, 2;
  ld.global.u64 %a7, [%a1+40];
  add.u64 %a7, %a7, %a5;
  ld.global.u32 %r6, [%a7];            // position
  ld.global.u64 %a8, [%a1+48];
  add.u64 %a8, %a8, %a5;
  ld.global.u32 %r7, [%a8];            // sequence
  ld.global.u32 %r8, [%a2+4];          // page_tokens
  div.u32 %r9, %r6, %r8;
  rem.u32 %r10, %r6, %r8;              // slot
  ld.global.u64 %a9, [%a1+24];
  cvt.u64.u32 %a10, %r7;
  mul.lo.u64 %a9, %a9, %a10;
  cvt.u64.u32 %a10, %r9;
  add.u64 %a9, %a9, %a10;
  shl.b64 %a9, %a9, 2;
  ld.global.u64 %a11, [%a1+64];
  add.u64 %a11, %a11, %a9;
  ld.global.u32 %r11, [%a11];          // page
  mul.lo.u32 %r12, %r11, 2;
  mul.lo.u32 %r12, %r12, %r8;
  mul.lo.u32 %r12, %r12, 4;
  and.b32 %r13, %r4, 3;
  mad.lo.u32 %r12, %r13, %r8, %r12;
  add.u32 %r12, %r12, %r10;
  mul.wide.u32 %a12, %r12, 4;
  add.u64 %a12, %a4, %a12;
  mul.wide.u32 %a13, %r4, 4;
  add.u64 %a13, %a3, %a13;
  ld.global.u32 %r14, [%a13];
  st.global.u32 [%a12], %r14;
  ret;
}

.visible .entry platen_tiny_sum(.param .u64 p_step, .param .u64 p_meta, .param .u64 p_cache, .param .u64 p_hidden)
{
  .reg .pred %p<4>;
  .reg .b32 %r<20>;
  .reg .b64 %a<24>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_meta];
  ld.param.u64 %a3, [p_cache];
  ld.param.u64 %a4, [p_hidden];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  shr.u32 %r5, %r4, 2;
  cvt.u64.u32 %a5, %r5;
  ld.global.u64 %a6, [%a1+8];
  setp.ge.u64 %p1, %a5, %a6;
  @%p1 ret;
  shl.b64 %a5, %a5, 2;
  ld.global.u64 %a7, [%a1+56];
  add.u64 %a7, %a7, %a5;
  ld.global.u32 %r6, [%a7];            // token
  mul.wide.u32 %a8, %r6, 4;
  ld.global.u64 %a9, [%a1+40];
  add.u64 %a9, %a9, %a8;
  ld.global.u32 %r7, [%a9];            // its position
  ld.global.u64 %a9, [%a1+48];
  add.u64 %a9, %a9, %a8;
  ld.global.u32 %r8, [%a9];            // its sequence
  ld.global.u32 %r9, [%a2+4];          // page_tokens
  ld.global.u64 %a10, [%a1+24];
  cvt.u64.u32 %a11, %r8;
  mul.lo.u64 %a10, %a10, %a11;
  shl.b64 %a10, %a10, 2;
  ld.global.u64 %a11, [%a1+64];
  add.u64 %a11, %a11, %a10;            // the sequence's row of the page table
  and.b32 %r10, %r4, 3;
  mov.u32 %r11, 0;                     // position
  mov.u32 %r12, 0;                     // sum
more:
  div.u32 %r13, %r11, %r9;
  rem.u32 %r14, %r11, %r9;
  mul.wide.u32 %a12, %r13, 4;
  add.u64 %a12, %a11, %a12;
  ld.global.u32 %r15, [%a12];
  mul.lo.u32 %r16, %r15, 2;
  mul.lo.u32 %r16, %r16, %r9;
  mul.lo.u32 %r16, %r16, 4;
  mad.lo.u32 %r16, %r10, %r9, %r16;
  add.u32 %r16, %r16, %r14;
  mul.wide.u32 %a13, %r16, 4;
  add.u64 %a13, %a3, %a13;
  ld.global.u32 %r17, [%a13];
  add.u32 %r12, %r12, %r17;
  add.u32 %r11, %r11, 1;
  setp.le.u32 %p2, %r11, %r7;
  @%p2 bra more;
  mul.wide.u32 %a14, %r4, 4;
  add.u64 %a14, %a4, %a14;
  st.global.u32 [%a14], %r12;
  ret;
}

.visible .entry platen_tiny_next(.param .u64 p_step, .param .u64 p_meta, .param .u64 p_hidden, .param .u64 p_logits, .param .u64 p_workspace)
{
  .reg .pred %p<2>;
  .reg .b32 %r<12>;
  .reg .b64 %a<10>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_meta];
  ld.param.u64 %a3, [p_hidden];
  ld.param.u64 %a4, [p_workspace];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  cvt.u64.u32 %a5, %r4;
  ld.global.u64 %a6, [%a1+8];
  setp.ge.u64 %p1, %a5, %a6;
  @%p1 ret;
  shl.b64 %a7, %a5, 4;
  add.u64 %a7, %a3, %a7;
  ld.global.u32 %r5, [%a7];
  ld.global.u32 %r6, [%a7+4];
  ld.global.u32 %r7, [%a7+8];
  ld.global.u32 %r8, [%a7+12];
  mad.lo.u32 %r5, %r6, 3, %r5;
  mad.lo.u32 %r5, %r7, 5, %r5;
  mad.lo.u32 %r5, %r8, 7, %r5;
  ld.global.u32 %r9, [%a2];
  rem.u32 %r5, %r5, %r9;
  shl.b64 %a8, %a5, 2;
  add.u64 %a8, %a4, %a8;
  st.global.u32 [%a8], %r5;
  ret;
}

.visible .entry platen_tiny_logits(.param .u64 p_step, .param .u64 p_meta, .param .u64 p_hidden, .param .u64 p_logits, .param .u64 p_workspace)
{
  .reg .pred %p<4>;
  .reg .b32 %r<12>;
  .reg .b64 %a<12>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_meta];
  ld.param.u64 %a3, [p_logits];
  ld.param.u64 %a4, [p_workspace];
  mov.u32 %r1, %ctaid.x;               // row
  cvt.u64.u32 %a5, %r1;
  ld.global.u64 %a6, [%a1+8];
  setp.ge.u64 %p1, %a5, %a6;
  @%p1 ret;
  shl.b64 %a7, %a5, 2;
  add.u64 %a7, %a4, %a7;
  ld.global.u32 %r2, [%a7];            // the row's token
  ld.global.u32 %r3, [%a2];            // vocabulary
  ld.global.u32 %r8, [%a2+8];          // the broken token
  setp.eq.u32 %p3, %r2, %r8;
  selp.b32 %r9, 0x7fc00000, 0x3f800000, %p3;
  mov.u32 %r4, %tid.x;
  mov.u32 %r5, %ntid.x;
next:
  setp.ge.u32 %p2, %r4, %r3;
  @%p2 bra done;
  setp.eq.u32 %p3, %r4, %r2;
  selp.b32 %r6, %r9, 0, %p3;
  mad.lo.u32 %r7, %r1, %r3, %r4;
  mul.wide.u32 %a8, %r7, 4;
  add.u64 %a8, %a3, %a8;
  st.global.u32 [%a8], %r6;
  add.u32 %r4, %r4, %r5;
  bra next;
done:
  ret;
}

// vocabulary @V@
.visible .entry platen_tiny_sample(.param .u64 p_step, .param .u64 p_logits, .param .u64 p_sampling, .param .u64 p_tokens)
{
  .reg .pred %p<4>;
  .reg .b32 %r<12>;
  .reg .f32 %f<4>;
  .reg .b64 %a<12>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_logits];
  ld.param.u64 %a3, [p_tokens];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;       // row
  cvt.u64.u32 %a4, %r4;
  ld.global.u64 %a5, [%a1+8];
  setp.ge.u64 %p1, %a4, %a5;
  @%p1 ret;
  mul.lo.u64 %a6, %a4, @V@;
  shl.b64 %a6, %a6, 2;
  add.u64 %a6, %a2, %a6;
  mov.u32 %r5, 0;                      // token
  mov.u32 %r6, 0;                      // the best so far
  mov.u32 %r7, 0;                      // -1 if a logit is NaN
  ld.global.f32 %f1, [%a6];
better:
  ld.global.f32 %f2, [%a6];
  setp.nan.f32 %p2, %f2, %f2;
  selp.b32 %r7, -1, %r7, %p2;
  setp.gt.f32 %p2, %f2, %f1;
  selp.b32 %r6, %r5, %r6, %p2;
  selp.f32 %f1, %f2, %f1, %p2;
  add.u64 %a6, %a6, 4;
  add.u32 %r5, %r5, 1;
  setp.lt.u32 %p3, %r5, @V@;
  @%p3 bra better;
  or.b32 %r6, %r6, %r7;
  shl.b64 %a7, %a4, 2;
  add.u64 %a7, %a3, %a7;
  st.global.u32 [%a7], %r6;
  ret;
}
)ptx";

Phase phase(const char *entry, Units grid, uint32_t threads) {
  Phase made;
  made.entry = entry;
  made.grid_x = grid;
  made.threads = threads;
  return made;
}

Kernel kernel(const char *name, uint64_t workspace, std::vector<Phase> phases,
              const char *operation, const char *tile) {
  CudaKernel cuda;
  cuda.phases = std::move(phases);
  cuda.operation = operation;
  cuda.tile = tile;
  cuda.family = "test";
  return {.name = name, .scratch_bytes = workspace, .cuda = std::move(cuda)};
}

} // namespace

std::string tinyPtx(uint32_t vocabulary) {
  std::string text(kPtx, sizeof kPtx), mark = "@V@";
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
    text.replace(at, mark.size(), std::to_string(vocabulary));
  return text;
}

std::vector<Kernel> tinyCudaKernels() {
  using enum Extent;
  auto head = [](const char *name, uint32_t rows, uint32_t threads) {
    return kernel(name, kWorkspaceRows * 4,
                  {phase("platen_tiny_next", {kRows, rows, 1}, rows),
                   phase("platen_tiny_logits", {kRows, 1, 1}, threads)},
                  "head", "rows");
  };
  return {kernel("embed_i32__ptx_v1", 0, {phase("platen_tiny_embed", {kTokens, 16, 1}, 64)},
                 "embed", "x64"),
          kernel("store_i32__ptx_v1", 0, {phase("platen_tiny_store", {kTokens, 8, 1}, 32)}, "store",
                 "x32"),
          kernel("sum_i32__ptx_v1", 0, {phase("platen_tiny_sum", {kRows, 8, 1}, 32)}, "sum", "x32"),
          head("head_f32__ptx_v1", 32, 32),
          head("head_f32__ptx_v2", 128, 64),
          kernel("sample_f32__ptx_v1", 0, {phase("platen_tiny_sample", {kRows, 4, 1}, 4)}, "sample",
                 "x4")};
}

} // namespace platen::plan::testing
