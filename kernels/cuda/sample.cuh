// Sampling on the device: logits -> one token a row. One block a row.
//
// Semantics and order of the filters: runtime/decode/sampler.h (top-k, top-p, min-p, temperature, draw;
// equal logits by id, lowest first); penalties are applied to the logits before. Nothing is sorted:
// every filter keeps a prefix of the order (logit descending, id ascending), so it is one cut in that
// order, found digit by digit in the 64-bit key (ordered logit, ~id) from a histogram of weights. A
// weight is 1 (top-k) or a probability in fixed point, 2^40 for the best: sums are exact integers, so
// no result depends on the order of additions. The draw runs over what is kept in the order of ids:
// sums over 256 ranges of ids, then over 256 parts of the range that holds the uniform number.
//
// Cost: one pass over the logits for greedy, two with a temperature; at most 8 more for top-k and 9
// for top-p.
// Row without a finite maximum (NaN, +infinity, all -infinity): token -1.
//
// Grid: x = R. Threads: kThreads. C: kVocabulary, kThreads.
namespace platen {

template <typename C> struct Sample {
  static constexpr u32 kBins = 256;

  /// Unsigned order of floats: larger logit, larger key.
  __device__ static u32 ordered(float v) {
    const u32 bits = __float_as_uint(v == 0 ? 0.0f : v); // -0 equals 0
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  __device__ static u64 keyOf(float logit, u32 id) { return u64{ordered(logit)} << 32 | (~id); }

  /// Larger of two keys over the block; the best element's key. `scratch`: kThreads / 32 keys.
  __device__ static u64 blockMaximum(u64 key, u64 *scratch) {
#pragma unroll
    for (u32 step = kWarp / 2; step != 0; step /= 2)
      key = max(key, __shfl_xor_sync(0xffffffffu, key, step));
    if (laneId() == 0)
      scratch[warpId()] = key;
    __syncthreads();
    for (u32 i = 0; i < C::kThreads / kWarp; ++i)
      key = max(key, scratch[i]);
    __syncthreads();
    return key;
  }

  /// Weight of an element: its count, or e^((logit - best) * inverseTemperature) in fixed point.
  struct Weight {
    bool count;
    float best, inverseTemperature;
    __device__ u64 operator()(float logit) const {
      if (count)
        return 1;
      return static_cast<u64>(expf((logit - best) * inverseTemperature) * 1099511627776.0f);
    }
  };

  /// Sum of the weights of elements with key >= cut.
  __device__ static u64 total(const float *logits, u64 cut, Weight weight, u64 *bins) {
    __syncthreads();
    if (threadIdx.x == 0)
      bins[0] = 0;
    __syncthreads();
    u64 sum = 0;
    for (u32 id = threadIdx.x; id < C::kVocabulary; id += C::kThreads)
      if (keyOf(logits[id], id) >= cut)
        sum += weight(logits[id]);
    atomicAdd(&bins[0], sum);
    __syncthreads();
    const u64 result = bins[0];
    __syncthreads();
    return result;
  }

  /// The first key, descending from the best, at which the sum of weights of elements >= cut reaches
  /// `wanted`; `cut` itself if it never does.
  __device__ static u64 select(const float *logits, u64 cut, u64 wanted, Weight weight, u64 *bins) {
    __shared__ u64 found, rest;
    u64 prefix = 0; // the digits found so far
#pragma unroll 1
    for (int shift = 56; shift >= 0; shift -= 8) {
      __syncthreads();
      for (u32 bin = threadIdx.x; bin < kBins; bin += C::kThreads)
        bins[bin] = 0;
      __syncthreads();
      for (u32 id = threadIdx.x; id < C::kVocabulary; id += C::kThreads) {
        const u64 key = keyOf(logits[id], id);
        if (key >= cut && (shift == 56 || key >> (shift + 8) == prefix)) {
          const u64 w = weight(logits[id]);
          if (w != 0)
            atomicAdd(&bins[key >> shift & 255], w);
        }
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        found = kBins;
        rest = wanted;
        for (u32 bin = kBins; bin-- > 0;) {
          if (bins[bin] >= rest) {
            found = bin;
            break;
          }
          rest -= bins[bin];
        }
      }
      __syncthreads();
      if (found == kBins)
        return cut;
      prefix = prefix << 8 | found;
      wanted = rest;
    }
    return prefix;
  }

  /// bins[b] = sum of the weights of elements with key >= cut among the `span` ids from
  /// first + b * span on. A warp sums a bin.
  __device__ static void sumById(const float *logits, u64 cut, Weight weight, u32 first, u32 span,
                                 u64 *bins) {
    for (u32 bin = warpId(); bin < kBins; bin += C::kThreads / kWarp) {
      const u32 from = first + bin * span, to = min(C::kVocabulary, from + span);
      u64 sum = 0;
      for (u32 id = from + laneId(); id < to; id += kWarp)
        if (keyOf(logits[id], id) >= cut)
          sum += weight(logits[id]);
#pragma unroll
      for (u32 step = kWarp / 2; step != 0; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
      if (laneId() == 0)
        bins[bin] = sum;
    }
  }

  /// The first id at which the sum of the weights of elements with key >= cut, in the order of ids,
  /// exceeds their total * uniform * 2^-64. The total is not 0.
  __device__ static u32 draw(const float *logits, u64 cut, Weight weight, u64 uniform, u64 *bins) {
    constexpr u32 kSpan = ceilDiv(C::kVocabulary, kBins);
    __shared__ u32 chosen;
    u32 first = 0;
    u64 rest = 0; // of thread 0: what the sum from `first` on is to exceed
#pragma unroll 1
    for (u32 span = kSpan;; span = ceilDiv(span, kBins)) {
      sumById(logits, cut, weight, first, span, bins);
      __syncthreads();
      if (threadIdx.x == 0) {
        if (span == kSpan) {
          u64 mass = 0;
          for (u32 bin = 0; bin < kBins; ++bin)
            mass += bins[bin];
          rest = __umul64hi(mass, uniform);
        }
        u32 bin = 0;
        for (; bins[bin] <= rest; ++bin)
          rest -= bins[bin];
        chosen = bin;
      }
      __syncthreads();
      first += chosen * span;
      if (span == 1)
        return first;
    }
  }

  /// logits [R, V] f32, params [R], tokens [R] i32.
  __device__ static void run(const PlatenCudaStep *step, const float *all,
                             const PlatenCudaSampling *params, int *tokens) {
    const i64 row = blockIdx.x;
    if (row >= step->rows)
      return;
    __shared__ u64 bins[kBins];
    const float *logits = all + row * C::kVocabulary;
    const PlatenCudaSampling p = params[row];
    u64 bestKey = 0;
    u32 broken = 0;
    for (u32 id = threadIdx.x; id < C::kVocabulary; id += C::kThreads) {
      const float logit = logits[id];
      broken |= !(logit < __int_as_float(0x7f800000)); // NaN or +infinity
      bestKey = max(bestKey, keyOf(logit, id));
    }
    bestKey = blockMaximum(bestKey, bins);
    const u32 bestId = ~static_cast<u32>(bestKey);
    const float best = logits[bestId];
    if (__syncthreads_or(static_cast<int>(broken)) != 0 || best == minusInfinity()) {
      if (threadIdx.x == 0)
        tokens[row] = -1;
      return;
    }
    u32 token = bestId;
    if (p.temperature >= 1e-6f) {
      const Weight probability{false, best, 1.0f};
      u64 cut = keyOf(minusInfinity(), 0xffffffffu);
      if (p.top_k > 0 && p.top_k < static_cast<int>(C::kVocabulary))
        cut = select(logits, cut, static_cast<u64>(p.top_k), {true, best, 1.0f}, bins);
      if (p.top_p < 1.0f) {
        const u64 mass = total(logits, cut, probability, bins);
        cut = select(logits, cut, max(u64{1}, share(mass, p.top_p)), probability, bins);
      }
      cut = max(cut, u64{ordered(best + p.log_min_p)} << 32);
      token = draw(logits, cut, {false, best, 1.0f / p.temperature}, p.uniform, bins);
    }
    if (threadIdx.x == 0)
      tokens[row] = static_cast<int>(token);
  }

  /// mass * fraction, rounded up; fraction in [0, 1), of which what is below 2^-64 is cut off.
  __device__ static u64 share(u64 mass, float fraction) {
    const u64 scaled = static_cast<u64>(fraction * 18446744073709551616.0f);
    return __umul64hi(mass, scaled) + (mass * scaled != 0 ? 1 : 0);
  }
};

} // namespace platen
