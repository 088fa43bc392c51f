// Device primitives of sm_90 and newer: barriers in shared memory (mbarrier), the copy engine (bulk
// copies and tensor maps), and what orders the ordinary and the asynchronous view of shared memory.
//
// A stage of a pipeline has two barriers. `full` completes a phase when its producers have arrived
// and the bytes that they announced are there; `empty` when all consumers are done with the stage.
// The phase's parity of use number u of a stage is u % 2; the first wait for `empty` must not block,
// so it asks for the parity of the phase before the first one.
namespace platen {

__device__ __forceinline__ void barrierInit(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// Makes initialised barriers visible to the copy engine; a block-wide barrier must follow.
__device__ __forceinline__ void barrierInitFence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrierArrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives, and announces bytes that copies will bring.
__device__ __forceinline__ void barrierExpect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ bool barrierTry(u32 barrier, u32 parity) {
  u32 done;
  asm volatile("{\n.reg .pred p;\n"
               "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
               "selp.u32 %0, 1, 0, p;\n}"
               : "=r"(done)
               : "r"(barrier), "r"(parity)
               : "memory");
  return done != 0;
}
__device__ __forceinline__ void barrierWait(u32 barrier, u32 parity) {
  while (!barrierTry(barrier, parity)) {
  }
}

/// Ordinary stores to shared memory before this are seen by copies and matrix instructions after it.
__device__ __forceinline__ void fenceToAsync() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Copies bytes (a multiple of 16; both addresses too) and reports them to the barrier.
__device__ __forceinline__ void copyBulk(u32 destination, const void *source, u32 bytes,
                                         u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
               "[%3];" ::"r"(destination),
               "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(barrier)
               : "memory");
}
/// Copies a box of a tensor map; x counts elements of the contiguous dimension.
__device__ __forceinline__ void copyTensor(u32 destination, const void *map, int x, int y,
                                           u32 barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
               "[%1, {%2, %3}], [%4];" ::"r"(destination),
               "l"(map), "r"(x), "r"(y), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void copyTensor(u32 destination, const void *map, int x, int y, int z,
                                           u32 barrier) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
               "[%1, {%2, %3, %4}], [%5];" ::"r"(destination),
               "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
               : "memory");
}

__device__ __forceinline__ u32 loadShared4(u32 address) {
  u32 d;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(d) : "r"(address) : "memory");
  return d;
}
__device__ __forceinline__ void storeShared16(u32 address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}

/// A barrier of some warps of the block; number 0 is __syncthreads.
template <u32 kThreads> __device__ __forceinline__ void syncSome(u32 number) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "n"(kThreads) : "memory");
}

/// Byte of 16-byte chunk `chunk` of row `row` in a tile of 128-byte rows that the copy engine and the
/// matrix units swizzle alike; the tile begins at a multiple of 1024 bytes.
__device__ __forceinline__ u32 swizzled128(u32 row, u32 chunk) {
  return row * 128 + ((chunk ^ (row % 8)) * 16);
}

} // namespace platen
