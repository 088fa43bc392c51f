// The ring of stages in shared memory that one side of a block fills and another multiplies, and
// their barriers. Step s stands in stage s % kStages; barriers change their parity with every round.
namespace platen {

/// Dynamic shared memory of kernels with such a ring.
__device__ __forceinline__ u8 *stagesBase() {
  extern __shared__ __align__(1024) u8 platenStages[];
  return platenStages;
}

template <u32 kStages, u32 kStage> struct StagePipeline {
  static constexpr u32 kBarrierBytes = 32; // of a stage
  u32 stages, barriers;                    // addresses of the first ones
  __device__ u32 stage(u32 step) const { return stages + step % kStages * kStage; }
  __device__ u32 full(u32 step) const { return barriers + step % kStages * kBarrierBytes; }
  __device__ u32 empty(u32 step) const { return full(step) + 8; }
  /// What a family has a third barrier for.
  __device__ u32 third(u32 step) const { return full(step) + 16; }
  __device__ static u32 parity(u32 step) { return step / kStages % 2; }
  __device__ void waitEmpty(u32 step) const { barrierWait(empty(step), parity(step) ^ 1); }
  __device__ void waitFull(u32 step) const { barrierWait(full(step), parity(step)); }
};

} // namespace platen
