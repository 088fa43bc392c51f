// Matmul of narrow floats on the tensor memory units of sm_100 and sm_110: a block multiplies 8 panels
// (128 channels) by kTokens tokens.
//
// Both operands come from shared memory: a panel's chunks of 8 channels x 16 bytes are the cores that
// the unit reads, so that packed weights are copied and never rearranged. A stage holds a step:
//   tokens        [kTokens][128 swizzled bytes], by a tensor map of the workspace
//   panels        [accumulator][8 chunks][8 panels][16 channels][16 bytes], by bulk copies
//   group scales  [accumulator][8 panels][4 x 64 k][16 channels] and [kTokens][4] words (e2m1)
// Warps 0 to 3 put the scales into tensor memory, where the unit reads them, and at the end bring
// sums to y; warp 4 copies; warp 5 reserves tensor memory, and one thread of it multiplies.
//
// Numerics, equal bits for every tile, batch and chunking: specs.h; one accumulator an element, k
// ascending, 32 bytes at a time (of e4m3, too: this unit keeps whole f32 sums).
//
// Grid: x = ceil(panels / 8), y = ceil(E / kTokens). Threads: 192.
// C as MatmulRound, and kStages; kTokens is a multiple of 16 up to 128.
namespace platen {

template <typename C> struct MatmulBlackwellNarrow : MatmulRound<C> {
  using M = Matmul<C>;
  using R = MatmulRound<C>;
  using R::kSteps;
  static constexpr bool kFour = C::kElement == kF4;
  static constexpr u32 kThreads = 192, kBlockPanels = 8;
  static constexpr u32 kChunks = R::kPanelCodes / 256; // of a panel
  static constexpr u32 kXStage = C::kTokens * 128;
  static constexpr u32 kPanelStage = 8 * kBlockPanels * 256; // of an accumulator
  static constexpr u32 kGroupsAt = kXStage + M::kAccumulators * kPanelStage;
  static constexpr u32 kGroupStage = kFour ? kBlockPanels * 256 : 0;
  static constexpr u32 kTokenGroupsAt = kGroupsAt + M::kAccumulators * kGroupStage;
  static constexpr u32 kStage = (kTokenGroupsAt + (kFour ? C::kTokens * 16 : 0) + 1023) / 1024 * 1024;
  static constexpr u32 kBarriers = C::kStages * kStage;
  using Pipeline = StagePipeline<C::kStages, kStage>;
  static constexpr u32 kSharedBytes = kBarriers + C::kStages * Pipeline::kBarrierBytes + 16;
  // Columns: sums [accumulator][token], then scales [stage][64 k][accumulators, tokens][4].
  static constexpr u32 kSums = M::kAccumulators * C::kTokens;
  static constexpr u32 kScaleSet = 4 * (M::kAccumulators + 1); // of 64 k
  static constexpr u32 kUsed = kSums + (kFour ? C::kStages * 4 * kScaleSet : 0);
  static constexpr u32 kColumns = kUsed <= 64 ? 64 : kUsed <= 128 ? 128 : kUsed <= 256 ? 256 : 512;
  static_assert(R::kNarrow, "e4m3 or e2m1 weights");
  static_assert(C::kTokens % 16 == 0 && C::kTokens <= 128, "columns of an instruction");
  static_assert(kUsed <= 512, "columns of tensor memory");

  /// Fragments of 32 bytes of k (two chunks, 64 k of e2m1) that exist in a step.
  __device__ static u32 fragments(u32 step) { return min(4u, kChunks / 2 - step * 4); }
  __device__ static u32 scales(u32 tensor, u32 step, u32 s) {
    return tensor + kSums + (step % C::kStages * 4 + s) * kScaleSet;
  }

  /// Warp 4: lane l copies panel l % 8, every fourth chunk; lane 0 announces and copies tokens.
  __device__ static void copy(const Pipeline &pipe, const MatmulOperands<C> &o, const u8 *workspace,
                              const void *map, i64 token) {
    const u32 lane = laneId(), panel = lane % kBlockPanels;
    const typename M::Place at = M::place(o, min(blockIdx.x * kBlockPanels + panel, M::kPanels - 1));
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      const u32 stage = pipe.stage(i), full = pipe.full(i), there = fragments(i);
      if (lane == 0) {
        barrierWait(pipe.empty(i), pipe.parity(i) ^ 1);
        barrierExpect(full, kXStage + (kFour ? C::kTokens * 16 : 0) +
                                M::kAccumulators * kBlockPanels * there * (kFour ? 576 : 512));
        copyTensor(stage, map, static_cast<int>(i * 128), static_cast<int>(token), full);
        if constexpr (kFour)
          copyBulk(stage + kTokenGroupsAt, workspace + R::groupScales(i, token), C::kTokens * 16,
                   full);
      }
      __syncwarp();
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w) {
        const u32 to = stage + kXStage + w * kPanelStage + panel * 256;
        for (u32 c = lane / kBlockPanels; c < 2 * there; c += 4)
          copyBulk(to + c * kBlockPanels * 256, at.w[w] + u64{i * 8 + c} * 256, 256, full);
        if (kFour && lane < kBlockPanels)
          copyBulk(stage + kGroupsAt + w * kGroupStage + panel * 256,
                   at.w[w] + R::kPanelCodes + u64{i} * 256, there * 64, full);
      }
    }
  }

  /// Warps 0 to 3: lane r has the scales of channels, and tokens, r, r + 32, ….
  __device__ static void feedScales(const Pipeline &pipe, u32 tensor) {
    const u32 lane = laneId(), own = warpId() * 32 << 16;
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      barrierWait(pipe.full(i), pipe.parity(i));
      tensorFenceAfter(); // whoever read these columns before is done
      const u32 stage = pipe.stage(i);
#pragma unroll 1
      for (u32 s = 0; s < fragments(i); ++s) {
        u32 v[4];
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w) {
#pragma unroll
          for (u32 j = 0; j < 4; ++j) {
            const u32 channel = lane + 32 * j;
            v[j] = loadShared4(stage + kGroupsAt + w * kGroupStage + channel / kPanel * 256 + s * 64 +
                               channel % kPanel * 4);
          }
          tensorStore4(scales(tensor, i, s) + 4 * w + own, v);
        }
#pragma unroll
        for (u32 j = 0; j < 4; ++j)
          v[j] = lane + 32 * j < C::kTokens
                     ? loadShared4(stage + kTokenGroupsAt + (lane + 32 * j) * 16 + s * 4)
                     : 0;
        tensorStore4(scales(tensor, i, s) + 4 * M::kAccumulators + own, v);
      }
      tensorWaitStores();
      tensorFenceBefore();
      barrierArrive(pipe.third(i));
    }
  }

  /// One thread.
  __device__ static void multiply(const Pipeline &pipe, u32 tensor, u32 done) {
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      barrierWait(pipe.full(i), pipe.parity(i));
      if constexpr (kFour)
        barrierWait(pipe.third(i), pipe.parity(i));
      tensorFenceAfter();
      const u64 x = tensorRows128(pipe.stage(i));
#pragma unroll 1
      for (u32 s = 0; s < fragments(i); ++s)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w) {
          const u64 a = tensorCores<128, kBlockPanels * 256>(pipe.stage(i) + kXStage +
                                                             w * kPanelStage +
                                                             s * (2 * kBlockPanels * 256));
          if constexpr (kFour)
            tensorMultiplyE2m1(tensor + w * C::kTokens, a, x + s * 2,
                               kTensorScaledInstruction<C::kTokens>, scales(tensor, i, s) + 4 * w,
                               scales(tensor, i, s) + 4 * M::kAccumulators, i + s != 0);
          else
            tensorMultiplyE4m3(tensor + w * C::kTokens, a, x + s * 2,
                               kTensorInstruction<0, C::kTokens>, i + s != 0);
        }
      tensorCommit(pipe.empty(i));
    }
    tensorCommit(done);
  }

  /// Warps 0 to 3: lanes of a warp write neighbouring channels.
  __device__ static void store(const MatmulOperands<C> &o, const u8 *workspace, u32 tensor,
                               i64 token, u32 tokens) {
    const u32 channel = threadIdx.x;
    const typename M::Place at = M::place(o, blockIdx.x * kBlockPanels + channel / kPanel);
    const bool exists = channel % kPanel < at.channels;
    float scale[M::kAccumulators];
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w)
      scale[w] = exists ? R::channelScale(at.w[w], channel % kPanel) : 0;
#pragma unroll 1
    for (u32 first = 0; first < tokens; first += 16) {
      float sums[M::kAccumulators][16];
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
        tensorLoad16(sums[w], tensor + w * C::kTokens + first + (warpId() * 32 << 16));
      tensorWaitLoads();
#pragma unroll
      for (u32 t = 0; t < 16; ++t) {
        if (first + t >= tokens || !exists)
          continue;
        float own[M::kAccumulators];
        const float tokenScale = R::tokenScale(workspace, token + first + t);
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          own[w] = sums[w][t] * (tokenScale * scale[w]);
        M::finish(o, token + first + t, at.column + channel % kPanel, own);
      }
    }
  }

  __device__ static void run(const PlatenCudaStep *step, const MatmulOperands<C> &o,
                             const void *workspace, const void *map) {
    const i64 extent = C::extent(step), token = i64{blockIdx.y} * C::kTokens;
    if (token >= extent)
      return;
    const u32 tokens = static_cast<u32>(min(i64{C::kTokens}, extent - token));
    const Pipeline pipe{sharedAddress(stagesBase()), sharedAddress(stagesBase()) + kBarriers};
    const u32 done = pipe.barriers + C::kStages * Pipeline::kBarrierBytes, reserved = done + 8;
    const u32 warp = warpId();
    const u8 *rows = static_cast<const u8 *>(workspace);
    if (threadIdx.x == 0) {
      for (u32 i = 0; i < C::kStages; ++i) {
        barrierInit(pipe.full(i), 1);
        barrierInit(pipe.empty(i), 1);
        barrierInit(pipe.third(i), 128);
      }
      barrierInit(done, 1);
      barrierInitFence();
    }
    if (warp == 5) {
      tensorAllocate<kColumns>(reserved);
      tensorFenceBefore();
    }
    __syncthreads();
    tensorFenceAfter();
    const u32 tensor = loadShared4(reserved);
    if (warp < 4) {
      if constexpr (kFour)
        feedScales(pipe, tensor);
      barrierWait(done, 0);
      tensorFenceAfter();
      store(o, rows, tensor, token, tokens);
      tensorFenceBefore();
    } else if (warp == 4) {
      copy(pipe, o, rows, map, token);
    } else if (laneId() == 0) {
      multiply(pipe, tensor, done);
    }
    __syncthreads();
    if (warp == 5) {
      tensorFenceAfter();
      tensorFree<kColumns>(tensor);
    }
  }
};

} // namespace platen
