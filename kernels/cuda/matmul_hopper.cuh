// Matmul on the warpgroup units of sm_90a: a block multiplies kWarpgroups * 4 panels by kTokens
// tokens, one template for decode and prefill.
//
// Weights are the A operand, from registers: a panel's rows of 16 words are what a lane of the
// fragment wants, so that panels serve unchanged and are stored once for all targets. Tokens are the
// B operand, from shared memory, 128 swizzled bytes of k a token.
//   producer warpgroup  warp 0 copies panels by bulk copies (a lane a panel) and, with kTensorMap,
//                       tokens by a tensor map of the workspace that convert() has filled; without,
//                       warps 1 to 3 take turns to load f32 tokens, round them and store the stage
//   consumer warpgroups load a stage's words into registers, multiply, release the stage
// A step is 32 word rows of a panel: 64 k of bf16, 128 of e4m3. A lane reads channels g and g + 8;
// lanes q >= 2 read them in the other order, so that a warp's read hits 32 banks.
//
// Numerics, equal bits for every tile, batch and chunking: x rounded to bf16 (nearest even), one
// accumulator an element that the matrix unit sums, k ascending, 16 at a time. All candidates use the
// same instruction; an element's sum does not depend on the instruction's number of columns.
//
// Applies to bf16 panels of every shape. Costs one pass over the weights for every kTokens tokens.
// Grid: x = ceil(panels / kBlockPanels), y = ceil(E / kTokens). Threads: 128 * (1 + kWarpgroups).
// C as Matmul, kSlices = 1, and kWarpgroups, kTokens, kStages, kTensorMap, kRegisters. Workspace
// (kTensorMap): bf16 [stepExtent rounded up to kTokens][kPitch], zeros behind x.
namespace platen {

template <typename C> struct MatmulHopper : Matmul<C> {
  using M = Matmul<C>;
  static constexpr u32 kConsumerThreads = C::kWarpgroups * 128;
  static constexpr u32 kThreads = kConsumerThreads + 128;
  static constexpr u32 kBlockPanels = C::kWarpgroups * 4;
  static constexpr u32 kStepRows = 32;                // word rows of a panel in a step
  static constexpr u32 kStepK = 64;                   // elements
  static constexpr u32 kPanelStage = kStepRows * 64;  // bytes
  static constexpr u32 kWordRows = static_cast<u32>(ceilDiv(C::kK, 2));
  static constexpr u32 kSteps = static_cast<u32>(ceilDiv(C::kK, kStepK));
  static constexpr u64 kPitch = u64{kSteps} * kStepK; // elements of a row of the workspace
  static constexpr u32 kCopies = M::kAccumulators * kBlockPanels; // panels in a stage
  static constexpr u32 kXStage = C::kTokens * 128;
  static constexpr u32 kStage = kXStage + kCopies * kPanelStage;
  // Results pass through the stages' memory: [channel group][accumulator][token][64 channels + pad].
  static constexpr u32 kOutPitch = 64 + 4;
  static constexpr u32 kOutTile = C::kTokens * kOutPitch; // floats
  static constexpr u32 kOutBytes = C::kWarpgroups * M::kAccumulators * kOutTile * 4;
  static constexpr u32 kBarriers = C::kStages * kStage > kOutBytes ? C::kStages * kStage : kOutBytes;
  static constexpr u32 kSharedBytes = kBarriers + C::kStages * 16;
  static_assert(C::kElement == kBF16, "bf16 weights");
  static_assert(C::kSlices == 1, "one accumulator an element");
  static_assert(C::kTokens % 8 == 0 && C::kTokens <= 256, "columns of the instruction");
  static_assert(kBlockPanels <= kWarp, "a lane copies a panel");
  static_assert(kPitch * 2 % 16 == 0, "rows of a tensor map");

  __device__ static u8 *shared() {
    extern __shared__ __align__(1024) u8 platenStages[];
    return platenStages;
  }
  struct Pipeline {
    u32 stages, barriers;
    __device__ u32 stage(u32 step) const { return stages + step % C::kStages * kStage; }
    __device__ u32 full(u32 step) const { return barriers + step % C::kStages * 16; }
    __device__ u32 empty(u32 step) const { return full(step) + 8; }
    __device__ static u32 parity(u32 step) { return step / C::kStages % 2; }
    __device__ void waitEmpty(u32 step) const { barrierWait(empty(step), parity(step) ^ 1); }
    __device__ void waitFull(u32 step) const { barrierWait(full(step), parity(step)); }
  };

  // --- Producers

  /// Lane l copies panel l of every stage (the last one again where there are no more); lane 0
  /// announces the bytes and copies the tokens.
  __device__ static void copyPanels(const Pipeline &pipe, const MatmulOperands<C> &o,
                                    const void *map, i64 token) {
    const u32 lane = laneId();
    const typename M::Place at = M::place(o, min(blockIdx.x * kBlockPanels + lane, M::kPanels - 1));
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      const u32 bytes = min(kPanelStage, (kWordRows - i * kStepRows) * 64);
      if (lane == 0) {
        pipe.waitEmpty(i);
        barrierExpect(pipe.full(i), kCopies * bytes + (C::kTensorMap ? kXStage : 0));
      }
      __syncwarp();
      if (lane < kBlockPanels)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          copyBulk(pipe.stage(i) + kXStage + (lane * M::kAccumulators + w) * kPanelStage,
                   at.w[w] + u64{i} * kPanelStage, bytes, pipe.full(i));
      if constexpr (C::kTensorMap)
        if (lane == 0)
          copyTensor(pipe.stage(i), map, static_cast<int>(i * kStepK), static_cast<int>(token),
                     pipe.full(i));
    }
  }

  /// Eight elements of a row of x as bf16, zeros beyond K.
  __device__ static uint4 roundEight(const float *row, u32 k, bool exists) {
    float v[8] = {};
    if (exists && C::kK % 4 == 0 && k + 8 <= C::kK) {
      const float4 low = *reinterpret_cast<const float4 *>(row + k),
                   high = *reinterpret_cast<const float4 *>(row + k + 4);
      v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
      v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    } else if (exists) {
#pragma unroll
      for (u32 i = 0; i < 8; ++i)
        v[i] = k + i < C::kK ? row[k + i] : 0;
    }
    return {packBf16(v[0], v[1]), packBf16(v[2], v[3]), packBf16(v[4], v[5]), packBf16(v[6], v[7])};
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
        chunk[j] = roundEight(x + u64{row} * C::kK, i * kStepK + item % 8 * 8, row < tokens);
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

  /// Row blockIdx.x of the workspace. Grid: x = kTokens * ceil(E / kTokens). Threads: 128.
  __device__ static void convert(const PlatenCudaStep *step, const void *x, void *workspace) {
    const i64 row = blockIdx.x, extent = C::extent(step);
    if (row / C::kTokens * C::kTokens >= extent)
      return;
    uint4 *to = reinterpret_cast<uint4 *>(static_cast<u16 *>(workspace) + row * i64{kPitch});
    for (u32 i = threadIdx.x; i < kPitch / 8; i += 128)
      to[i] = roundEight(static_cast<const float *>(x) + row * C::kK, i * 8, row < extent);
  }

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
    const u32 panels = stage + kXStage + warpId() * M::kAccumulators * kPanelStage;
    const u64 x = wgmmaRows128(stage);
    u32 a[M::kAccumulators][kStepRows / 8][4];
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
      for (u32 s = 0; s < kStepRows / 8; ++s)
        loadWords(a[w][s], panels + w * kPanelStage, s, rows);
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
        barrierInit(pipe.full(i), C::kTensorMap ? 1 : 1 + kWarp);
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
        copyPanels(pipe, o, map, token);
      else if (!C::kTensorMap)
        convertSteps(pipe, static_cast<const float *>(o.x) + token * C::kK, tokens, warp - 1);
    }
  }
};

} // namespace platen
