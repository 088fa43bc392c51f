// Matmul on the warpgroup units of sm_90a: a block multiplies kWarpgroups * 4 panels by kTokens
// tokens, one template for decode and prefill.
//
// Weights are the A operand, from registers: a panel's rows of 16 words are what a lane of the
// fragment wants, so that panels serve unchanged and are stored once for all targets. Tokens are the
// B operand, from shared memory, 128 swizzled bytes of k a token.
//   producer warpgroup   matmul_stage.cuh
//   consumer warpgroups  load a stage's words into registers, multiply, release the stage
// A lane reads channels g and g + 8; of bf16 and f16, lanes q >= 2 read them in the other order, so that a
// warp's read hits 32 banks.
//
// Numerics, equal bits for every tile, batch and chunking: specs.h. bf16, f16: one accumulator an element
// that the matrix unit sums, k ascending, 16 at a time. e4m3: the unit sums 128 k, whose sums are
// added in f32, because the unit's own accumulator keeps fewer bits for e4m3. All candidates use the
// same instruction; an element's sum does not depend on the instruction's number of columns.
//
// Applies to bf16, f16 and f8 panels of every shape. Costs one pass over the weights for every kTokens tokens.
// Grid: x = ceil(panels / kBlockPanels), y = ceil(E / kTokens). Threads: 128 * (1 + kWarpgroups).
// C as MatmulStage, kSlices = 1, and kWarpgroups, kRegisters (of a consumer; 0: the compiler's).
namespace platen {

template <typename C>
struct MatmulHopper : MatmulStage<C, C::kWarpgroups * 4, 2048> {
  using S = MatmulStage<C, C::kWarpgroups * 4, 2048>;
  using M = Matmul<C>;
  using typename S::Pipeline;
  using S::kBlockPanels, S::kSteps, S::kXStage, S::kStage, S::kPanelStep, S::kPanelCodes;
  static constexpr u32 kFragments = 4; // of a step, 32 bytes of k each
  static constexpr u32 kPanelStride = 2048;
  static constexpr u32 kConsumerThreads = C::kWarpgroups * 128;
  static constexpr u32 kThreads = kConsumerThreads + 128;
  // Results pass through the stages' memory: [channel group][accumulator][token][64 channels + pad].
  static constexpr u32 kOutPitch = 64 + 4;
  static constexpr u32 kOutTile = C::kTokens * kOutPitch; // floats
  static constexpr u32 kOutBytes = C::kWarpgroups * M::kAccumulators * kOutTile * 4;
  static constexpr u32 kBarriers = C::kStages * kStage > kOutBytes ? C::kStages * kStage : kOutBytes;
  static constexpr u32 kSharedBytes = kBarriers + C::kStages * Pipeline::kBarrierBytes;

  // --- Consumers

  using Sums = float[M::kAccumulators][C::kTokens / 2];

  /// Byte of word i of fragment s of this lane in a panel's step.
  __device__ static u32 wordAt(u32 s, u32 i) {
    const u32 g = laneId() / 4, q = laneId() % 4, half = i / 2;
    if constexpr (S::kNarrow)
      return (2 * s + half) * 256 + (g + i % 2 * 8) * 16 + q * 4;
    const u32 first = q / 2 * 8; // of the two channels
    return (s * 8 + half * 4 + q) * 64 + (g + (i % 2 == 0 ? first : 8 - first)) * 4;
  }
  /// Fragment s of a panel's step, of which `bytes` exist; zeros for the others.
  __device__ static void loadWords(u32 (&a)[4], u32 panel, u32 s, u32 bytes) {
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
      const u32 at = wordAt(s, i);
      if constexpr (kPanelCodes % kPanelStep == 0) {
        a[i] = loadShared4(panel + at);
      } else {
        const u32 there = loadShared4(panel + min(at, bytes - 4));
        a[i] = at < bytes ? there : 0;
      }
    }
    if constexpr (!S::kNarrow) {
      const bool swapped = laneId() % 4 >= 2;
#pragma unroll
      for (u32 i = 0; i < 4; i += 2) {
        const u32 low = a[i], high = a[i + 1];
        a[i] = swapped ? high : low, a[i + 1] = swapped ? low : high;
      }
    }
  }

  __device__ static void multiply(Sums &acc, const Pipeline &pipe, u32 i) {
    const u32 stage = pipe.stage(i), bytes = kPanelCodes - i * kPanelStep;
    const u32 panels = stage + kXStage + warpId() * M::kAccumulators * kPanelStride;
    const u64 x = wgmmaRows128(stage);
    u32 a[M::kAccumulators][kFragments][4];
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
      for (u32 s = 0; s < kFragments; ++s)
        loadWords(a[w][s], panels + w * kPanelStride, s, bytes);
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w) {
#pragma unroll
      for (u32 s = 0; s < kFragments * 4; ++s)
        wgmmaPin(a[w][s / 4][s % 4]);
#pragma unroll
      for (u32 e = 0; e < C::kTokens / 2; ++e)
        wgmmaPin(acc[w][e]);
    }
    wgmmaFence();
#pragma unroll
    for (u32 s = 0; s < kFragments; ++s)
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w) {
        if constexpr (C::kElement == kF8)
          Wgmma<C::kTokens>::f8(acc[w], a[w][s], x + s * 2, s != 0);
        else if constexpr (C::kElement == kF16)
          Wgmma<C::kTokens>::f16(acc[w], a[w][s], x + s * 2, 1);
        else
          Wgmma<C::kTokens>::bf16(acc[w], a[w][s], x + s * 2, 1);
      }
    wgmmaCommit();
    wgmmaWait<0>();
  }

  /// Through shared memory to y: lanes of a warp write neighbouring channels.
  __device__ static void store(const Sums &acc, const MatmulOperands<C> &o, const void *workspace,
                               i64 token, u32 tokens) {
    const u32 group = warpId() / 4, g = laneId() / 4, q = laneId() % 4;
    float *tile = reinterpret_cast<float *>(stagesBase()) + group * M::kAccumulators * kOutTile;
    syncSome<kConsumerThreads>(1); // all are done with the stages
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
      for (u32 i = 0; i < C::kTokens / 2; ++i)
        tile[w * kOutTile + (i / 4 * 8 + 2 * q + i % 2) * kOutPitch + warpId() % 4 * 16 + g +
             i % 4 / 2 * 8] = acc[w][i];
    syncSome<128>(2 + group);
    const u32 thread = threadIdx.x % 128, channel = thread % 64;
    const typename M::Place at =
        M::place(o, blockIdx.x * kBlockPanels + group * 4 + channel / kPanel);
    if (channel % kPanel >= at.channels)
      return;
    float scale[M::kAccumulators]; // of the channel
    if constexpr (S::kNarrow)
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
        scale[w] = S::channelScale(at.w[w], channel % kPanel);
#pragma unroll 2
    for (u32 row = thread / 64; row < tokens; row += 2) {
      float sums[M::kAccumulators];
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
        sums[w] = tile[w * kOutTile + row * kOutPitch + channel];
      if constexpr (S::kNarrow)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          sums[w] *= S::tokenScale(workspace, token + row) * scale[w];
      M::finish(o, token + row, at.column + channel % kPanel, sums);
    }
  }

  __device__ static void consume(const Pipeline &pipe, const MatmulOperands<C> &o,
                                 const void *workspace, i64 token, u32 tokens) {
    Sums acc = {}, total = {}; // total: of e4m3, sums of the steps before
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      pipe.waitFull(i);
      multiply(acc, pipe, i);
      if (laneId() == 0)
        barrierArrive(pipe.empty(i));
      if constexpr (C::kElement == kF8)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
          for (u32 e = 0; e < C::kTokens / 2; ++e)
            total[w][e] += acc[w][e];
    }
    if constexpr (C::kElement == kF8)
      store(total, o, workspace, token, tokens);
    else
      store(acc, o, workspace, token, tokens);
  }

  // --- Entry

  __device__ static void run(const PlatenCudaStep *step, const MatmulOperands<C> &o,
                             const void *workspace, const void *map) {
    const i64 extent = C::extent(step), token = i64{blockIdx.y} * C::kTokens;
    if (token >= extent)
      return;
    const u32 tokens = static_cast<u32>(min(i64{C::kTokens}, extent - token));
    const Pipeline pipe{sharedAddress(stagesBase()), sharedAddress(stagesBase()) + kBarriers};
    if (threadIdx.x == 0) {
      for (u32 i = 0; i < C::kStages; ++i) {
        barrierInit(pipe.full(i), S::kFullArrivals);
        barrierInit(pipe.empty(i), kBlockPanels);
      }
      barrierInitFence();
    }
    __syncthreads();
    if (threadIdx.x < kConsumerThreads) {
      if constexpr (C::kRegisters != 0)
        registersUp<C::kRegisters>();
      consume(pipe, o, workspace, token, tokens);
    } else {
      if constexpr (C::kRegisters != 0)
        registersDown<40>();
      const u32 warp = warpId() - kBlockPanels;
      if (warp == 0)
        S::copyPanels(pipe, o, map, token);
      else if constexpr (!C::kTensorMap)
        S::convertSteps(pipe, static_cast<const float *>(o.x) + token * C::kK, tokens, warp - 1);
    }
  }
};

} // namespace platen
