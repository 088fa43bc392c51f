// One thread a point; blocks may be more than the step needs.
#include "runtime/plan/testing/tiny_graph_cuda.h"

namespace platen::plan::testing {
namespace {

// Offsets into PlatenGraphStep: tokens 0, the symbols n 72 and m 80.
constexpr char kPtx[] = R"ptx(.version 7.0
.target sm_80
.address_size 64

.visible .entry platen_tiny_outer(.param .u64 p_step, .param .u64 p_a, .param .u64 p_b, .param .u64 p_products, .param .u64 p_sums)
{
  .reg .pred %p<3>;
  .reg .b32 %r<16>;
  .reg .b64 %a<20>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_a];
  ld.param.u64 %a3, [p_b];
  ld.param.u64 %a4, [p_products];
  ld.param.u64 %a5, [p_sums];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;       // row
  cvt.u64.u32 %a6, %r4;
  ld.global.u64 %a7, [%a1];
  setp.ge.u64 %p1, %a6, %a7;
  @%p1 ret;
  ld.global.u64 %a8, [%a1+80];         // m
  div.u64 %a9, %a6, %a8;
  rem.u64 %a10, %a6, %a8;
  shl.b64 %a9, %a9, 4;
  add.u64 %a9, %a2, %a9;
  shl.b64 %a10, %a10, 4;
  add.u64 %a10, %a3, %a10;
  shl.b64 %a11, %a6, 4;
  add.u64 %a11, %a4, %a11;
  mov.u32 %r5, 0;                      // sum
  mov.u32 %r6, 0;                      // column
more:
  ld.global.u32 %r7, [%a9];
  ld.global.u32 %r8, [%a10];
  mul.lo.u32 %r9, %r7, %r8;
  st.global.u32 [%a11], %r9;
  add.u32 %r5, %r5, %r9;
  add.u64 %a9, %a9, 4;
  add.u64 %a10, %a10, 4;
  add.u64 %a11, %a11, 4;
  add.u32 %r6, %r6, 1;
  setp.lt.u32 %p2, %r6, 4;
  @%p2 bra more;
  shl.b64 %a12, %a6, 2;
  add.u64 %a12, %a5, %a12;
  st.global.u32 [%a12], %r5;
  ret;
}

.visible .entry platen_tiny_total(.param .u64 p_step, .param .u64 p_factors, .param .u64 p_products, .param .u64 p_total)
{
  .reg .pred %p<3>;
  .reg .b32 %r<16>;
  .reg .b64 %a<20>;
  ld.param.u64 %a1, [p_step];
  ld.param.u64 %a2, [p_factors];
  ld.param.u64 %a3, [p_products];
  ld.param.u64 %a4, [p_total];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;       // row
  cvt.u64.u32 %a5, %r4;
  ld.global.u64 %a6, [%a1+8];
  setp.ge.u64 %p1, %a5, %a6;
  @%p1 ret;
  ld.global.u64 %a7, [%a1+72];         // n
  ld.global.u64 %a8, [%a1+80];         // m
  cvt.u32.u64 %r5, %a7;
  cvt.u32.u64 %r6, %a8;
  mad.lo.u32 %r5, %r6, 1000, %r5;      // total
  shl.b64 %a8, %a8, 2;                 // columns of all m
  mul.lo.u64 %a9, %a5, %a8;
  shl.b64 %a9, %a9, 2;
  add.u64 %a9, %a3, %a9;
  mov.u64 %a10, 0;
next:
  setp.ge.u64 %p2, %a10, %a8;
  @%p2 bra done;
  ld.global.u32 %r7, [%a9];
  and.b64 %a11, %a10, 3;
  shl.b64 %a11, %a11, 2;
  add.u64 %a11, %a2, %a11;
  ld.global.u32 %r8, [%a11];
  mad.lo.u32 %r5, %r7, %r8, %r5;
  add.u64 %a9, %a9, 4;
  add.u64 %a10, %a10, 1;
  bra next;
done:
  shl.b64 %a12, %a5, 2;
  add.u64 %a12, %a4, %a12;
  st.global.u32 [%a12], %r5;
  ret;
}
)ptx";

Kernel kernel(const char *name, const char *entry, Units grid, uint32_t threads) {
  Phase phase;
  phase.entry = entry;
  phase.grid_x = grid;
  phase.threads = threads;
  CudaKernel cuda;
  cuda.phases = {phase};
  cuda.operation = "loops";
  cuda.tile = "points";
  cuda.family = "test";
  return {.name = name, .cuda = std::move(cuda)};
}

} // namespace

std::string_view tinyGraphPtx() { return {kPtx, sizeof kPtx}; }

std::vector<Kernel> tinyGraphCudaKernels() {
  return {kernel("outer_i32__ptx_v1", "platen_tiny_outer", {Extent::kTokens, 32, 1}, 32),
          kernel("total_i32__ptx_v1", "platen_tiny_total", {Extent::kRows, 8, 1}, 8)};
}

} // namespace platen::plan::testing
