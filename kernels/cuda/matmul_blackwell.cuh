// Matmul on the tensor memory units of sm_100 and sm_110: a block multiplies 8 panels (128 channels,
// the lanes of tensor memory) by kTokens tokens, one template for decode and prefill.
//
// Weights are the A operand, from tensor memory: a lane is a channel, a column a word of a panel, so
// that panels serve unchanged and are stored once for all targets. Tokens are the B operand, from
// shared memory.
//   warps 0 to 3  copy a stage's words from shared to tensor memory; at the end, sums to y
//   warp 4        copies panels and, with kTensorMap, tokens into the stage (matmul_stage.cuh)
//   warp 5        reserves tensor memory; one thread issues the multiplications, whose completion
//                 frees the stage and its columns
//   warps 6 to 8  without kTensorMap: round tokens
//
// Numerics, equal bits for every tile, batch and chunking: as matmul_hopper.cuh; candidates differ in
// the instruction's number of columns alone.
//
// Applies to bf16 and f16 panels of every shape. Costs one pass over the weights for every kTokens tokens.
// Grid: x = ceil(panels / 8), y = ceil(E / kTokens). Threads: 192, or 288 without kTensorMap.
// C as MatmulStage, kSlices = 1; kTokens is a multiple of 16.
namespace platen {

template <typename C> struct MatmulBlackwell : MatmulStage<C, 8, 2048 + 64> {
  static constexpr u32 kPanelStride = 2048 + 64; // the panels of a warp's lanes in different banks
  using S = MatmulStage<C, 8, kPanelStride>;
  using M = Matmul<C>;
  using typename S::Pipeline;
  using S::kBlockPanels, S::kSteps, S::kXStage, S::kStage;
  static constexpr u32 kStepRows = 32, kWordRows = static_cast<u32>(ceilDiv(C::kK, 2));
  static constexpr u32 kThreads = C::kTensorMap ? 192 : 288;
  static constexpr u32 kBarriers = C::kStages * kStage;
  static constexpr u32 kSharedBytes = kBarriers + C::kStages * Pipeline::kBarrierBytes + 16;
  // Columns: sums [accumulator][token], then words [stage][accumulator][word row].
  static constexpr u32 kWords = M::kAccumulators * C::kTokens;
  static constexpr u32 kUsed = kWords + C::kStages * M::kAccumulators * kStepRows;
  static constexpr u32 kColumns = kUsed <= 64 ? 64 : kUsed <= 128 ? 128 : kUsed <= 256 ? 256 : 512;
  static_assert(C::kTokens % 16 == 0, "columns of an instruction of 128 rows");
  static_assert(kUsed <= 512, "columns of tensor memory");

  __device__ static u32 words(u32 tensor, u32 step, u32 accumulator) {
    return tensor + kWords + (step % C::kStages * M::kAccumulators + accumulator) * kStepRows;
  }

  /// Warps 0 to 3: lane = channel; columns = word rows, zeros for those that do not exist.
  __device__ static void feed(const Pipeline &pipe, u32 tensor) {
    const u32 channel = threadIdx.x, own = warpId() * 32 << 16;
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      barrierWait(pipe.full(i), pipe.parity(i));
      tensorFenceAfter(); // whoever read these columns before is done
      const u32 rows = kWordRows - i * kStepRows;
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w) {
        const u32 from = pipe.stage(i) + kXStage +
                         (channel / kPanel * M::kAccumulators + w) * kPanelStride +
                         channel % kPanel * 4;
#pragma unroll
        for (u32 half = 0; half < kStepRows; half += 16) {
          u32 v[16];
#pragma unroll
          for (u32 r = 0; r < 16; ++r) {
            const u32 row = half + r;
            if constexpr (kWordRows % kStepRows == 0) {
              v[r] = loadShared4(from + row * 64);
            } else {
              const u32 there = loadShared4(from + min(row, rows - 1) * 64);
              v[r] = row < rows ? there : 0;
            }
          }
          tensorStore16(words(tensor, i, w) + half + own, v);
        }
      }
      tensorWaitStores();
      tensorFenceBefore();
      barrierArrive(pipe.third(i));
    }
  }

  /// One thread.
  __device__ static void multiply(const Pipeline &pipe, u32 tensor, u32 done) {
    constexpr u32 kInstruction = kTensorInstruction<C::kElement == kF16 ? 0 : 1, C::kTokens>;
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      barrierWait(pipe.full(i), pipe.parity(i));
      barrierWait(pipe.third(i), pipe.parity(i));
      tensorFenceAfter();
      const u64 x = tensorRows128(pipe.stage(i));
#pragma unroll
      for (u32 s = 0; s < kStepRows / 8; ++s)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          tensorMultiplyHalf(tensor + w * C::kTokens, words(tensor, i, w) + s * 8, x + s * 2,
                             kInstruction, i + s != 0);
      tensorCommit(pipe.empty(i));
    }
    tensorCommit(done);
  }

  /// Warps 0 to 3: lanes of a warp write neighbouring channels.
  __device__ static void store(const MatmulOperands<C> &o, u32 tensor, i64 token, u32 tokens) {
    const u32 channel = threadIdx.x;
    const typename M::Place at =
        M::place(o, blockIdx.x * kBlockPanels + channel / kPanel);
#pragma unroll 1
    for (u32 first = 0; first < tokens; first += 16) {
      float sums[M::kAccumulators][16];
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
        tensorLoad16(sums[w], tensor + w * C::kTokens + first + (warpId() * 32 << 16));
      tensorWaitLoads();
#pragma unroll
      for (u32 t = 0; t < 16; ++t) {
        if (first + t >= tokens || channel % kPanel >= at.channels)
          continue;
        float own[M::kAccumulators];
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          own[w] = sums[w][t];
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
    if (threadIdx.x == 0) {
      for (u32 i = 0; i < C::kStages; ++i) {
        barrierInit(pipe.full(i), S::kFullArrivals);
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
      feed(pipe, tensor);
      barrierWait(done, 0);
      tensorFenceAfter();
      store(o, tensor, token, tokens);
      tensorFenceBefore();
    } else if (warp == 4) {
      S::copyPanels(pipe, o, map, token);
    } else if (warp == 5) {
      if (laneId() == 0)
        multiply(pipe, tensor, done);
    } else if constexpr (!C::kTensorMap) {
      S::convertSteps(pipe, static_cast<const float *>(o.x) + token * C::kK, tokens, warp - 6);
    }
    __syncthreads();
    if (warp == 5) {
      tensorFenceAfter();
      tensorFree<kColumns>(tensor);
    }
  }
};

} // namespace platen
