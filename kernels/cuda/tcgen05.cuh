// Device primitives of sm_100 and sm_110: tensor memory (128 lanes x 512 columns of 32 bits) and the
// matrix instructions that one thread issues for the block.
//
// Warp w of a block reads and writes lanes 32 * (w % 4) .. + 31. An address is lane << 16 | column.
namespace platen {

/// By one warp: reserves columns (a power of two, 32 to 512), whose address it stores at `to` in
/// shared memory. Waits while other blocks of the multiprocessor hold too many.
template <u32 kColumns> __device__ __forceinline__ void tensorAllocate(u32 to) {
  asm volatile("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%0], %1;" ::"r"(to),
               "n"(kColumns)
               : "memory");
  asm volatile("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;" ::: "memory");
}
/// By the same warp, when nobody uses them any more.
template <u32 kColumns> __device__ __forceinline__ void tensorFree(u32 address) {
  asm volatile("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %0, %1;" ::"r"(address), "n"(kColumns)
               : "memory");
}

/// Order tensor-memory operations of a thread with a barrier that follows, or that went before.
__device__ __forceinline__ void tensorFenceBefore() {
  asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory");
}
__device__ __forceinline__ void tensorFenceAfter() {
  asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory");
}
__device__ __forceinline__ void tensorWaitLoads() {
  asm volatile("tcgen05.wait::ld.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void tensorWaitStores() {
  asm volatile("tcgen05.wait::st.sync.aligned;" ::: "memory");
}
/// Arrives at the barrier when all matrix instructions that this thread has issued are done.
__device__ __forceinline__ void tensorCommit(u32 barrier) {
  asm volatile("tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];" ::"r"(
                   barrier)
               : "memory");
}

/// This thread's lane, 16 columns from `address` on; the values are there after tensorWaitLoads().
__device__ __forceinline__ void tensorLoad16(float (&d)[16], u32 address) {
  asm volatile("tcgen05.ld.sync.aligned.32x32b.x16.b32 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, "
               "%10, %11, %12, %13, %14, %15}, [%16];"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]),
                 "=f"(d[7]), "=f"(d[8]), "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]),
                 "=f"(d[13]), "=f"(d[14]), "=f"(d[15])
               : "r"(address)
               : "memory");
}
/// Stores 16 words to this thread's lane.
__device__ __forceinline__ void tensorStore16(u32 address, const u32 (&v)[16]) {
  asm volatile("tcgen05.st.sync.aligned.32x32b.x16.b32 [%0], {%1, %2, %3, %4, %5, %6, %7, %8, %9, "
               "%10, %11, %12, %13, %14, %15, %16};" ::"r"(address),
               "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(v[4]), "r"(v[5]), "r"(v[6]), "r"(v[7]),
               "r"(v[8]), "r"(v[9]), "r"(v[10]), "r"(v[11]), "r"(v[12]), "r"(v[13]), "r"(v[14]),
               "r"(v[15])
               : "memory");
}
__device__ __forceinline__ void tensorStore4(u32 address, const u32 (&v)[4]) {
  asm volatile("tcgen05.st.sync.aligned.32x32b.x4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
               : "memory");
}

/// Descriptor of an operand whose rows are 128 bytes of k, swizzled: groups of 8 rows, 1024 bytes.
__device__ __forceinline__ u64 tensorRows128(u32 address) {
  return u64{(address & 0x3ffffu) >> 4} | u64{1} << 16 | u64{1024 >> 4} << 32 | u64{1} << 46 |
         u64{2} << 61;
}
/// Of an operand made of cores of 8 rows x 16 bytes, 128 bytes each: `kGroup` bytes from one group of
/// 8 rows to the next, `kStep` bytes from 16 bytes of k to the next.
template <u32 kGroup, u32 kStep> __device__ __forceinline__ u64 tensorCores(u32 address) {
  return u64{(address & 0x3ffffu) >> 4} | u64{kStep >> 4} << 16 | u64{kGroup >> 4} << 32 |
         u64{1} << 46;
}
/// What a matrix instruction multiplies: 128 x kN, f32 sums, both operands rows of k. kFormat: of
/// kind::f16 0 f16, 1 bf16; of kind::f8f6f4 0 e4m3.
template <u32 kFormat, u32 kN> constexpr u32 kTensorInstruction =
    1u << 4 | kFormat << 7 | kFormat << 10 | (kN / 8) << 17 | (128u / 16) << 24;

/// As above with scales of 16 e2m1, e4m3 each.
template <u32 kN> constexpr u32 kTensorScaledInstruction =
    1u << 7 | 1u << 10 | (kN / 8) << 17 | (128u / 16) << 24;

/// d (+)= a * b, e4m3: both operands in shared memory; 32 k. One thread.
__device__ __forceinline__ void tensorMultiplyE4m3(u32 d, u64 a, u64 b, u32 instruction, u32 add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %4, 0;\n"
               "tcgen05.mma.cta_group::1.kind::f8f6f4 [%0], %1, %2, %3, p;\n}" ::"r"(d),
               "l"(a), "l"(b), "r"(instruction), "r"(add)
               : "memory");
}
/// d (+)= a * b, e2m1 with scales in tensor memory: those of row (column) r in lanes r % 32 of all
/// warps, column r / 32, four e4m3; 64 k. One thread.
__device__ __forceinline__ void tensorMultiplyE2m1(u32 d, u64 a, u64 b, u32 instruction, u32 scalesA,
                                                   u32 scalesB, u32 add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %6, 0;\n"
               "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16 [%0], %1, %2, %3, "
               "[%4], [%5], p;\n}" ::"r"(d),
               "l"(a), "l"(b), "r"(instruction), "r"(scalesA), "r"(scalesB), "r"(add)
               : "memory");
}

/// d (+)= a * b, bf16 or f16: 128 rows of a in tensor memory, two neighbouring k a column; 16 k. One thread.
__device__ __forceinline__ void tensorMultiplyHalf(u32 d, u32 a, u64 b, u32 instruction, u32 add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %4, 0;\n"
               "tcgen05.mma.cta_group::1.kind::f16 [%0], [%1], %2, %3, p;\n}" ::"r"(d),
               "r"(a), "l"(b), "r"(instruction), "r"(add)
               : "memory");
}

} // namespace platen
