// Matmul of many tokens: a tile of kWarpsC * kWarpPanels panels times kWarpsT * kWarpTiles * 8 tokens.
//
// Layout: a stage is 64 bytes of k. Weights [panel][word row][4 chunks of 16 bytes], chunk c of row r
// at c ^ 2 * (r / 2 % 2): the 8-byte reads of half a warp (rows q, channels 2g) hit 32 banks. x
// [token][4 chunks], chunk c of row t at c ^ (t / 2 % 4): the 8 rows of an ldmatrix hit 32 banks.
// Producer: every thread copies its share of stage i + kStages - 1 with cp.async while stage i is
// multiplied; f32 x is loaded to registers one stage ahead and stored as bf16 or f16 into two buffers.
// Consumer: ldmatrix for x, 8-byte loads for weights, mma.sync.
//
// Grid: x = ceil(panels / kBlockPanels), y = ceil(E / kBlockTokens). Threads: 32 * kWarpsC * kWarpsT.
namespace platen {

template <typename C> struct MatmulPrefill : Matmul<C> {
  using M = Matmul<C>;
  static constexpr u32 kThreads = C::kWarpsC * C::kWarpsT * kWarp;
  static constexpr u32 kBlockPanels = C::kWarpsC * C::kWarpPanels;
  static constexpr u32 kBlockTokens = C::kWarpsT * C::kWarpTiles * 8;
  static constexpr u32 kSteps = static_cast<u32>(ceilDiv(C::kK, M::kStageK));
  static constexpr u32 kSliceSteps = C::kSliceK / M::kStageK;
  /// Bytes of a panel in one stage; what follows the codes (scales, zero points) is not swizzled.
  static constexpr u32 kPanelStage = M::kInteger ? C::kBlockBytes : 1024;
  static constexpr u32 kCodeChunks = M::kInteger ? C::kCodeBytes / 16 : 64;
  static constexpr u32 kWeightStage = M::kAccumulators * kBlockPanels * kPanelStage;
  static constexpr u32 kXStage = kBlockTokens * 64;
  static constexpr u32 kScaleStage = M::kInteger ? kBlockTokens * 16 : 0; // [token]{scale 2, sum 2}
  static constexpr u32 kXStages = M::kInteger ? C::kStages : 2;
  static constexpr u32 kSharedBytes =
      C::kStages * (kWeightStage + kScaleStage) + kXStages * kXStage;
  static_assert(C::kElement != kF32, "f32 weights are multiplied by MatmulDecode");
  static_assert(C::kStages >= 2, "one stage is multiplied while another is filled");
  static_assert(kPanelStage % 16 == 0, "stages are copied 16 bytes at a time");
  static_assert(kBlockTokens * 8 % kThreads == 0, "x is loaded in equal shares");
  static constexpr u32 kXLoads = kBlockTokens * 8 / kThreads; // float4 a thread and stage

  struct Shared {
    u32 weights, x, scales; // addresses of the first stage of each
  };
  using Sums = float[M::kAccumulators][C::kWarpPanels][C::kWarpTiles][4];

  // --- Producer

  __device__ static void copyWeights(u32 to, const MatmulOperands<C> &o, u32 step) {
    constexpr u32 kChunks = kPanelStage / 16;
    constexpr u32 kWordRows = (C::kK + 1) / 2;
#pragma unroll 1
    for (u32 p = 0; p < kBlockPanels; ++p) {
      const typename M::Place at = M::place(o, blockIdx.x * kBlockPanels + p);
      for (u32 c = threadIdx.x; c < kChunks; c += kThreads) {
        const u32 row = c / 4;
        const u32 chunk = c < kCodeChunks ? c ^ (row / 2 % 2 * 2) : c;
        const bool present =
            at.channels != 0 && (M::kInteger || step * 16 + row < kWordRows);
        const u64 offset = u64{step} * kPanelStage + c * 16;
#pragma unroll
        for (u32 w = 0; w < M::kAccumulators; ++w)
          copyAsync16(to + ((p * M::kAccumulators + w) * kPanelStage) + chunk * 16,
                      present ? at.w[w] + offset : o.w[w], present ? 16 : 0);
      }
    }
  }

  __device__ static void copyCodes(u32 codes, u32 scales, const u8 *rows, u32 tokens, u32 step) {
    for (u32 i = threadIdx.x; i < kBlockTokens * 4; i += kThreads) {
      const u32 token = i / 4, chunk = i % 4;
      const u8 *row = rows + u64{token} * M::kQuantizedRowBytes;
      const bool present = token < tokens && step * 64 + chunk * 16 < C::kK;
      copyAsync16(codes + token * 64 + ((chunk ^ (token / 2 % 4)) * 16),
                  present ? row + step * 64 + chunk * 16 : rows, present ? 16 : 0);
      const u32 group = step * 2 + chunk % 2; // chunks 0, 1: scales; 2, 3: sums
      const bool exists = token < tokens && group < M::kGroups;
      copyAsync4(scales + token * 16 + chunk * 4,
                 exists ? row + C::kK + (chunk / 2 * M::kGroups + group) * 4 : rows, exists);
    }
  }

  __device__ static void loadX(float4 (&v)[kXLoads], const float *x, u32 tokens, u32 step) {
#pragma unroll
    for (u32 i = 0; i < kXLoads; ++i) {
      const u32 item = i * kThreads + threadIdx.x, token = item / 8, k = step * 32 + item % 8 * 4;
      v[i] = float4{0, 0, 0, 0};
      if (token >= tokens)
        continue;
      const float *at = x + u64{token} * C::kK + k;
      if constexpr (C::kK % 4 == 0) {
        if (k < C::kK)
          v[i] = *reinterpret_cast<const float4 *>(at);
      } else {
        v[i].x = k < C::kK ? at[0] : 0, v[i].y = k + 1 < C::kK ? at[1] : 0;
        v[i].z = k + 2 < C::kK ? at[2] : 0, v[i].w = k + 3 < C::kK ? at[3] : 0;
      }
    }
  }
  __device__ static void storeX(u32 to, const float4 (&v)[kXLoads]) {
#pragma unroll
    for (u32 i = 0; i < kXLoads; ++i) {
      const u32 item = i * kThreads + threadIdx.x, token = item / 8, part = item % 8;
      storeShared8(to + token * 64 + (((part / 2) ^ (token / 2 % 4)) * 16) + part % 2 * 8,
                   M::packHalf(v[i].x, v[i].y), M::packHalf(v[i].z, v[i].w));
    }
  }

  // --- Consumer: one stage

  /// Word rows row + q and row + 4 + q of a panel: an A fragment.
  __device__ static void loadWeights(u32 (&a)[4], u32 panel, u32 row) {
    const u32 g = laneId() / 4, q = laneId() % 4;
    const u32 at = panel + (row + q) * 64 + (((g / 2) ^ (q / 2 * 2)) * 16) + g % 2 * 8;
    loadShared8(a[0], a[1], at);
    loadShared8(a[2], a[3], at + 256);
  }

  __device__ static void multiply(Sums &acc, u32 weights, u32 x, u32 scales) {
    const u32 lane = laneId(), q = lane % 4;
    const u32 firstPanel = warpId() % C::kWarpsC * C::kWarpPanels,
              firstToken = warpId() / C::kWarpsC * C::kWarpTiles * 8;
#pragma unroll
    for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
      for (u32 p = 0; p < C::kWarpPanels; ++p) {
        const u32 panel = weights + ((firstPanel + p) * M::kAccumulators + w) * kPanelStage;
        u32 a[2][4]; // of both halves of the stage
        loadWeights(a[0], panel, 0);
        if constexpr (C::kElement == kQ4) {
#pragma unroll
          for (u32 i = 0; i < 4; ++i) {
            a[1][i] = (a[0][i] >> 4) & 0x0f0f0f0fu;
            a[0][i] &= 0x0f0f0f0fu;
          }
        } else {
          loadWeights(a[1], panel, 8);
        }
#pragma unroll
        for (u32 t = 0; t < C::kWarpTiles; ++t) {
          const u32 row = firstToken + t * 8 + lane % 8;
          u32 b[4];
          loadMatrix4(b, x + row * 64 + (((lane / 8) ^ (row / 2 % 4)) * 16));
#pragma unroll
          for (u32 half = 0; half < 2; ++half) {
            if constexpr (M::kInteger) {
              int c[4] = {0, 0, 0, 0};
              mmaI8(c, a[half], b[half * 2], b[half * 2 + 1]);
              addScaled(acc[w][p][t], c, panel, scales + (firstToken + t * 8 + 2 * q) * 16, half);
            } else {
              M::mmaHalf(acc[w][p][t], a[half], b[half * 2], b[half * 2 + 1]);
            }
          }
        }
      }
  }

  __device__ static void addScaled(float (&acc)[4], const int (&c)[4], u32 panel, u32 tokens,
                                   u32 half) {
    const u8 *block = fromShared(panel) + C::kCodeBytes, *first = fromShared(tokens);
    const float2 xScale{reinterpret_cast<const float *>(first)[half],
                        reinterpret_cast<const float *>(first)[4 + half]};
    const int2 xSum{reinterpret_cast<const int *>(first)[2 + half],
                    reinterpret_cast<const int *>(first)[6 + half]};
    M::addGroup(acc, c, M::scalePair(block + half * 16 * C::kScaleBytes),
                M::zeroPair(block + 32 * C::kScaleBytes + half * 16), xScale, xSum);
  }

  __device__ static u8 *sharedBase() {
    extern __shared__ __align__(128) u8 platenShared[];
    return platenShared;
  }
  __device__ static const u8 *fromShared(u32 address) {
    return sharedBase() + (address - sharedAddress(sharedBase()));
  }

  __device__ static void store(const MatmulOperands<C> &o, const Sums &sum, i64 token, u32 tokens) {
    const u32 g = laneId() / 4, q = laneId() % 4;
#pragma unroll
    for (u32 p = 0; p < C::kWarpPanels; ++p) {
      const typename M::Place at = M::place(
          o, blockIdx.x * kBlockPanels + warpId() % C::kWarpsC * C::kWarpPanels + p);
#pragma unroll
      for (u32 t = 0; t < C::kWarpTiles; ++t)
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
          const u32 row = (warpId() / C::kWarpsC * C::kWarpTiles + t) * 8 + 2 * q + i % 2;
          const u32 channel = 2 * g + i / 2;
          if (row >= tokens || channel >= at.channels)
            continue;
          float sums[M::kAccumulators];
#pragma unroll
          for (u32 w = 0; w < M::kAccumulators; ++w)
            sums[w] = sum[w][p][t][i];
          M::finish(o, token + row, at.column + channel, sums);
        }
    }
  }

  __device__ static void produce(const MatmulOperands<C> &o, const Shared &s, const u8 *rows,
                                 u32 tokens, u32 step) {
    if (step < kSteps) {
      const u32 slot = step % C::kStages;
      copyWeights(s.weights + slot * kWeightStage, o, step);
      if constexpr (M::kInteger)
        copyCodes(s.x + slot * kXStage, s.scales + slot * kScaleStage, rows, tokens, step);
    }
    copyAsyncCommit(); // an empty group keeps the count of groups equal to that of steps
  }

  __device__ static void run(const PlatenCudaStep *step, const MatmulOperands<C> &o) {
    const i64 extent = C::extent(step), token = i64{blockIdx.y} * kBlockTokens;
    if (token >= extent)
      return;
    const u32 tokens = static_cast<u32>(min(i64{kBlockTokens}, extent - token));
    const u8 *rows = static_cast<const u8 *>(o.x) + token * M::kXRowBytes;
    const float *x = reinterpret_cast<const float *>(rows);
    Shared s;
    s.weights = sharedAddress(sharedBase());
    s.x = s.weights + C::kStages * kWeightStage;
    s.scales = s.x + kXStages * kXStage;

    float4 ahead[kXLoads]; // x of the next stage; unused by integer formats
    if constexpr (!M::kInteger) {
      loadX(ahead, x, tokens, 0);
      storeX(s.x, ahead);
    }
#pragma unroll 1
    for (u32 i = 0; i + 1 < C::kStages; ++i)
      produce(o, s, rows, tokens, i);

    Sums acc = {}, total = {}; // of this slice; of the slices before it
#pragma unroll 1
    for (u32 i = 0; i < kSteps; ++i) {
      copyAsyncWait<C::kStages - 2>();
      __syncthreads(); // stage i is there for all; all are done with stage i - 1
      produce(o, s, rows, tokens, i + C::kStages - 1);
      const u32 slot = i % C::kStages;
      if constexpr (M::kInteger) {
        multiply(acc, s.weights + slot * kWeightStage, s.x + slot * kXStage,
                 s.scales + slot * kScaleStage);
      } else {
        if (i + 1 < kSteps)
          loadX(ahead, x, tokens, i + 1);
        multiply(acc, s.weights + slot * kWeightStage, s.x + i % 2 * kXStage, 0);
        if (i + 1 < kSteps)
          storeX(s.x + (i + 1) % 2 * kXStage, ahead);
      }
      if ((i + 1) % kSliceSteps == 0 || i + 1 == kSteps) {
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
    }
    store(o, total, token, tokens);
  }
};

} // namespace platen
