// Matmul families fed by the copy engine (sm_90a, sm_100f): the pipeline of stages and its producers.
//
// A stage holds a step (matmul_round.cuh): tokens [kTokens][128 swizzled bytes], then panels,
// kPanelStride bytes apart.
//   panels  one warp, a lane a panel, bulk copies
//   tokens  a box of a tensor map over the workspace, which round() has filled; or, without
//           kTensorMap, three warps take turns to load f32 tokens, round them to bf16 or f16 and store them
// Barriers of a stage (matmul_pipeline.cuh): the third is the family's.
//
// C as MatmulRound, and kStages, kTensorMap.
namespace platen {

template <typename C, u32 kPanels_, u32 kPanelStride> struct MatmulStage : MatmulRound<C> {
  using M = Matmul<C>;
  using R = MatmulRound<C>;
  using R::kStepK, R::kSteps, R::kPanelStep, R::kPanelCodes;
  static constexpr u32 kBlockPanels = kPanels_;
  static constexpr u32 kCopies = M::kAccumulators * kBlockPanels; // panels in a stage
  static constexpr u32 kXStage = C::kTokens * 128;
  static constexpr u32 kStage = (kXStage + kCopies * kPanelStride + 1023) / 1024 * 1024;
  using Pipeline = StagePipeline<C::kStages, kStage>;
  static_assert(M::kHalf || (C::kElement == kF8 && C::kTensorMap), "kinds of weights");
  static_assert(C::kSlices == 1, "one accumulator an element");
  static_assert(C::kTokens % 8 == 0 && C::kTokens <= 256, "columns of the instruction");
  static_assert(kBlockPanels <= kWarp, "a lane copies a panel");
  static_assert(kPanelStride >= kPanelStep && kPanelStride % 16 == 0, "panels lie apart");

  static constexpr u32 kFullArrivals = C::kTensorMap ? 1 : 1 + kWarp;

  // --- Producers

  /// Lane l copies panel l of every stage (the last one again where there are no more); lane 0
  /// announces the bytes and copies the tokens.
  __device__ static void copyPanels(const Pipeline &pipe, const MatmulOperands<C> &o,
                                    const void *map, i64 token) {
    const u32 lane = laneId();
    const typename M::Place at = M::place(o, min(blockIdx.x * kBlockPanels + lane, M::kPanels - 1));
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      const u32 bytes = min(kPanelStep, kPanelCodes - i * kPanelStep);
      if (lane == 0) {
        pipe.waitEmpty(i);
        barrierExpect(pipe.full(i), kCopies * bytes + (C::kTensorMap ? kXStage : 0));
      }
      __syncwarp();
      if (lane < kBlockPanels)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          copyBulk(pipe.stage(i) + kXStage + (lane * M::kAccumulators + w) * kPanelStride,
                   at.w[w] + u64{i} * kPanelStep, bytes, pipe.full(i));
      if constexpr (C::kTensorMap)
        if (lane == 0)
          copyTensor(pipe.stage(i), map, static_cast<int>(i * 128), static_cast<int>(token),
                     pipe.full(i));
    }
  }

  /// Steps `first`, `first` + 3, … of x, from f32.
  __device__ static void convertSteps(const Pipeline &pipe, const float *x, u32 tokens, u32 first) {
    constexpr u32 kItems = C::kTokens * 8 / kWarp; // 16-byte chunks a lane
#pragma unroll 1
    for (u32 i = first; i < kSteps; i += 3) {
      uint4 chunk[kItems];
#pragma unroll
      for (u32 j = 0; j < kItems; ++j) {
        const u32 item = j * kWarp + laneId(), row = item / 8;
        chunk[j] = R::roundHalf(x + u64{row} * C::kK, i * kStepK + item % 8 * 8, row < tokens);
      }
      pipe.waitEmpty(i);
#pragma unroll
      for (u32 j = 0; j < kItems; ++j) {
        const u32 item = j * kWarp + laneId();
        storeShared16(pipe.stage(i) + swizzled128(item / 8, item % 8), chunk[j]);
      }
      fenceToAsync();
      barrierArrive(pipe.full(i));
    }
  }
};

} // namespace platen
