// Device primitives of sm_90a: the warpgroup's matrix multiply. The instructions themselves have up
// to 128 result registers and are printed for the sizes that a kernel uses (wgmma_print.h).
//
// Warp w of a warpgroup holds rows 16w..16w+15 of A and D, inside them lanes as in device.cuh.
namespace platen {

template <u32 kN> struct Wgmma;

/// Registers written before this may be read by matrix instructions after it.
__device__ __forceinline__ void wgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Keeps what computes a register before the fence that follows.
__device__ __forceinline__ void wgmmaPin(float &r) { asm volatile("" : "+f"(r)::"memory"); }
__device__ __forceinline__ void wgmmaPin(u32 &r) { asm volatile("" : "+r"(r)::"memory"); }
__device__ __forceinline__ void wgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` groups are still under way.
template <int kPending> __device__ __forceinline__ void wgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
template <u32 kRegisters> __device__ __forceinline__ void registersUp() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <u32 kRegisters> __device__ __forceinline__ void registersDown() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// Descriptor of an operand whose rows are 128 bytes of k, swizzled: groups of 8 rows, 1024 bytes.
__device__ __forceinline__ u64 wgmmaRows128(u32 address) {
  return u64{(address & 0x3ffffu) >> 4} | u64{1} << 16 | u64{1024 >> 4} << 32 | u64{1} << 62;
}

/// Descriptors of a b operand whose k is the slow dimension: groups of 8 k follow each other. Columns
/// stand in swizzled rows of 32 bytes (16 columns) or 128 bytes (64); `kColumns` bytes from one such
/// row of columns to the next.
template <u32 kColumns> __device__ __forceinline__ u64 wgmmaColumns32(u32 address) {
  return u64{(address & 0x3ffffu) >> 4} | u64{kColumns >> 4} << 16 | u64{256 >> 4} << 32 |
         u64{3} << 62;
}
template <u32 kColumns> __device__ __forceinline__ u64 wgmmaColumns128(u32 address) {
  return u64{(address & 0x3ffffu) >> 4} | u64{kColumns >> 4} << 16 | u64{1024 >> 4} << 32 |
         u64{1} << 62;
}

} // namespace platen
