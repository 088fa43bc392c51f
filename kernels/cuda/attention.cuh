// Attention over the paged cache: flash attention on tensor cores, one algorithm for prefill and
// decode.
//
// A block has four warps and 16 * kRowTiles rows, a row being one query head of one token (the heads
// that share a kv head stand together). Keys come in tiles of 64 positions (four pages), four tiles
// are a chunk, both at absolute multiples:
//   load     K tile [head dim][64] and V tile [64][head dim] as bf16 into shared memory
//   scores   warp w: all rows times keys 16w..16w+15, fp32; scale, softcap, mask
//   softmax  maximum over the four warps, p rounded to bf16, sum of the rounded p in a fixed order
//   values   warp w: all rows times its quarter of the head, p · V
// Inside a chunk the softmax is online from a fresh state; chunks are merged in ascending order with
// merge(). Prefill merges in registers; decode (kSplit) gives each chunk a block and combine() merges
// what they left in the workspace, in the same order with the same operations: equal bits. A tile or
// chunk in which a row has no key changes nothing for that row.
//
// Pages outside every window are not touched; slots behind the last position are never read.
// Tokens of several sequences in a block are walked one sequence after the other.
//
// C: kHeads, kKvHeads, kHeadDim (multiple of 16, up to 256), kScale, kWindow, kSoftcap, kSinks,
// kCacheBf16, kRowTiles, kBlockTokens, kSplit, kSplits (chunks that a token can need),
// kWorkspaceTokens. Grid: x = ceil(T / kBlockTokens), y = kv heads, z = kSplit ? kSplits : 1. Threads: 128.
// Workspace (kSplit): sums [T][nh][kSplits][hd] f32, then {maximum, sum} [T][nh][kSplits].
namespace platen {

constexpr u32 kTileKeys = 64, kChunkKeys = 256;

/// Running softmax of a row: maximum, sum, and how the accumulators of a part join it.
__device__ __forceinline__ float weightOf(float part, float joined) {
  return part == minusInfinity() ? 0.0f : expFast(part - joined);
}
__device__ __forceinline__ float mergeSum(float sum, float weight, float part, float partWeight) {
  return fmaf(part, partWeight, sum * weight);
}

template <typename C> struct Attention {
  static constexpr u32 kThreads = 128, kWarps = 4;
  static constexpr u32 kGroup = C::kHeads / C::kKvHeads;
  static constexpr u32 kRows = 16 * C::kRowTiles;
  static constexpr u32 kHeadTiles = C::kHeadDim / 8;
  static constexpr u32 kWarpTiles = (kHeadTiles + kWarps - 1) / kWarps;
  static_assert(C::kHeadDim % 16 == 0 && C::kHeadDim <= 256, "head sizes are multiples of 16");
  static_assert(C::kBlockTokens * kGroup <= kRows, "the rows of a block hold its tokens");
  // Rows of shared memory are padded by 16 bytes: an odd number of 16-byte units, so that the eight
  // rows of an ldmatrix hit different banks.
  static constexpr u32 kKeyPitch = kTileKeys * 2 + 16, kHeadPitch = C::kHeadDim * 2 + 16;
  static constexpr u32 kKeyAt = 0, kValueAt = kKeyAt + C::kHeadDim * kKeyPitch,
                       kQueryAt = kValueAt + kTileKeys * kHeadPitch,
                       kProbabilityAt = kQueryAt + kRows * kHeadPitch,
                       kMaximumAt = kProbabilityAt + kRows * kKeyPitch, // f32 [4][rows]
                       kSumAt = kMaximumAt + kWarps * kRows * 4,        // f32 [4][rows]
                       kSharedBytes = kSumAt + kWarps * kRows * 4;

  /// What a thread keeps of the rows g and g + 8 of each row tile.
  struct State {
    float maximum[C::kRowTiles][2], sum[C::kRowTiles][2];
    float value[C::kRowTiles][kWarpTiles][4];
    __device__ void clear() {
#pragma unroll
      for (u32 m = 0; m < C::kRowTiles; ++m) {
#pragma unroll
        for (u32 r = 0; r < 2; ++r)
          maximum[m][r] = minusInfinity(), sum[m][r] = 0;
#pragma unroll
        for (u32 t = 0; t < kWarpTiles; ++t)
#pragma unroll
          for (u32 i = 0; i < 4; ++i)
            value[m][t][i] = 0;
      }
    }
    /// Joins the state of the next chunk.
    __device__ void merge(const State &part) {
#pragma unroll
      for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
        for (u32 r = 0; r < 2; ++r) {
          const float joined = fmaxf(maximum[m][r], part.maximum[m][r]);
          const float a = weightOf(maximum[m][r], joined), b = weightOf(part.maximum[m][r], joined);
          maximum[m][r] = joined;
          sum[m][r] = mergeSum(sum[m][r], a, part.sum[m][r], b);
#pragma unroll
          for (u32 t = 0; t < kWarpTiles; ++t)
#pragma unroll
            for (u32 i = 0; i < 2; ++i)
              value[m][t][2 * r + i] =
                  mergeSum(value[m][t][2 * r + i], a, part.value[m][t][2 * r + i], b);
        }
    }
  };

  /// Tokens of one sequence in this block, [first, last), and the positions that they see.
  struct Run {
    i64 first, last;
    int lowest, highest; // positions
    const int *pages;
  };

  __device__ static u8 *shared() {
    extern __shared__ __align__(128) u8 platenShared[];
    return platenShared;
  }

  __device__ static float cached(const void *cache, i64 element) {
    if constexpr (C::kCacheBf16)
      return bf16Low(static_cast<const u16 *>(cache)[element]);
    else
      return static_cast<const float *>(cache)[element];
  }
  /// Elements element..element+3, of which the first `count` may be read, as bf16.
  __device__ static uint2 cachedFour(const void *cache, i64 element, int count) {
    if (count >= 4) {
      if constexpr (C::kCacheBf16)
        return *reinterpret_cast<const uint2 *>(static_cast<const u16 *>(cache) + element);
      const float4 v = *reinterpret_cast<const float4 *>(static_cast<const float *>(cache) + element);
      return {packBf16(v.x, v.y), packBf16(v.z, v.w)};
    }
    const float a = count > 0 ? cached(cache, element) : 0,
                b = count > 1 ? cached(cache, element + 1) : 0,
                c = count > 2 ? cached(cache, element + 2) : 0;
    return {packBf16(a, b), packBf16(c, 0)};
  }

  /// Keys and values of positions [tile, tile + 64) of the run; zeros where there are none to see.
  __device__ static void loadTile(const void *cache, const Run &run, u32 kvHead, int tile) {
    const u32 keys = sharedAddress(shared()) + kKeyAt, values = sharedAddress(shared()) + kValueAt;
#pragma unroll 1
    for (u32 p = 0; p < kTileKeys / kPageTokens; ++p) {
      const int first = tile + static_cast<int>(p * kPageTokens); // position
      const int count = first + static_cast<int>(kPageTokens) <= run.lowest
                            ? 0
                            : run.highest + 1 - first; // readable slots
      const i64 page = count > 0 ? run.pages[first / static_cast<int>(kPageTokens)] : 0;
      const i64 base = (page * C::kKvHeads + kvHead) * 2 * kPageTokens * C::kHeadDim;
      for (u32 i = threadIdx.x; i < C::kHeadDim * 4; i += kThreads) {
        const u32 d = i / 4, slot = i % 4 * 4;
        const uint2 four =
            cachedFour(cache, base + i64{d} * kPageTokens + slot, count - static_cast<int>(slot));
        storeShared8(keys + d * kKeyPitch + (p * kPageTokens + slot) * 2, four.x, four.y);
      }
      for (u32 i = threadIdx.x; i < kPageTokens * (C::kHeadDim / 4); i += kThreads) {
        const u32 slot = i / (C::kHeadDim / 4), d = i % (C::kHeadDim / 4) * 4;
        const uint2 four = cachedFour(cache, base + i64{kPageTokens + slot} * C::kHeadDim + d,
                                      static_cast<int>(slot) < count ? 4 : 0);
        storeShared8(values + (p * kPageTokens + slot) * kHeadPitch + d * 2, four.x, four.y);
      }
    }
  }

  /// Row r of the block is head r % kGroup of the group, of token r / kGroup.
  __device__ static void loadQueries(const float *q, i64 token, i64 tokens, u32 kvHead) {
    const u32 at = sharedAddress(shared()) + kQueryAt;
    for (u32 i = threadIdx.x; i < kRows * (C::kHeadDim / 4); i += kThreads) {
      const u32 row = i / (C::kHeadDim / 4), d = i % (C::kHeadDim / 4) * 4;
      const i64 own = token + row / kGroup;
      float4 v{0, 0, 0, 0};
      if (row < C::kBlockTokens * kGroup && own < tokens)
        v = *reinterpret_cast<const float4 *>(
            q + (own * C::kHeads + kvHead * kGroup + row % kGroup) * C::kHeadDim + d);
      storeShared8(at + row * kHeadPitch + d * 2, packBf16(v.x, v.y), packBf16(v.z, v.w));
    }
  }

  using Scores = float[C::kRowTiles][2][4]; // [row tile][8 keys][fragment]

  __device__ static void scores(Scores &s) {
    const u32 base = sharedAddress(shared()), lane = laneId();
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 j = 0; j < 2; ++j)
#pragma unroll
        for (u32 i = 0; i < 4; ++i)
          s[m][j][i] = 0;
#pragma unroll 4
    for (u32 d = 0; d < C::kHeadDim; d += 16) {
      u32 b[4];
      loadMatrix4Transposed(b, base + kKeyAt + (d + lane % 16) * kKeyPitch +
                                   (warpId() * 16 + lane / 16 * 8) * 2);
#pragma unroll
      for (u32 m = 0; m < C::kRowTiles; ++m) {
        u32 a[4];
        loadMatrix4(a, base + kQueryAt + (m * 16 + lane % 16) * kHeadPitch + (d + lane / 16 * 8) * 2);
        mmaBf16(s[m][0], a, b[0], b[1]);
        mmaBf16(s[m][1], a, b[2], b[3]);
      }
    }
  }

  /// Scale, softcap, mask. `position` of rows g, g + 8 of each tile; -1: the row is not in the run.
  __device__ static void mask(Scores &s, const int (&position)[C::kRowTiles][2], int tile) {
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 j = 0; j < 2; ++j)
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
          const int key = tile + static_cast<int>(warpId() * 16 + j * 8 + laneId() % 4 * 2 + i % 2);
          const int own = position[m][i / 2];
          float v = s[m][j][i] * C::kScale;
          if constexpr (C::kHasSoftcap)
            v = C::kSoftcap * tanhf(v / C::kSoftcap);
          const bool seen = key <= own && (C::kWindow == 0 || key > own - static_cast<int>(C::kWindow));
          s[m][j][i] = seen ? v : minusInfinity();
        }
  }

  /// Maximum (then sum) over the 16 keys of this warp, left in shared memory [warp][row].
  template <float (*kCombine)(float, float)>
  __device__ static void shareRows(const Scores &s, u32 at) {
    float *out = reinterpret_cast<float *>(shared() + at) + warpId() * kRows;
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 r = 0; r < 2; ++r) {
        float v = kCombine(kCombine(s[m][0][2 * r], s[m][0][2 * r + 1]),
                           kCombine(s[m][1][2 * r], s[m][1][2 * r + 1]));
        v = kCombine(v, __shfl_xor_sync(0xffffffffu, v, 1));
        v = kCombine(v, __shfl_xor_sync(0xffffffffu, v, 2));
        if (laneId() % 4 == 0)
          out[m * 16 + r * 8 + laneId() / 4] = v;
      }
  }
  __device__ static float larger(float a, float b) { return fmaxf(a, b); }
  template <float (*kCombine)(float, float)> __device__ static float sharedRow(u32 at, u32 row) {
    const float *in = reinterpret_cast<const float *>(shared() + at) + row;
    return kCombine(kCombine(kCombine(in[0], in[kRows]), in[2 * kRows]), in[3 * kRows]);
  }

  /// One tile of keys joins `state`.
  __device__ static void tileStep(State &state, const int (&position)[C::kRowTiles][2], int tile) {
    const u32 base = sharedAddress(shared()), lane = laneId(), g = lane / 4, q = lane % 4;
    Scores s;
    scores(s);
    mask(s, position, tile);
    shareRows<larger>(s, kMaximumAt);
    __syncthreads();
    float scale[C::kRowTiles][2];
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 r = 0; r < 2; ++r) {
        const u32 row = m * 16 + r * 8 + g;
        const float top = fmaxf(state.maximum[m][r], sharedRow<larger>(kMaximumAt, row));
        scale[m][r] = weightOf(state.maximum[m][r], top);
        state.maximum[m][r] = top;
#pragma unroll
        for (u32 j = 0; j < 2; ++j) {
          const u32 p = packBf16(weightOf(s[m][j][2 * r], top), weightOf(s[m][j][2 * r + 1], top));
          storeShared4(base + kProbabilityAt + row * kKeyPitch + (warpId() * 16 + j * 8 + 2 * q) * 2, p);
          s[m][j][2 * r] = bf16Low(p), s[m][j][2 * r + 1] = bf16High(p);
        }
      }
    shareRows<add>(s, kSumAt);
    __syncthreads();
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 r = 0; r < 2; ++r) {
        state.sum[m][r] = fmaf(state.sum[m][r], scale[m][r],
                               sharedRow<add>(kSumAt, m * 16 + r * 8 + g));
#pragma unroll
        for (u32 t = 0; t < kWarpTiles; ++t)
          state.value[m][t][2 * r] *= scale[m][r], state.value[m][t][2 * r + 1] *= scale[m][r];
      }
    addValues(state);
  }

  __device__ static void addValues(State &state) {
    const u32 base = sharedAddress(shared()), lane = laneId();
#pragma unroll
    for (u32 k = 0; k < kTileKeys; k += 16) {
      u32 a[C::kRowTiles][4];
#pragma unroll
      for (u32 m = 0; m < C::kRowTiles; ++m)
        loadMatrix4(a[m], base + kProbabilityAt + (m * 16 + lane % 16) * kKeyPitch +
                              (k + lane / 16 * 8) * 2);
#pragma unroll
      for (u32 t = 0; t < kWarpTiles; ++t) {
        const u32 tile = warpId() * kWarpTiles + t;
        if (kHeadTiles % kWarps != 0 && tile >= kHeadTiles)
          break;
        u32 b[2];
        loadMatrix2Transposed(b, base + kValueAt + (k + lane % 16) * kHeadPitch + tile * 16);
#pragma unroll
        for (u32 m = 0; m < C::kRowTiles; ++m)
          mmaBf16(state.value[m][t], a[m], b[0], b[1]);
      }
    }
  }

  /// The tiles of one chunk that the run can see, from a fresh state.
  __device__ static void chunkState(State &state, const void *cache, const Run &run, u32 kvHead,
                                    const int (&position)[C::kRowTiles][2], int chunk) {
    state.clear();
    constexpr int kTile = kTileKeys, kChunk = kChunkKeys;
    const int begin = max(chunk * kChunk, run.lowest / kTile * kTile),
              end = min((chunk + 1) * kChunk, run.highest + 1);
#pragma unroll 1
    for (int tile = begin; tile < end; tile += kTile) {
      __syncthreads(); // all are done with the tile before (or have stored their queries)
      loadTile(cache, run, kvHead, tile);
      __syncthreads();
      tileStep(state, position, tile);
    }
  }

  /// The run that begins at token `first` of this block's tokens [.., last).
  __device__ static Run runAt(const PlatenCudaStep *step, i64 first, i64 last) {
    Run run{first, first + 1, 0, 0, nullptr};
    const int sequence = step->sequence_of_token[first];
    while (run.last < last && step->sequence_of_token[run.last] == sequence)
      ++run.last;
    run.highest = step->positions[run.last - 1];
    run.lowest = C::kWindow == 0 ? 0
                                 : max(0, step->positions[first] - static_cast<int>(C::kWindow) + 1);
    run.pages = step->page_table + sequence * step->page_table_stride;
    return run;
  }

  /// Head (of all) and token of row r of a tile, or token -1 if the row is not in the run.
  struct Row {
    i64 token;
    u32 head;
  };
  __device__ static Row rowOf(const Run &run, i64 blockToken, u32 kvHead, u32 row) {
    const i64 token = blockToken + row / kGroup;
    const bool in = row < C::kBlockTokens * kGroup && token >= run.first && token < run.last;
    return {in ? token : -1, kvHead * kGroup + row % kGroup};
  }

  __device__ static void rowPositions(int (&position)[C::kRowTiles][2], const PlatenCudaStep *step,
                                      const Run &run, i64 token, u32 kvHead) {
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 r = 0; r < 2; ++r) {
        const Row row = rowOf(run, token, kvHead, m * 16 + r * 8 + laneId() / 4);
        position[m][r] = row.token < 0 ? -1 : step->positions[row.token];
      }
  }

  /// Calls store(row, head dimension, accumulator, maximum, sum) for what this thread holds.
  template <typename Store>
  __device__ static void forEach(const State &state, const Run &run, i64 token, u32 kvHead,
                                 Store store) {
#pragma unroll
    for (u32 m = 0; m < C::kRowTiles; ++m)
#pragma unroll
      for (u32 r = 0; r < 2; ++r) {
        const Row row = rowOf(run, token, kvHead, m * 16 + r * 8 + laneId() / 4);
        if (row.token < 0)
          continue;
#pragma unroll
        for (u32 t = 0; t < kWarpTiles; ++t) {
          const u32 tile = warpId() * kWarpTiles + t;
          if (tile < kHeadTiles)
#pragma unroll
            for (u32 i = 0; i < 2; ++i)
              store(row, tile * 8 + laneId() % 4 * 2 + i, state.value[m][t][2 * r + i],
                    state.maximum[m][r], state.sum[m][r]);
        }
      }
  }

  /// The softmax's result; the sink, if any, joins the sum last.
  __device__ static float result(float value, float maximum, float sum, const float *sinks,
                                 u32 head) {
    if constexpr (C::kSinks) {
      const float sink = __ldg(sinks + head), joined = fmaxf(maximum, sink);
      const float weight = weightOf(maximum, joined);
      return value * weight / mergeSum(sum, weight, 1.0f, weightOf(sink, joined));
    }
    return value / sum;
  }

  // --- Entries

  __device__ static void prefill(const PlatenCudaStep *step, const float *q, const void *cache,
                                 const float *sinks, float *out) {
    const i64 token = i64{blockIdx.x} * C::kBlockTokens;
    if (token >= step->tokens)
      return;
    const i64 last = min(token + i64{C::kBlockTokens}, static_cast<i64>(step->tokens));
    const u32 kvHead = blockIdx.y;
    loadQueries(q, token, step->tokens, kvHead);
#pragma unroll 1
    for (i64 first = token; first < last;) {
      const Run run = runAt(step, first, last);
      first = run.last;
      int position[C::kRowTiles][2];
      rowPositions(position, step, run, token, kvHead);
      State total;
      total.clear();
      constexpr int kChunk = kChunkKeys;
#pragma unroll 1
      for (int chunk = run.lowest / kChunk; chunk <= run.highest / kChunk; ++chunk) {
        State part;
        chunkState(part, cache, run, kvHead, position, chunk);
        total.merge(part);
      }
      forEach(total, run, token, kvHead,
              [&](Row row, u32 d, float value, float maximum, float sum) {
                out[(row.token * C::kHeads + row.head) * C::kHeadDim + d] =
                    result(value, maximum, sum, sinks, row.head);
              });
    }
  }

  /// Places in the workspace of chunk z of a row.
  __device__ static i64 partAt(i64 token, u32 head, u32 z) {
    return (token * C::kHeads + head) * i64{C::kSplits} + z;
  }
  __device__ static float *stateAt(float *workspace) {
    return workspace + i64{C::kWorkspaceTokens} * C::kHeads * C::kSplits * C::kHeadDim;
  }

  __device__ static void split(const PlatenCudaStep *step, const float *q, const void *cache,
                               float *workspace) {
    static_assert(!C::kSplit || C::kBlockTokens == 1, "a split block has one token");
    const i64 token = blockIdx.x;
    if (token >= step->tokens)
      return;
    const Run run = runAt(step, token, token + 1);
    const int chunk = run.lowest / static_cast<int>(kChunkKeys) + static_cast<int>(blockIdx.z);
    if (chunk > run.highest / static_cast<int>(kChunkKeys))
      return;
    const u32 kvHead = blockIdx.y;
    loadQueries(q, token, step->tokens, kvHead);
    int position[C::kRowTiles][2];
    rowPositions(position, step, run, token, kvHead);
    State part;
    chunkState(part, cache, run, kvHead, position, chunk);
    float *states = stateAt(workspace);
    forEach(part, run, token, kvHead,
            [&](Row row, u32 d, float value, float maximum, float sum) {
              const i64 at = partAt(row.token, row.head, blockIdx.z);
              workspace[at * C::kHeadDim + d] = value;
              if (d == 0)
                states[at * 2] = maximum, states[at * 2 + 1] = sum;
            });
  }

  /// Merges the chunks of one head of one token. Grid: x = T, y = heads. Threads: 64.
  __device__ static void combine(const PlatenCudaStep *step, const float *sinks, float *out,
                                 float *workspace) {
    const i64 token = blockIdx.x;
    const u32 head = blockIdx.y;
    if (token >= step->tokens)
      return;
    const Run run = runAt(step, token, token + 1);
    const u32 parts = static_cast<u32>(run.highest / static_cast<int>(kChunkKeys) -
                                       run.lowest / static_cast<int>(kChunkKeys)) + 1;
    const float *states = stateAt(workspace);
    for (u32 d = threadIdx.x; d < C::kHeadDim; d += 64) {
      float maximum = minusInfinity(), sum = 0, value = 0;
      for (u32 z = 0; z < parts; ++z) {
        const i64 at = partAt(token, head, z);
        const float partMaximum = states[at * 2], joined = fmaxf(maximum, partMaximum);
        const float a = weightOf(maximum, joined), b = weightOf(partMaximum, joined);
        maximum = joined;
        sum = mergeSum(sum, a, states[at * 2 + 1], b);
        value = mergeSum(value, a, workspace[at * C::kHeadDim + d], b);
      }
      out[(token * C::kHeads + head) * C::kHeadDim + d] = result(value, maximum, sum, sinks, head);
    }
  }
};

} // namespace platen
