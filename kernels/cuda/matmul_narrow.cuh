// Matmul of narrow floats by mma.sync: e4m3 (sm_89 and newer), e2m1 with scales of 16 (sm_120).
//
// A block multiplies kWarpsC * kWarpPanels panels by kWarpsT * kWarpTiles * 8 tokens, a step
// (matmul_round.cuh) at a time. A stage, filled by cp.async:
//   panels        [panel][8 chunks][16 channels][16 bytes]: a fragment's words of a warp are 128
//                 neighbouring bytes
//   group scales  [panel][4 x 64 k][16 channels] words of 4 e4m3; of tokens [token][4] words (e2m1)
//   tokens        [token][128 bytes], swizzled for ldmatrix
//
// Numerics, equal bits for every tile, batch and chunking: specs.h; k ascending, 32 bytes at a time,
// in one accumulator (e2m1), or in one for each 128 k, added up in f32 (e4m3).
//
// Grid: x = ceil(panels / kBlockPanels), y = ceil(E / kBlockTokens). Threads: 32 * kWarpsC * kWarpsT.
// C as MatmulRound (kTokens = kBlockTokens), and kWarpsC, kWarpsT, kWarpPanels, kWarpTiles, kStages.
namespace platen {

/// 16 x 32 times 32 x 8 of e4m3, f32 sums.
__device__ __forceinline__ void mmaE4m3(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#if __CUDA_ARCH__ >= 1200
/// 16 x 64 times 64 x 8 of e2m1, four e4m3 scales a row and column: lanes 4g and 4g + 1 give those of
/// rows g and g + 8, lane 4g those of column g.
__device__ __forceinline__ void mmaE2m1(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1,
                                        u32 scaleA, u32 scaleB) {
  asm("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X"
      ".f32.e2m1.e2m1.f32.ue4m3 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, "
      "{%10}, {0, 0}, {%11}, {0, 0};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(scaleA), "r"(scaleB));
}
#endif

template <typename C> struct MatmulNarrow : MatmulRound<C> {
  using M = Matmul<C>;
  using R = MatmulRound<C>;
  using R::kSteps, R::kPanelStep, R::kPanelCodes;
  static constexpr bool kFour = C::kElement == kF4;
  static constexpr u32 kThreads = C::kWarpsC * C::kWarpsT * kWarp;
  static constexpr u32 kBlockPanels = C::kWarpsC * C::kWarpPanels;
  static constexpr u32 kBlockTokens = C::kWarpsT * C::kWarpTiles * 8;
  static constexpr u32 kGroupStep = kFour ? 256 : 0; // bytes of a panel's group scales in a step
  static constexpr u32 kPanelStage = kPanelStep + kGroupStep;
  static constexpr u32 kTokenGroups = kFour ? 16 : 0;
  static constexpr u32 kWeightStage = M::kAccumulators * kBlockPanels * kPanelStage;
  static constexpr u32 kStage = kWeightStage + kBlockTokens * (128 + kTokenGroups);
  static constexpr u32 kSharedBytes = C::kStages * kStage;
  static_assert(R::kNarrow, "e4m3 or e2m1 weights");
  static_assert(C::kTokens == kBlockTokens, "rows of the workspace are whole blocks");
  static_assert(C::kStages >= 2, "one stage is multiplied while another is filled");
  using Sums = float[M::kAccumulators][C::kWarpPanels][C::kWarpTiles][4];

  __device__ static u32 shared() {
    extern __shared__ __align__(128) u8 platenShared[];
    return sharedAddress(platenShared);
  }

  // --- Producer: every thread copies its share.

  __device__ static void copyPanels(u32 to, const MatmulOperands<C> &o, u32 step) {
    constexpr u32 kChunks = kPanelStage / 16, kGroups = static_cast<u32>(ceilDiv(C::kK, 64)) * 64;
#pragma unroll 1
    for (u32 p = 0; p < kBlockPanels; ++p) {
      const typename M::Place at = M::place(o, blockIdx.x * kBlockPanels + p);
      for (u32 c = threadIdx.x; c < kChunks; c += kThreads) {
        const bool code = c * 16 < kPanelStep;
        const u32 inStep = code ? c * 16 : c * 16 - kPanelStep;
        const u32 offset = step * (code ? kPanelStep : kGroupStep) + inStep;
        const bool present = at.channels != 0 && offset < (code ? kPanelCodes : kGroups);
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          copyAsync16(to + (p * M::kAccumulators + w) * kPanelStage + c * 16,
                      present ? at.w[w] + (code ? 0 : kPanelCodes) + offset : o.w[w],
                      present ? 16 : 0);
      }
    }
  }
  __device__ static void copyTokens(u32 to, const u8 *workspace, i64 token, u32 step) {
    for (u32 i = threadIdx.x; i < kBlockTokens * 8; i += kThreads)
      copyAsync16(to + swizzled(i / 8, i % 8),
                  workspace + (token + i / 8) * i64{R::kPitch} + step * 128 + i % 8 * 16);
    if constexpr (kFour)
      for (u32 i = threadIdx.x; i < kBlockTokens; i += kThreads)
        copyAsync16(to + kBlockTokens * 128 + i * 16,
                    workspace + R::groupScales(step, token + i));
  }
  __device__ static u32 swizzled(u32 row, u32 chunk) { return row * 128 + (chunk ^ (row % 8)) * 16; }

  __device__ static void produce(const MatmulOperands<C> &o, const u8 *workspace, i64 token,
                                 u32 step) {
    if (step < kSteps) {
      const u32 stage = shared() + step % C::kStages * kStage;
      copyPanels(stage, o, step);
      copyTokens(stage + kWeightStage, workspace, token, step);
    }
    copyAsyncCommit(); // an empty group keeps the count of groups equal to that of steps
  }

  // --- Consumer

  __device__ static u32 load4(u32 address) {
    u32 d;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(d) : "r"(address) : "memory");
    return d;
  }

  /// Two fragments' words of tokens (64 bytes of k) and, of e2m1, their scales.
  struct Tokens {
    u32 code[4], scale[2];
  };
  __device__ static Tokens loadTokens(u32 tokens, u32 firstToken, u32 s) {
    const u32 lane = laneId(), row = firstToken + lane % 8;
    Tokens b{};
    loadMatrix4(b.code, tokens + swizzled(row, s * 2 + lane / 8));
    if constexpr (kFour)
#pragma unroll
      for (u32 half = 0; half < 2; ++half)
        b.scale[half] = load4(tokens + kBlockTokens * 128 + (firstToken + lane / 4) * 16 +
                              (s + half) * 4);
    return b;
  }

  __device__ static void multiply(Sums &acc, u32 stage) {
    const u32 lane = laneId(), g = lane / 4, q = lane % 4;
    const u32 firstPanel = warpId() % C::kWarpsC * C::kWarpPanels,
              firstToken = warpId() / C::kWarpsC * C::kWarpTiles * 8;
#pragma unroll
    for (u32 s = 0; s < 4; s += 2) { // fragments of 32 bytes of k, two at a time
      Tokens b[C::kWarpTiles];
#pragma unroll
      for (u32 t = 0; t < C::kWarpTiles; ++t)
        b[t] = loadTokens(stage + kWeightStage, firstToken + t * 8, s);
#pragma unroll
      for (u32 half = 0; half < 2; ++half)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
          for (u32 p = 0; p < C::kWarpPanels; ++p) {
            const u32 panel = stage + ((firstPanel + p) * M::kAccumulators + w) * kPanelStage;
            u32 a[4];
#pragma unroll
            for (u32 i = 0; i < 4; ++i)
              a[i] = load4(panel + (2 * (s + half) + i / 2) * 256 + (g + i % 2 * 8) * 16 + q * 4);
#if __CUDA_ARCH__ >= 1200
            if constexpr (kFour) {
              const u32 scale =
                  load4(panel + kPanelStep + (s + half) * 64 + (g + q % 2 * 8) * 4);
#pragma unroll
              for (u32 t = 0; t < C::kWarpTiles; ++t)
                mmaE2m1(acc[w][p][t], a, b[t].code[2 * half], b[t].code[2 * half + 1], scale,
                        b[t].scale[half]);
            }
#endif
            if constexpr (!kFour)
#pragma unroll
              for (u32 t = 0; t < C::kWarpTiles; ++t)
                mmaE4m3(acc[w][p][t], a, b[t].code[2 * half], b[t].code[2 * half + 1]);
          }
    }
  }

  __device__ static void store(const MatmulOperands<C> &o, const Sums &sum, const void *workspace,
                               i64 token, u32 tokens) {
    const u32 g = laneId() / 4, q = laneId() % 4;
#pragma unroll
    for (u32 p = 0; p < C::kWarpPanels; ++p) {
      const typename M::Place at =
          M::place(o, blockIdx.x * kBlockPanels + warpId() % C::kWarpsC * C::kWarpPanels + p);
#pragma unroll
      for (u32 t = 0; t < C::kWarpTiles; ++t)
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
          const u32 row = (warpId() / C::kWarpsC * C::kWarpTiles + t) * 8 + 2 * q + i % 2;
          const u32 channel = g + i / 2 * 8;
          if (row >= tokens || channel >= at.channels)
            continue;
          const float scale = R::tokenScale(workspace, token + row);
          float sums[M::kAccumulators];
#pragma unroll
          for (u32 w = 0; w < M::kAccumulators; ++w)
            sums[w] = sum[w][p][t][i] * (scale * R::channelScale(at.w[w], channel));
          M::finish(o, token + row, at.column + channel, sums);
        }
    }
  }

  __device__ static void run(const PlatenCudaStep *step, const MatmulOperands<C> &o,
                             const void *workspace) {
    const i64 extent = C::extent(step), token = i64{blockIdx.y} * kBlockTokens;
    if (token >= extent)
      return;
    const u8 *rows = static_cast<const u8 *>(workspace);
#pragma unroll 1
    for (u32 i = 0; i + 1 < C::kStages; ++i)
      produce(o, rows, token, i);
    Sums acc = {}, total = {}; // of this step (e4m3); of all before it
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      copyAsyncWait<C::kStages - 2>();
      __syncthreads(); // stage i is there for all; all are done with stage i - 1
      produce(o, rows, token, i + C::kStages - 1);
      multiply(kFour ? total : acc, shared() + i % C::kStages * kStage);
      if constexpr (!kFour)
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
          for (u32 p = 0; p < C::kWarpPanels; ++p)
#pragma unroll
            for (u32 t = 0; t < C::kWarpTiles; ++t)
#pragma unroll
              for (u32 e = 0; e < 4; ++e)
                total[w][p][t][e] += acc[w][p][t][e], acc[w][p][t][e] = 0;
    }
    store(o, total, workspace, token, static_cast<u32>(min(i64{kBlockTokens}, extent - token)));
  }
};

} // namespace platen
