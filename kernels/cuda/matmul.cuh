// Matmul families: what decode and prefill kernels share.
//
// y[E, N] = epilogue(x · W^T). Weights are the A operand of mma.sync (16 channels, a panel), tokens
// the B operand (8 of them), so that a decode step of one token wastes as little as possible and
// decode and prefill execute the very same instruction for an element.
//
// Panels hold 64-byte rows of 16 words, a word being the neighbouring k of one channel that a lane
// of the fragment wants: 2 bf16 or f16, or 4 i8. Channel 2g stands in fragment row g, channel 2g+1 in row
// g+8: one 8-byte load gives both, and a lane ends up with two neighbouring channels of y.
//
// Numerics, equal bits for every tile, batch and chunking: k is cut into kSlices slices of kSliceK
// by K alone; inside a slice mma.sync (bf16, f16: x rounded to nearest even) or exact integer group sums
// and one fma a group (q8, q4), k ascending; then ((0 + s0) + s1) + … in fp32.
//
// Config (printed by describe.cpp): kElement, kK, kWeights, kGated, kN[], kColumns, kSlices, kSliceK,
// kScaleBytes, kZeros, kBlockBytes, kPanelBytes, kRows, kCols (operands of the epilogue),
// epilogue(in[]), extent(step).
namespace platen {

enum Element : int { kF32 = 0, kBF16 = 1, kQ8 = 2, kQ4 = 3, kF8 = 4, kF4 = 5, kF16 = 6 };

/// Operands of one launch; arrays are indexed by constants only, so that they live in registers.
template <typename C> struct MatmulOperands {
  const void *x;
  const u8 *w[C::kWeights];
  const float *rows[C::kRows + 1];
  const float *columns[C::kCols + 1];
  float *y;
};

template <typename C> struct Matmul {
  static constexpr bool kInteger = C::kElement == kQ8 || C::kElement == kQ4;
  /// Weights of 16 bits, by which x is rounded to the same format.
  static constexpr bool kHalf = C::kElement == kBF16 || C::kElement == kF16;
  /// Accumulators that the epilogue sees.
  static constexpr u32 kAccumulators = C::kGated ? C::kWeights : 1;
  /// Elements of k in a 64-byte row of x, one stage of a pipeline.
  static constexpr u32 kStageK = kInteger ? 64 : 32;
  static constexpr u32 kGroups = C::kK / 32; // integer formats
  static constexpr u64 kQuantizedRowBytes = (C::kK + u64{kGroups} * 8 + 63) / 64 * 64;
  static constexpr u64 kXRowBytes = kInteger ? kQuantizedRowBytes : u64{C::kK} * 4;
  static_assert(C::kSliceK % kStageK == 0, "a slice is whole stages");
  static_assert(C::kSlices * C::kSliceK >= C::kK, "slices cover k");

  __host__ __device__ static constexpr u32 panelsOf(u32 weight) {
    return static_cast<u32>(ceilDiv(C::kN[weight], kPanel));
  }
  __host__ __device__ static constexpr u32 panels() {
    u32 sum = 0;
    for (u32 i = 0; i < (C::kGated ? 1 : C::kWeights); ++i)
      sum += panelsOf(i);
    return sum;
  }
  static constexpr u32 kPanels = panels();

  /// Where panel `panel` of y comes from and goes to.
  struct Place {
    const u8 *w[kAccumulators]; // its first byte in each weight
    u32 column;                 // of y, of its first channel
    u32 channels;               // that exist, 0 to 16
  };
  __device__ static Place place(const MatmulOperands<C> &o, u32 panel) {
    Place at{};
    if constexpr (C::kGated) {
      at.column = panel * kPanel;
      at.channels = panel < kPanels ? min(kPanel, C::kN[0] - at.column) : 0;
#pragma unroll
      for (u32 i = 0; i < kAccumulators; ++i)
        at.w[i] = o.w[i] + u64{panel} * C::kPanelBytes;
    } else {
      u32 first = 0, column = 0;
#pragma unroll
      for (u32 i = 0; i < C::kWeights; ++i) {
        if (panel >= first && panel < first + panelsOf(i)) {
          const u32 local = (panel - first) * kPanel;
          at.w[0] = o.w[i] + u64{panel - first} * C::kPanelBytes;
          at.column = column + local;
          at.channels = min(kPanel, C::kN[i] - local);
        }
        first += panelsOf(i);
        column += C::kN[i];
      }
    }
    return at;
  }

  /// Element (token, column) of y from its accumulators.
  __device__ static void finish(const MatmulOperands<C> &o, i64 token, u32 column,
                                const float (&sums)[kAccumulators]) {
    float in[kAccumulators + C::kRows + C::kCols];
    const i64 at = token * C::kColumns + column;
#pragma unroll
    for (u32 i = 0; i < kAccumulators; ++i)
      in[i] = sums[i];
#pragma unroll
    for (u32 i = 0; i < C::kRows; ++i)
      in[kAccumulators + i] = o.rows[i][at];
#pragma unroll
    for (u32 i = 0; i < C::kCols; ++i)
      in[kAccumulators + C::kRows + i] = __ldg(o.columns[i] + column);
    o.y[at] = C::epilogue(in);
  }

  // --- 16-bit floats

  /// Two elements of x.
  __device__ static u32 packHalf(float low, float high) {
    return C::kElement == kF16 ? packF16(low, high) : packBf16(low, high);
  }
  __device__ static void mmaHalf(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    if constexpr (C::kElement == kF16)
      mmaF16(c, a, b0, b1);
    else
      mmaBf16(c, a, b0, b1);
  }

  // --- Integer groups: c holds sum(code * x code) of channels 2g, 2g+1 and tokens 2q, 2q+1.

  /// Scales of channels 2g, 2g+1; `at` is the group's first scale.
  __device__ static float2 scalePair(const u8 *at) {
    const u32 pair = laneId() / 4;
    if constexpr (C::kScaleBytes == 2) {
      const u32 both = reinterpret_cast<const u32 *>(at)[pair];
      return {halfToFloat(static_cast<u16>(both)), halfToFloat(static_cast<u16>(both >> 16))};
    } else {
      return reinterpret_cast<const float2 *>(at)[pair];
    }
  }
  /// Zero points of channels 2g, 2g+1; `at` is the group's first zero point.
  __device__ static int2 zeroPair(const u8 *at) {
    if constexpr (C::kZeros) {
      const u32 both = reinterpret_cast<const u16 *>(at)[laneId() / 4];
      return {static_cast<i8>(both), static_cast<i8>(both >> 8)};
    } else {
      return C::kElement == kQ4 ? int2{8, 8} : int2{0, 0};
    }
  }
  static constexpr bool kNeedsSums = C::kZeros || C::kElement == kQ4;

  /// acc += (c - zero * sum of x codes) * (scale of x * scale of w), one rounding for the product of
  /// the scales and one for the fma.
  __device__ static void addGroup(float (&acc)[4], const int (&c)[4], float2 scale, int2 zero,
                                  float2 xScale, int2 xSum) {
    int v[4] = {c[0], c[1], c[2], c[3]};
    if constexpr (kNeedsSums) {
      v[0] -= zero.x * xSum.x, v[1] -= zero.x * xSum.y;
      v[2] -= zero.y * xSum.x, v[3] -= zero.y * xSum.y;
    }
    acc[0] = fmaf(static_cast<float>(v[0]), xScale.x * scale.x, acc[0]);
    acc[1] = fmaf(static_cast<float>(v[1]), xScale.y * scale.x, acc[1]);
    acc[2] = fmaf(static_cast<float>(v[2]), xScale.x * scale.y, acc[2]);
    acc[3] = fmaf(static_cast<float>(v[3]), xScale.y * scale.y, acc[3]);
  }
};

} // namespace platen
