// Matmul of few tokens: weights stream once from memory to registers.
//
// A block is kSlices warps a panel and kBlockPanels panels, for 8 tokens (gridDim.y of them): each
// warp sums one slice of k, the block adds the slices in order. Applies to every size and packing
// (f32 weights have no other kernel); costs one pass over the weights for every 8 tokens. Loads: 256
// consecutive bytes of weights a warp, four steps in flight.
//
// Grid: x = ceil(panels / kBlockPanels), y = ceil(E / 8). Threads: 32 * kSlices * kBlockPanels.
namespace platen {

template <typename C> struct MatmulDecode : Matmul<C> {
  using M = Matmul<C>;
  static constexpr u32 kTokens = 8;
  static constexpr u32 kWarps = C::kSlices * C::kBlockPanels;
  static constexpr u32 kThreads = kWarps * kWarp;
  static constexpr u32 kTile = kTokens * kPanel; // elements of y that a panel has
  static_assert(kWarps <= 32, "a block has at most 1024 threads");
  using Sums = float[M::kAccumulators][4];

  /// Words of step `step` (32 bytes of k a channel) of a panel: the A fragment.
  __device__ static void loadWeights(u32 (&a)[4], const u8 *panel, u32 wordRow, u32 wordRows) {
    const u32 lane = laneId(), row = wordRow + lane % 4;
    const uint2 *words = reinterpret_cast<const uint2 *>(panel) + u64{row} * 8 + lane / 4;
    const uint2 low = row < wordRows ? __ldg(words) : uint2{0, 0};
    const uint2 high = row + 4 < wordRows ? __ldg(words + 32) : uint2{0, 0};
    a[0] = low.x, a[1] = low.y, a[2] = high.x, a[3] = high.y;
  }

  /// x[token][k], x[token][k + 1] as the weights' 16-bit floats, zeros beyond K.
  __device__ static u32 loadX(const float *row, u32 k, bool exists) {
    float low = 0, high = 0;
    if constexpr (C::kK % 2 == 0) {
      if (exists && k < C::kK) {
        const float2 both = *reinterpret_cast<const float2 *>(row + k);
        low = both.x, high = both.y;
      }
    } else {
      low = exists && k < C::kK ? row[k] : 0;
      high = exists && k + 1 < C::kK ? row[k + 1] : 0;
    }
    return M::packHalf(low, high);
  }

  __device__ static void sumHalf(Sums &acc, const typename M::Place &at, const float *x,
                                 bool exists, u32 begin, u32 end) {
    constexpr u32 kWordRows = (C::kK + 1) / 2;
    const u32 q = laneId() % 4;
#pragma unroll 4
    for (u32 k = begin; k < end; k += 16) {
      const u32 b0 = loadX(x, k + 2 * q, exists), b1 = loadX(x, k + 8 + 2 * q, exists);
#pragma unroll
      for (u32 i = 0; i < M::kAccumulators; ++i) {
        u32 a[4];
        loadWeights(a, at.w[i], k / 2, kWordRows);
        M::mmaHalf(acc[i], a, b0, b1);
      }
    }
  }

  /// Two groups (64 k), or one at the end of an odd number of them.
  __device__ static void sumInteger(Sums &acc, const typename M::Place &at, const u8 *rows,
                                    u32 tokens, u32 begin, u32 end) {
    const u32 g = laneId() / 4, q = laneId() % 4;
    const u8 *codes = rows + g * M::kQuantizedRowBytes;
    const u8 *first = rows + 2 * q * M::kQuantizedRowBytes + C::kK, // scales of tokens 2q, 2q+1
        *second = first + M::kQuantizedRowBytes;
    for (u32 k = begin; k < end; k += 64) {
      uint2 low[M::kAccumulators], high[M::kAccumulators]; // q4: both groups in one load
#pragma unroll
      for (u32 half = 0; half < 2; ++half) {
        const u32 group = k / 32 + half;
        if (group >= M::kGroups || group * 32 >= end)
          break;
        u32 b0 = 0, b1 = 0;
        if (g < tokens) {
          b0 = *reinterpret_cast<const u32 *>(codes + group * 32 + 4 * q);
          b1 = *reinterpret_cast<const u32 *>(codes + group * 32 + 16 + 4 * q);
        }
        float2 xScale{0, 0};
        int2 xSum{0, 0};
        if (2 * q < tokens) {
          xScale.x = reinterpret_cast<const float *>(first)[group];
          xSum.x = reinterpret_cast<const int *>(first + M::kGroups * 4)[group];
        }
        if (2 * q + 1 < tokens) {
          xScale.y = reinterpret_cast<const float *>(second)[group];
          xSum.y = reinterpret_cast<const int *>(second + M::kGroups * 4)[group];
        }
#pragma unroll
        for (u32 i = 0; i < M::kAccumulators; ++i) {
          const u8 *block = at.w[i] + u64{k / 64} * C::kBlockBytes;
          if (C::kElement == kQ8 || half == 0) {
            const uint2 *words = reinterpret_cast<const uint2 *>(block) +
                                 (C::kElement == kQ8 ? half * 64 : 0) + q * 8 + g;
            low[i] = __ldg(words), high[i] = __ldg(words + 32);
          }
          u32 a[4] = {low[i].x, low[i].y, high[i].x, high[i].y};
          if constexpr (C::kElement == kQ4) {
#pragma unroll
            for (u32 &word : a)
              word = (half == 0 ? word : word >> 4) & 0x0f0f0f0fu;
          }
          int c[4] = {0, 0, 0, 0};
          mmaI8(c, a, b0, b1);
          const u8 *scales = block + C::kCodeBytes;
          M::addGroup(acc[i], c, M::scalePair(scales + half * 16 * C::kScaleBytes),
                      M::zeroPair(scales + 32 * C::kScaleBytes + half * 16), xScale, xSum);
        }
      }
    }
  }

  /// f32 weights: lane = channel, half a warp for four tokens each; one fma an element.
  __device__ static void sumF32(Sums &acc, const typename M::Place &at, const float *x, u32 tokens,
                                u32 begin, u32 end) {
    const u32 channel = laneId() % kPanel, first = laneId() / kPanel * 4;
    const u32 last = end < C::kK ? end : C::kK;
#pragma unroll 2
    for (u32 k = begin; k < last; ++k) {
      float value[4];
#pragma unroll
      for (u32 t = 0; t < 4; ++t)
        value[t] = first + t < tokens ? x[u64{first + t} * C::kK + k] : 0;
#pragma unroll
      for (u32 i = 0; i < M::kAccumulators; ++i) {
        const float w = __ldg(reinterpret_cast<const float *>(at.w[i]) + u64{k} * kPanel + channel);
#pragma unroll
        for (u32 t = 0; t < 4; ++t)
          acc[i][t] = fmaf(value[t], w, acc[i][t]);
      }
    }
  }

  /// Element of the tile [8 tokens][16 channels] that acc[.][i] of this lane is.
  __device__ static u32 tileIndex(u32 i) {
    const u32 lane = laneId();
    if constexpr (C::kElement == kF32)
      return (lane / kPanel * 4 + i) * kPanel + lane % kPanel;
    return (lane % 4 * 2 + i % 2) * kPanel + lane / 4 * 2 + i / 2;
  }

  __device__ static void run(const PlatenCudaStep *step, const MatmulOperands<C> &o) {
    const i64 extent = C::extent(step), token = i64{blockIdx.y} * kTokens;
    if (token >= extent)
      return;
    const u32 tokens = static_cast<u32>(min(i64{kTokens}, extent - token));
    __shared__ float partial[C::kSlices][C::kBlockPanels][M::kAccumulators][kTile];
    const u32 slice = warpId() % C::kSlices, local = warpId() / C::kSlices;
    const u32 panel = blockIdx.x * C::kBlockPanels + local;
    if (panel < M::kPanels) {
      Sums acc = {};
      const typename M::Place at = M::place(o, panel);
      const u32 begin = slice * C::kSliceK,
                end = min(begin + C::kSliceK, u32{(C::kK + M::kStageK - 1) / M::kStageK} * M::kStageK);
      const u8 *rows = static_cast<const u8 *>(o.x) + token * M::kXRowBytes;
      const u32 g = laneId() / 4;
      if constexpr (M::kHalf)
        sumHalf(acc, at, reinterpret_cast<const float *>(rows) + u64{g} * C::kK, g < tokens, begin,
                end);
      else if constexpr (C::kElement == kF32)
        sumF32(acc, at, reinterpret_cast<const float *>(rows), tokens, begin, end);
      else
        sumInteger(acc, at, rows, tokens, begin, end);
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w)
#pragma unroll
        for (u32 i = 0; i < 4; ++i)
          partial[slice][local][w][tileIndex(i)] = acc[w][i];
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < C::kBlockPanels * kTile; i += kThreads) {
      const u32 p = i / kTile, t = i % kTile / kPanel, channel = i % kPanel;
      const u32 own = blockIdx.x * C::kBlockPanels + p;
      if (own >= M::kPanels || t >= tokens)
        continue;
      const typename M::Place at = M::place(o, own);
      if (channel >= at.channels)
        continue;
      float sums[M::kAccumulators];
#pragma unroll
      for (u32 w = 0; w < M::kAccumulators; ++w) {
        sums[w] = 0;
#pragma unroll
        for (u32 s = 0; s < C::kSlices; ++s)
          sums[w] += partial[s][p][w][i % kTile];
      }
      M::finish(o, token + t, at.column + channel, sums);
    }
  }
};

} // namespace platen
