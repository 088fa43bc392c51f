// Device primitives: the PTX that the families are made of, one function an instruction, and the
// lane layouts that they share. Prepended to every kernel; includes nothing, so that NVRTC needs no
// toolkit headers.
//
// Lanes of an mma.m16n8 (PTX ISA, "Matrix Fragments"): g = lane / 4, q = lane % 4.
//   A 16 x 32 bytes: word 0 row g, word 1 row g+8 (bytes 4q..4q+3); words 2, 3 the same, 16 bytes on
//   B 32 bytes x 8:  word 0 column g, bytes 4q..4q+3; word 1 the same, 16 bytes on
//   C 16 x 8 words:  0, 1 row g, columns 2q, 2q+1; 2, 3 row g+8
namespace platen {

using u8 = unsigned char;
using i8 = signed char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

constexpr u32 kWarp = 32;
constexpr u32 kPanel = 16;    // channels of a weight panel
constexpr u32 kPageTokens = 16;

__host__ __device__ constexpr u64 ceilDiv(u64 a, u64 b) { return (a + b - 1) / b; }
__device__ __forceinline__ float minusInfinity() { return __int_as_float(0xff800000); }

__device__ __forceinline__ u32 laneId() { return threadIdx.x % kWarp; }
__device__ __forceinline__ u32 warpId() { return threadIdx.x / kWarp; }

// --- Numbers

/// Two f32 to bf16, nearest even; `low` in the low half.
__device__ __forceinline__ u32 packBf16(float low, float high) {
  u32 d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
/// Two f32 to f16, nearest even, beyond its range +-65504; `low` in the low half.
__device__ __forceinline__ u32 packF16(float low, float high) {
  u32 d;
  asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
__device__ __forceinline__ float bf16Low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16High(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ float halfToFloat(u16 bits) {
  float d;
  asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(bits));
  return d;
}
/// 2^x, two units in the last place; 0 for -infinity.
__device__ __forceinline__ float exp2Fast(float x) {
  float d;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
  return d;
}
/// e^x for x <= 0, of softmaxes.
__device__ __forceinline__ float expFast(float x) { return exp2Fast(x * 1.4426950408889634f); }

// --- Shared memory and asynchronous copies

__device__ __forceinline__ u32 sharedAddress(const void *p) {
  return static_cast<u32>(__cvta_generic_to_shared(p));
}
/// Copies 16 bytes, or as many as `bytes` says followed by zeros. Both sides are 16-byte aligned.
__device__ __forceinline__ void copyAsync16(u32 destination, const void *source, u32 bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination),
               "l"(__cvta_generic_to_global(source)), "r"(bytes)
               : "memory");
}
/// Copies 4 bytes, or zeros if not `present`.
__device__ __forceinline__ void copyAsync4(u32 destination, const void *source, bool present) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(destination),
               "l"(__cvta_generic_to_global(source)), "r"(present ? 4u : 0u)
               : "memory");
}
__device__ __forceinline__ void copyAsyncCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most `kPending` of this thread's groups are still under way.
template <int kPending> __device__ __forceinline__ void copyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// Four 8 x 16-byte matrices; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void loadMatrix4(u32 (&d)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void loadMatrix4Transposed(u32 (&d)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(address)
               : "memory");
}
/// As above with two matrices; lanes 0 to 15 give the addresses.
__device__ __forceinline__ void loadMatrix2Transposed(u32 (&d)[2], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(d[0]), "=r"(d[1])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void loadShared8(u32 &a, u32 &b, u32 address) {
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(address) : "memory");
}
__device__ __forceinline__ void storeShared4(u32 address, u32 a) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(a) : "memory");
}
__device__ __forceinline__ void storeShared8(u32 address, u32 a, u32 b) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(address), "r"(a), "r"(b) : "memory");
}

// --- Matrix multiply-accumulate: c += a * b

/// 16 x 16 times 16 x 8 of bf16, f32 sums.
__device__ __forceinline__ void mmaBf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// 16 x 16 times 16 x 8 of f16, f32 sums.
__device__ __forceinline__ void mmaF16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// 16 x 32 times 32 x 8 of i8, exact.
__device__ __forceinline__ void mmaI8(int (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// --- Reductions in a fixed order

__device__ __forceinline__ float add(float a, float b) { return a + b; }
/// As max and min of scalar blocks on the host.
__device__ __forceinline__ float maximum(float a, float b) { return a > b ? a : b; }
__device__ __forceinline__ float minimum(float a, float b) { return a < b ? a : b; }

template <float (*kCombine)(float, float)> __device__ __forceinline__ float warpReduce(float v) {
#pragma unroll
  for (u32 step = kWarp / 2; step != 0; step /= 2)
    v = kCombine(v, __shfl_xor_sync(0xffffffffu, v, step));
  return v;
}

/// Of all threads of the block, to all of them. `scratch`: kThreads / 32 floats of shared memory,
/// free again when the next block-wide barrier is passed.
template <u32 kThreads, float (*kCombine)(float, float)>
__device__ __forceinline__ float blockReduce(float v, float *scratch) {
  v = warpReduce<kCombine>(v);
  if constexpr (kThreads > kWarp) {
    if (laneId() == 0)
      scratch[warpId()] = v;
    __syncthreads();
    v = scratch[0];
#pragma unroll
    for (u32 warp = 1; warp < kThreads / kWarp; ++warp)
      v = kCombine(v, scratch[warp]);
    __syncthreads();
  }
  return v;
}

} // namespace platen
