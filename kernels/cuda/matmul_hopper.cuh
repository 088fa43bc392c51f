// Matmul on the warpgroup units of sm_90a: a block multiplies kWarpgroups * 4 panels by kTokens
// tokens, one template for decode and prefill.
//
// Weights are the A operand, from registers: a panel's rows of 16 words are what a lane of the
// fragment wants, so that panels serve unchanged and are stored once for all targets. Tokens are the
// B operand, from shared memory, 128 swizzled bytes of k a token.
//   producer warpgroup   matmul_stage.cuh
//   consumer warpgroups  load a stage's words into registers, multiply, release the stage
// A lane reads channels g and g + 8; lanes q >= 2 read them in the other order, so that a warp's read
// hits 32 banks.
//
// Numerics, equal bits for every tile, batch and chunking: x rounded to bf16 (nearest even), one
// accumulator an element that the matrix unit sums, k ascending, 16 at a time. All candidates use the
// same instruction; an element's sum does not depend on the instruction's number of columns.
//
// Applies to bf16 panels of every shape. Costs one pass over the weights for every kTokens tokens.
// Grid: x = ceil(panels / kBlockPanels), y = ceil(E / kTokens). Threads: 128 * (1 + kWarpgroups).
// C as MatmulStage, kSlices = 1, and kWarpgroups, kRegisters (of a consumer; 0: the compiler's).
namespace platen {

template <typename C>
struct MatmulHopper : MatmulStage<C, C::kWarpgroups * 4, 2048> {
  using S = MatmulStage<C, C::kWarpgroups * 4, 2048>;
  using M = Matmul<C>;
  using typename S::Pipeline;
  using S::kBlockPanels, S::kStepRows, S::kWordRows, S::kSteps, S::kXStage, S::kStage, S::shared;
  static constexpr u32 kPanelStride = 2048;
  static constexpr u32 kConsumerThreads = C::kWarpgroups * 128;
  static constexpr u32 kThreads = kConsumerThreads + 128;
  // Results pass through the stages' memory: [channel group][accumulator][token][64 channels + pad].
  static constexpr u32 kOutPitch = 64 + 4;
  static constexpr u32 kOutTile = C::kTokens * kOutPitch; // floats
  static constexpr u32 kOutBytes = C::kWarpgroups * M::kAccumulators * kOutTile * 4;
  static constexpr u32 kBarriers = C::kStages * kStage > kOutBytes ? C::kStages * kStage : kOutBytes;
  static constexpr u32 kSharedBytes = kBarriers + C::kStages * S::kBarrierBytes;

  // --- Consumers

  using Sums = float[M::kAccumulators][C::kTokens / 2];

  /// The fragment of word rows 8s..8s+7 of a panel; zeros for rows that do not exist.
  __device__ static void loadWords(u32 (&a)[4], u32 panel, u32 s, u32 rows) {
    const u32 g = laneId() / 4, q = laneId() % 4, first = q / 2 * 8;
    u32 word[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
      const u32 row = s * 8 + i / 2 * 4 + q, channel = g + (i % 2 == 0 ? first : 8 - first);
      if constexpr (kWordRows % kStepRows == 0) {
        word[i] = loadShared4(panel + row * 64 + channel * 4);
      } else {
        const u32 there = loadShared4(panel + min(row, rows - 1) * 64 + channel * 4);
        word[i] = row < rows ? there : 0;
      }
    }
#pragma unroll
    for (u32 i = 0; i < 4; i += 2) {
      a[i] = q < 2 ? word[i] : word[i + 1];
      a[i + 1] = q < 2 ? word[i + 1] : word[i];
    }
  }

  __device__ static void multiply(Sums &acc, const Pipeline &pipe, u32 i) {
    const u32 stage = pipe.stage(i), rows = kWordRows - i * kStepRows;
    const u32 panels = stage + kXStage + warpId() * M::kAccumulators * kPanelStride;
    const u64 x = wgmmaRows128(stage);
    u32 a[M::kAccumulators][kStepRows / 8][4];
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
      for (u32 s = 0; s < kStepRows / 8; ++s)
        loadWords(a[w][s], panels + w * kPanelStride, s, rows);
    wgmmaFence();
#pragma unroll
    for (u32 s = 0; s < kStepRows / 8; ++s)
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
        Wgmma<C::kTokens>::bf16(acc[w], a[w][s], x + s * 2, 1);
    wgmmaCommit();
    wgmmaWait<0>();
  }

  /// Through shared memory to y: lanes of a warp write neighbouring channels.
  __device__ static void store(const Sums &acc, const MatmulOperands<C> &o, i64 token, u32 tokens) {
    const u32 group = warpId() / 4, g = laneId() / 4, q = laneId() % 4;
    float *tile = reinterpret_cast<float *>(shared()) + group * M::kAccumulators * kOutTile;
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
#pragma unroll 2
    for (u32 row = thread / 64; row < tokens; row += 2) {
      float sums[M::kAccumulators];
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
        sums[w] = tile[w * kOutTile + row * kOutPitch + channel];
      M::finish(o, token + row, at.column + channel % kPanel, sums);
    }
  }

  __device__ static void consume(const Pipeline &pipe, const MatmulOperands<C> &o, i64 token,
                                 u32 tokens) {
    Sums acc = {};
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      pipe.waitFull(i);
      multiply(acc, pipe, i);
      if (laneId() == 0)
        barrierArrive(pipe.empty(i));
    }
    store(acc, o, token, tokens);
  }

  // --- Entry

  __device__ static void run(const PlatenCudaStep *step, const MatmulOperands<C> &o,
                             const void *map) {
    const i64 extent = C::extent(step), token = i64{blockIdx.y} * C::kTokens;
    if (token >= extent)
      return;
    const u32 tokens = static_cast<u32>(min(i64{C::kTokens}, extent - token));
    const Pipeline pipe{sharedAddress(shared()), sharedAddress(shared()) + kBarriers};
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
      consume(pipe, o, token, tokens);
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
