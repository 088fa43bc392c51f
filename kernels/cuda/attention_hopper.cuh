// Attention over the paged cache on the warpgroup units of sm_90a: the algorithm of attention.cuh
// (tiles of 64 keys, chunks of 256, merged in ascending order), fed by the copy engine.
//
//   producer warpgroup   fills stages, a tile each: pages of a bf16 cache by two tensor maps; tiles
//                        that are only partly to be seen, and caches of f32, by loads and stores that
//                        put zeros where there is no key
//   consumer warpgroups  64 rows each (heads that share a kv head, times tokens), or, with kParts = 2,
//                        half of the head each of the same 64 rows
// A page holds keys as [head dim][16] and values as [16][head dim]: in both the reduced dimension of
// the product is the slow one, which wgmma reads from shared memory as it is.
//   stage   keys [page][head dim][16 keys], 32 swizzled bytes a row; values [page][64 dims][16 keys]
//           [64 dims], 128 swizzled bytes a row
//   Q       [64 dims][64 rows][128 swizzled bytes] for each 64 rows, bf16
// Scores stay in registers: the accumulator's fragment is the next product's A fragment.
//
// Numerics as attention.cuh, sums of p in this kernel's order: equal bits whatever the grid, the split
// and the batch. Applies to head sizes 64, 128, 192 and 256.
// C as Attention, and kRowBlocks, kParts, kStages, kTensorMaps, kRegisters. Threads: 128 * (1 +
// kRowBlocks * kParts). Grid as attention.cuh.
namespace platen {

template <typename C> struct AttentionHopper : Attention<C> {
  using A = Attention<C>;
  using typename A::Row;
  using typename A::Run;
  static constexpr u32 kConsumers = C::kRowBlocks * C::kParts, kThreads = 128 * (1 + kConsumers);
  static constexpr u32 kGroups = C::kHeadDim / 64, kOwn = C::kHeadDim / C::kParts; // dims of a consumer
  static constexpr u32 kPages = kTileKeys / kPageTokens;
  static constexpr u32 kKeyPage = C::kHeadDim * 32, kValuePage = C::kHeadDim * 32; // bytes
  static constexpr u32 kValuesAt = kPages * kKeyPage, kStage = 2 * kValuesAt;
  static constexpr u32 kQueryBlock = C::kHeadDim * 128; // of 64 rows
  static constexpr u32 kQueriesAt = C::kStages * kStage;
  static constexpr u32 kBarriers = kQueriesAt + C::kRowBlocks * kQueryBlock;
  static constexpr u32 kSharedBytes = kBarriers + C::kStages * 16;
  static_assert(C::kHeadDim % 64 == 0 && C::kHeadDim <= 256, "values stand in rows of 64 dims");
  static_assert(kOwn % 64 == 0 && kOwn <= 128, "sums of a chunk and of those before fit registers");
  static_assert(C::kRowTiles == C::kRowBlocks * 4, "rows of a block");

  __device__ static u32 shared() {
    extern __shared__ __align__(1024) u8 platenStages[];
    return sharedAddress(platenStages);
  }
  __device__ static u32 stage(u32 i) { return shared() + i % C::kStages * kStage; }
  __device__ static u32 full(u32 i) { return shared() + kBarriers + i % C::kStages * 16; }
  __device__ static u32 empty(u32 i) { return full(i) + 8; }
  __device__ static u32 parity(u32 i) { return i / C::kStages % 2; }

  /// Calls tile(position) for the tiles of a chunk that the run sees.
  template <typename Tile> __device__ static void forTiles(const Run &run, int chunk, Tile tile) {
    constexpr int kTile = kTileKeys, kChunk = kChunkKeys;
    const int end = min((chunk + 1) * kChunk, run.highest + 1);
#pragma unroll 1
    for (int at = max(chunk * kChunk, run.lowest / kTile * kTile); at < end; at += kTile)
      tile(at);
  }

  // --- Producer

  /// Eight numbers of the cache as bf16, of which the first `count` exist.
  __device__ static uint4 eight(const void *cache, i64 element, int count) {
    const uint2 low = A::cachedFour(cache, element, count),
                high = A::cachedFour(cache, element + 4, count - 4);
    return {low.x, low.y, high.x, high.y};
  }
  /// A tile by loads and stores; zeros where the run sees no key.
  __device__ static void storeTile(u32 to, const void *cache, const Run &run, u32 kvHead, int tile) {
#pragma unroll 1
    for (u32 p = 0; p < kPages; ++p) {
      const int first = tile + static_cast<int>(p * kPageTokens); // position
      const int count =
          first + static_cast<int>(kPageTokens) <= run.lowest ? 0 : run.highest + 1 - first;
      const i64 page = count > 0 ? run.pages[first / static_cast<int>(kPageTokens)] : 0;
      const i64 base = (page * C::kKvHeads + kvHead) * 2 * kPageTokens * C::kHeadDim;
      for (u32 i = threadIdx.x % 128; i < C::kHeadDim * 2; i += 128) {
        const u32 d = i / 2, half = i % 2;
        storeShared16(to + p * kKeyPage + d * 32 + ((half ^ (d / 4 % 2)) * 16),
                      eight(cache, base + i64{d} * kPageTokens + half * 8,
                            count - static_cast<int>(half * 8)));
      }
      for (u32 i = threadIdx.x % 128; i < kPageTokens * (C::kHeadDim / 8); i += 128) {
        const u32 slot = i / (C::kHeadDim / 8), part = i % (C::kHeadDim / 8);
        storeShared16(to + kValuesAt + p * kValuePage + part / 8 * 2048 +
                          swizzled128(slot, part % 8),
                      eight(cache, base + i64{kPageTokens + slot} * C::kHeadDim + part * 8,
                            static_cast<int>(slot) < count ? 8 : 0));
      }
    }
  }
  /// A tile of whole pages by the copy engine; one thread.
  __device__ static void copyTile(u32 to, u32 barrier, const Run &run, u32 kvHead, int tile,
                                  const void *keys, const void *values) {
    barrierExpect(barrier, kStage);
#pragma unroll 1
    for (u32 p = 0; p < kPages; ++p) {
      const int page = run.pages[tile / static_cast<int>(kPageTokens) + static_cast<int>(p)];
      const int place = page * static_cast<int>(C::kKvHeads) + static_cast<int>(kvHead);
      copyTensor(to + p * kKeyPage, keys, 0, place * static_cast<int>(2 * C::kHeadDim), barrier);
#pragma unroll
      for (u32 group = 0; group < kGroups; ++group)
        copyTensor(to + kValuesAt + p * kValuePage + group * 2048, values,
                   static_cast<int>(group * 64), place * static_cast<int>(2 * kPageTokens) +
                                                     static_cast<int>(kPageTokens), barrier);
    }
  }
  /// The producer's threads fill the stage of tile number i.
  __device__ static void produce(u32 i, const void *cache, const Run &run, u32 kvHead, int tile,
                                 const void *keys, const void *values) {
    barrierWait(empty(i), parity(i) ^ 1);
    constexpr int kTile = kTileKeys, kPage = kPageTokens;
    const bool whole = tile + kTile <= run.highest + 1 && tile >= run.lowest / kPage * kPage;
    if (C::kTensorMaps && whole) {
      if (threadIdx.x % 128 == 0)
        copyTile(stage(i), full(i), run, kvHead, tile, keys, values);
      else
        barrierArrive(full(i));
      return;
    }
    storeTile(stage(i), cache, run, kvHead, tile);
    fenceToAsync();
    barrierArrive(full(i));
  }

  // --- Consumer

  /// What a thread keeps of its rows g and g + 8.
  struct State {
    float maximum[2], sum[2], value[kOwn / 2];
    __device__ void clear() {
#pragma unroll
      for (u32 r = 0; r < 2; ++r)
        maximum[r] = minusInfinity(), sum[r] = 0;
#pragma unroll
      for (u32 i = 0; i < kOwn / 2; ++i)
        value[i] = 0;
    }
    __device__ void merge(const State &part) {
#pragma unroll
      for (u32 r = 0; r < 2; ++r) {
        const float joined = fmaxf(maximum[r], part.maximum[r]);
        const float a = weightOf(maximum[r], joined), b = weightOf(part.maximum[r], joined);
        maximum[r] = joined;
        sum[r] = mergeSum(sum[r], a, part.sum[r], b);
#pragma unroll
        for (u32 i = 0; i < kOwn / 2; ++i)
          if (i % 4 / 2 == r)
            value[i] = mergeSum(value[i], a, part.value[i], b);
      }
    }
  };
  using Scores = float[kTileKeys / 2];

  __device__ static u32 consumer() { return warpId() / 4; }
  __device__ static u32 rowBlock() { return consumer() / C::kParts; }
  __device__ static u32 ownPart() { return consumer() % C::kParts; }
  /// Row of the block of this thread's row r.
  __device__ static u32 ownRow(u32 r) {
    return rowBlock() * 64 + warpId() % 4 * 16 + r * 8 + laneId() / 4;
  }

  /// All consumers: rows of the block, zeros where there is none. Row r is head r % kGroup of the
  /// group, of token r / kGroup.
  __device__ static void loadQueries(const float *q, i64 token, i64 tokens, u32 kvHead) {
    for (u32 i = threadIdx.x; i < C::kRowBlocks * 64 * (C::kHeadDim / 8); i += kConsumers * 128) {
      const u32 row = i / (C::kHeadDim / 8), part = i % (C::kHeadDim / 8);
      const i64 own = token + row / A::kGroup;
      float4 low{0, 0, 0, 0}, high{0, 0, 0, 0};
      if (row < C::kBlockTokens * A::kGroup && own < tokens) {
        const float4 *from = reinterpret_cast<const float4 *>(
            q + (own * C::kHeads + kvHead * A::kGroup + row % A::kGroup) * C::kHeadDim + part * 8);
        low = from[0], high = from[1];
      }
      storeShared16(shared() + kQueriesAt + row / 64 * kQueryBlock + part / 8 * 8192 +
                        swizzled128(row % 64, part % 8),
                    uint4{packBf16(low.x, low.y), packBf16(low.z, low.w), packBf16(high.x, high.y),
                          packBf16(high.z, high.w)});
    }
    fenceToAsync();
    syncSome<kConsumers * 128>(1);
  }

  __device__ static void scores(Scores &s, u32 stage) {
    const u32 queries = shared() + kQueriesAt + rowBlock() * kQueryBlock;
#pragma unroll
    for (u32 i = 0; i < kTileKeys / 2; ++i) {
      s[i] = 0;
      wgmmaPin(s[i]);
    }
    wgmmaFence();
#pragma unroll
    for (u32 d = 0; d < C::kHeadDim; d += 16)
      Wgmma<kTileKeys>::bf16Keys(s, wgmmaRows128(queries + d / 64 * 8192 + d % 64 * 2),
                                 wgmmaColumns32<kKeyPage>(stage + d * 32), 1);
    wgmmaCommit();
    wgmmaWait<0>();
  }

  /// Scale, softcap, mask. `position` of this thread's rows; -1: the row is not in the run.
  __device__ static void mask(Scores &s, const int (&position)[2], int tile) {
#pragma unroll
    for (u32 i = 0; i < kTileKeys / 2; ++i) {
      const int key = tile + static_cast<int>(i / 4 * 8 + laneId() % 4 * 2 + i % 2);
      const int own = position[i % 4 / 2];
      float v = s[i] * C::kScale;
      if constexpr (C::kHasSoftcap)
        v = C::kSoftcap * tanhf(v / C::kSoftcap);
      const bool seen = key <= own && (C::kWindow == 0 || key > own - static_cast<int>(C::kWindow));
      s[i] = seen ? v : minusInfinity();
    }
  }

  /// Of row r, over the four lanes that share it.
  template <float (*kCombine)(float, float)>
  __device__ static float overRow(const Scores &s, u32 r) {
    float v = kCombine(s[2 * r], s[2 * r + 1]);
#pragma unroll
    for (u32 i = 4; i < kTileKeys / 2; i += 4)
      v = kCombine(v, kCombine(s[i + 2 * r], s[i + 2 * r + 1]));
    v = kCombine(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return kCombine(v, __shfl_xor_sync(0xffffffffu, v, 2));
  }

  /// One tile of keys joins `state`.
  __device__ static void tileStep(State &state, u32 stage, const int (&position)[2], int tile) {
    Scores s;
    scores(s, stage);
    mask(s, position, tile);
    u32 p[kPages][4];
#pragma unroll
    for (u32 r = 0; r < 2; ++r) {
      const float top = fmaxf(state.maximum[r], overRow<A::larger>(s, r));
      const float scale = weightOf(state.maximum[r], top);
      state.maximum[r] = top;
#pragma unroll
      for (u32 i = 2 * r; i < kTileKeys / 2; i += 4) {
        const u32 both = packBf16(weightOf(s[i], top), weightOf(s[i + 1], top));
        p[i / 8][i / 4 % 2 * 2 + r] = both;
        s[i] = bf16Low(both), s[i + 1] = bf16High(both);
      }
      state.sum[r] = fmaf(state.sum[r], scale, overRow<add>(s, r));
#pragma unroll
      for (u32 i = 0; i < kOwn / 2; ++i)
        if (i % 4 / 2 == r)
          state.value[i] *= scale;
    }
    addValues(state, p, stage);
  }

  __device__ static void addValues(State &state, u32 (&p)[kPages][4], u32 stage) {
    const u32 values = stage + kValuesAt + ownPart() * (kOwn / 64) * 2048;
#pragma unroll
    for (u32 i = 0; i < kPages * 4; ++i)
      wgmmaPin(p[i / 4][i % 4]);
#pragma unroll
    for (u32 i = 0; i < kOwn / 2; ++i)
      wgmmaPin(state.value[i]);
    wgmmaFence();
#pragma unroll
    for (u32 page = 0; page < kPages; ++page)
      Wgmma<kOwn>::bf16Values(state.value, p[page],
                              wgmmaColumns128<2048>(values + page * kValuePage), 1);
    wgmmaCommit();
    wgmmaWait<0>();
  }

  /// The tiles of one chunk, from a fresh state; `i` counts tiles.
  __device__ static void chunkState(State &state, u32 &i, const Run &run, const int (&position)[2],
                                    int chunk) {
    state.clear();
    forTiles(run, chunk, [&](int tile) {
      barrierWait(full(i), parity(i));
      tileStep(state, stage(i), position, tile);
      if (laneId() == 0)
        barrierArrive(empty(i));
      ++i;
    });
  }

  __device__ static void rowPositions(int (&position)[2], const PlatenCudaStep *step, const Run &run,
                                      i64 token, u32 kvHead) {
#pragma unroll
    for (u32 r = 0; r < 2; ++r) {
      const Row row = A::rowOf(run, token, kvHead, ownRow(r));
      position[r] = row.token < 0 ? -1 : step->positions[row.token];
    }
  }
  /// Calls store(row, head dimension, value, maximum, sum) for what this thread holds.
  template <typename Store>
  __device__ static void forEach(const State &state, const Run &run, i64 token, u32 kvHead,
                                 Store store) {
#pragma unroll
    for (u32 r = 0; r < 2; ++r) {
      const Row row = A::rowOf(run, token, kvHead, ownRow(r));
      if (row.token < 0)
        continue;
#pragma unroll
      for (u32 i = 0; i < kOwn / 2; ++i)
        if (i % 4 / 2 == r)
          store(row, ownPart() * kOwn + i / 4 * 8 + laneId() % 4 * 2 + i % 2, state.value[i],
                state.maximum[r], state.sum[r]);
    }
  }

  // --- Entries

  /// Barriers, and registers of the two kinds of warps; whether this thread is a consumer.
  __device__ static bool begin() {
    if (threadIdx.x == 0) {
      for (u32 i = 0; i < C::kStages; ++i) {
        barrierInit(full(i), 128);
        barrierInit(empty(i), kConsumers * 4);
      }
      barrierInitFence();
    }
    __syncthreads();
    const bool isConsumer = threadIdx.x < kConsumers * 128;
    if constexpr (C::kRegisters != 0) {
      if (isConsumer)
        registersUp<C::kRegisters>();
      else
        registersDown<64>();
    }
    return isConsumer;
  }

  __device__ static void prefill(const PlatenCudaStep *step, const float *q, const void *cache,
                                 const float *sinks, float *out, const void *keys,
                                 const void *values) {
    const i64 token = i64{blockIdx.x} * C::kBlockTokens;
    if (token >= step->tokens)
      return;
    const i64 last = min(token + i64{C::kBlockTokens}, static_cast<i64>(step->tokens));
    const u32 kvHead = blockIdx.y;
    constexpr int kChunk = kChunkKeys;
    const bool isConsumer = begin();
    u32 i = 0;
    if (!isConsumer) {
#pragma unroll 1
      for (i64 first = token; first < last;) {
        const Run run = A::runAt(step, first, last);
        first = run.last;
#pragma unroll 1
        for (int chunk = run.lowest / kChunk; chunk <= run.highest / kChunk; ++chunk)
          forTiles(run, chunk,
                   [&](int tile) { produce(i++, cache, run, kvHead, tile, keys, values); });
      }
      return;
    }
    loadQueries(q, token, step->tokens, kvHead);
#pragma unroll 1
    for (i64 first = token; first < last;) {
      const Run run = A::runAt(step, first, last);
      first = run.last;
      int position[2];
      rowPositions(position, step, run, token, kvHead);
      State total;
      total.clear();
#pragma unroll 1
      for (int chunk = run.lowest / kChunk; chunk <= run.highest / kChunk; ++chunk) {
        State part;
        chunkState(part, i, run, position, chunk);
        total.merge(part);
      }
      forEach(total, run, token, kvHead,
              [&](Row row, u32 d, float value, float maximum, float sum) {
                out[(row.token * C::kHeads + row.head) * C::kHeadDim + d] =
                    A::result(value, maximum, sum, sinks, row.head);
              });
    }
  }

  /// Chunk blockIdx.z of the positions that token blockIdx.x sees, left in the workspace.
  __device__ static void split(const PlatenCudaStep *step, const float *q, const void *cache,
                               float *workspace, const void *keys, const void *values) {
    static_assert(!C::kSplit || C::kBlockTokens == 1, "a split block has one token");
    const i64 token = blockIdx.x;
    if (token >= step->tokens)
      return;
    const Run run = A::runAt(step, token, token + 1);
    const int chunk = run.lowest / static_cast<int>(kChunkKeys) + static_cast<int>(blockIdx.z);
    if (chunk > run.highest / static_cast<int>(kChunkKeys))
      return;
    const u32 kvHead = blockIdx.y;
    const bool isConsumer = begin();
    u32 i = 0;
    if (!isConsumer) {
      forTiles(run, chunk,
               [&](int tile) { produce(i++, cache, run, kvHead, tile, keys, values); });
      return;
    }
    loadQueries(q, token, step->tokens, kvHead);
    int position[2];
    rowPositions(position, step, run, token, kvHead);
    State part;
    chunkState(part, i, run, position, chunk);
    float *states = A::stateAt(workspace);
    forEach(part, run, token, kvHead, [&](Row row, u32 d, float value, float maximum, float sum) {
      const i64 at = A::partAt(row.token, row.head, blockIdx.z);
      workspace[at * C::kHeadDim + d] = value;
      if (d == 0)
        states[at * 2] = maximum, states[at * 2 + 1] = sum;
    });
  }
};

} // namespace platen
