// Row-wise kernels: one block or warp a row, fixed order of reductions.
//
// Embed, quantised rows, selected rows, and the end of q, k, v (norm, RoPE, append to the cache). Row
// programs are printed whole by scalar_print.cpp; they use quantizeGroup() and blockReduce().
// Memory-bound: each reads and writes its operands once.
namespace platen {

/// Quantises the 32 values of a warp (lane = element of a group): symmetric, scale = max / 127, codes
/// to nearest even. `row` is a QuantizedRow of kK elements (kernels/packing.h).
template <u32 kK> __device__ __forceinline__ void quantizeGroup(u8 *row, u32 group, float value) {
  const float largest = warpReduce<maximum>(fabsf(value));
  const float inverse = largest > 0 ? 127.0f / largest : 0;
  const int code = __float2int_rn(value * inverse);
  int sum = code;
#pragma unroll
  for (u32 step = kWarp / 2; step != 0; step /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  row[group * 32 + laneId()] = static_cast<u8>(code);
  if (laneId() == 0) {
    reinterpret_cast<float *>(row + kK)[group] = largest / 127.0f;
    reinterpret_cast<int *>(row + kK)[kK / 32 + group] = sum;
  }
}
template <u32 kK> constexpr u64 kQuantizedRowBytes = (kK + u64{kK / 32} * 8 + 63) / 64 * 64;

/// x [E, K] f32 -> panel. Grid: x = E. Threads: kThreads.
template <typename C>
__device__ void quantizeRows(const PlatenCudaStep *step, const float *x, u8 *panel) {
  const i64 row = blockIdx.x;
  if (row >= C::extent(step))
    return;
  for (u32 group = warpId(); group < C::kK / 32; group += C::kThreads / kWarp)
    quantizeGroup<C::kK>(panel + row * kQuantizedRowBytes<C::kK>, group,
                         x[row * C::kK + group * 32 + laneId()]);
}

/// y[r] = x[row_tokens[r]]. Grid: x = R. Threads: kThreads.
template <typename C>
__device__ void selectRows(const PlatenCudaStep *step, const float *x, float *y) {
  const i64 row = blockIdx.x;
  if (row >= step->rows)
    return;
  const float *from = x + i64{step->row_tokens[row]} * C::kWidth;
  for (u32 c = threadIdx.x; c < C::kWidth; c += C::kThreads)
    y[row * C::kWidth + c] = from[c];
}

/// Element (n, k) of a packed table; C says the packing (offsets as kernels/packing.h).
template <typename C> __device__ __forceinline__ float tableElement(const u8 *table, u64 n, u32 k) {
  if constexpr (C::kRaw) {
    const u8 *at = table + (n * C::kWidth + k) * (C::kElement == 0 ? 4 : 2);
    if constexpr (C::kElement == 0)
      return *reinterpret_cast<const float *>(at);
    const u16 bits = *reinterpret_cast<const u16 *>(at);
    return C::kHalf ? halfToFloat(bits) : bf16Low(bits);
  } else {
    const u32 lane = static_cast<u32>(n % kPanel);
    const u8 *panel = table + n / kPanel * C::kPanelBytes;
    if constexpr (C::kElement == 0)
      return reinterpret_cast<const float *>(panel)[u64{k} * kPanel + lane];
    if constexpr (C::kElement == 1 || C::kElement == 6) {
      const u16 bits =
          reinterpret_cast<const u16 *>(panel)[(u64{k / 2} * kPanel + lane) * 2 + k % 2];
      return C::kHalf ? halfToFloat(bits) : bf16Low(bits);
    }
    const u8 *block = panel + u64{k / 64} * C::kBlockBytes;
    const u32 half = k % 64 / 32, inGroup = (k % 32 / 4 * kPanel + lane) * 4 + k % 4;
    int code = 0;
    if constexpr (C::kElement == 2)
      code = static_cast<i8>(block[half * 512 + inGroup]);
    else
      code = block[inGroup] >> (half * 4) & 15;
    const u8 *scales = block + C::kCodeBytes;
    const u32 at = half * kPanel + lane;
    float scale = 0;
    if constexpr (C::kScaleBytes == 2)
      scale = halfToFloat(reinterpret_cast<const u16 *>(scales)[at]);
    else
      scale = reinterpret_cast<const float *>(scales)[at];
    const int zero = C::kZeros ? static_cast<i8>(scales[32 * C::kScaleBytes + at])
                               : (C::kElement == 3 ? 8 : 0);
    return static_cast<float>(code - zero) * scale;
  }
}

/// y[t] = table[token_ids[t]] * scale. Grid: x = T. Threads: kThreads.
template <typename C>
__device__ void embed(const PlatenCudaStep *step, const u8 *table, float *y) {
  const i64 token = blockIdx.x;
  if (token >= step->tokens)
    return;
  const u64 id = static_cast<u64>(step->token_ids[token]);
  for (u32 c = threadIdx.x; c < C::kWidth; c += C::kThreads)
    y[token * C::kWidth + c] = tableElement<C>(table, id, c) * C::kScale;
}

/// Norm, RoPE and scaling of q, k, v; k and v into the cache. One warp a head of a token.
/// Grid: x = ceil(T * (nh + 2 kv) / kWarps). Threads: 32 * kWarps.
/// q, k, v: first element of token 0, rows `stride` elements apart. Cache: manifest `Cache`.
template <typename C> struct QkvFinish {
  static constexpr u32 kUnits = C::kHeads + 2 * C::kKvHeads;
  static constexpr u32 kPerLane = static_cast<u32>(ceilDiv(C::kHeadDim, kWarp));

  __device__ static void storeCache(void *cache, i64 element, float value) {
    if constexpr (C::kCacheBf16)
      static_cast<u16 *>(cache)[element] = static_cast<u16>(packBf16(value, 0));
    else
      static_cast<float *>(cache)[element] = value;
  }

  /// Rotated element i of the head in `row` (shared memory).
  __device__ static float rotate(const float *row, u32 i, const float *cos, const float *sin) {
    constexpr u32 kHalf = C::kRopeDim / 2;
    if (i >= C::kRopeDim)
      return row[i];
    const u32 pair = C::kInterleaved ? i / 2 : i % (kHalf == 0 ? 1 : kHalf);
    const bool second = C::kInterleaved ? i % 2 != 0 : i >= kHalf;
    const float a = row[C::kInterleaved ? 2 * pair : pair],
                b = row[C::kInterleaved ? 2 * pair + 1 : pair + kHalf];
    return second ? b * cos[pair] + a * sin[pair] : a * cos[pair] - b * sin[pair];
  }

  __device__ static void run(const PlatenCudaStep *step, const float *q, const float *k,
                             const float *v, i64 strideQ, i64 strideKv, const float *qNorm,
                             const float *kNorm, const float *cos, const float *sin, float *out,
                             void *cache) {
    __shared__ float rows[C::kWarps][C::kHeadDim];
    const i64 unit = i64{blockIdx.x} * C::kWarps + warpId();
    const i64 token = unit / kUnits;
    const u32 head = static_cast<u32>(unit % kUnits);
    if (token >= step->tokens)
      return;
    const bool isQ = head < C::kHeads, isV = head >= C::kHeads + C::kKvHeads;
    const u32 kvHead = isQ ? 0 : (head - C::kHeads) % C::kKvHeads;
    const float *from = isQ   ? q + token * strideQ + head * C::kHeadDim
                        : isV ? v + token * strideKv + kvHead * C::kHeadDim
                              : k + token * strideKv + kvHead * C::kHeadDim;
    float value[kPerLane], square = 0;
#pragma unroll
    for (u32 i = 0; i < kPerLane; ++i) {
      const u32 c = i * kWarp + laneId();
      value[i] = c < C::kHeadDim ? from[c] : 0;
      square += value[i] * value[i];
    }
    const float *weight = isQ ? qNorm : kNorm;
    if (!isV && (isQ ? C::kQNorm : C::kKNorm)) {
      const float mean = warpReduce<add>(square) * (1.0f / C::kHeadDim);
      const float inverse = 1.0f / sqrtf(mean + C::kEpsilon);
#pragma unroll
      for (u32 i = 0; i < kPerLane; ++i)
        if (i * kWarp + laneId() < C::kHeadDim)
          value[i] = value[i] * inverse * weight[i * kWarp + laneId()];
    }
    float *row = rows[warpId()];
#pragma unroll
    for (u32 i = 0; i < kPerLane; ++i)
      if (i * kWarp + laneId() < C::kHeadDim)
        row[i * kWarp + laneId()] = value[i];
    __syncwarp();
    const i64 position = step->positions[token];
    const i64 page = isQ ? 0
                         : step->page_table[step->sequence_of_token[token] *
                                                step->page_table_stride +
                                            position / kPageTokens];
    const i64 slot = position % kPageTokens,
              base = (page * C::kKvHeads + kvHead) * 2 * kPageTokens * C::kHeadDim;
#pragma unroll
    for (u32 i = 0; i < kPerLane; ++i) {
      const u32 c = i * kWarp + laneId();
      if (c >= C::kHeadDim)
        break;
      if (isV) {
        storeCache(cache, base + (kPageTokens + slot) * C::kHeadDim + c, row[c]);
        continue;
      }
      float rotated = row[c];
      if constexpr (C::kRopeDim != 0)
        rotated = rotate(row, c, cos + position * (C::kRopeDim / 2),
                         sin + position * (C::kRopeDim / 2));
      if (isQ)
        out[(token * C::kHeads + head) * C::kHeadDim + c] = rotated * C::kQScale;
      else
        storeCache(cache, base + i64{c} * kPageTokens + slot, rotated);
    }
  }
};

} // namespace platen
