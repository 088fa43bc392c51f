// Matmul families that multiply rounded tokens: bf16, f16, e4m3, e2m1 (specs.h says how they are rounded).
//
// A step is 128 bytes of k of a token and of a channel: 64 of bf16 and f16, 128 of e4m3, 256 of e2m1; in a
// panel that is 2048 bytes: 32 rows of 16 words, narrow floats 8 chunks of 16 channels x 16
// bytes. Workspace, R = stepExtent rounded up to the block's tokens:
//   codes         [R][kSteps][128 bytes], zeros behind K and behind the step's tokens
//   group scales  [kSteps][R][16] e4m3 (e2m1 alone), zeros likewise
//   scales        [R] f32 (narrow floats)
// C as Matmul, and kTokens, kWorkspaceRows (R).
namespace platen {

/// Two f32 to e4m3; `low` in the low byte.
__device__ __forceinline__ u32 packE4m3(float low, float high) {
  u16 d;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(d) : "f"(high), "f"(low));
  return d;
}
__device__ __forceinline__ float e4m3ToFloat(u32 code) {
  u32 both;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(both) : "h"(static_cast<u16>(code)));
  return halfToFloat(static_cast<u16>(both));
}
#if __CUDA_ARCH__ >= 1000
/// Eight f32 to e2m1; v[0] in the lowest nibble.
__device__ __forceinline__ u32 packE2m1(const float (&v)[8]) {
  u32 d;
  asm("{\n.reg .b8 a, b, c, d;\n"
      "cvt.rn.satfinite.e2m1x2.f32 a, %2, %1;\ncvt.rn.satfinite.e2m1x2.f32 b, %4, %3;\n"
      "cvt.rn.satfinite.e2m1x2.f32 c, %6, %5;\ncvt.rn.satfinite.e2m1x2.f32 d, %8, %7;\n"
      "mov.b32 %0, {a, b, c, d};\n}"
      : "=r"(d)
      : "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]), "f"(v[4]), "f"(v[5]), "f"(v[6]), "f"(v[7]));
  return d;
}
#endif

template <typename C> struct MatmulRound : Matmul<C> {
  using M = Matmul<C>;
  static constexpr bool kNarrow = C::kElement == kF8 || C::kElement == kF4;
  static constexpr u32 kStepK = C::kElement == kF4 ? 256 : C::kElement == kF8 ? 128 : 64;
  static constexpr u32 kSteps = static_cast<u32>(ceilDiv(C::kK, kStepK));
  static constexpr u32 kPanelStep = 2048;
  /// Bytes of a panel's codes, rows or chunks that exist.
  static constexpr u32 kPanelCodes = C::kElement == kF4   ? static_cast<u32>(ceilDiv(C::kK, 64)) * 512
                                     : C::kElement == kF8 ? static_cast<u32>(ceilDiv(C::kK, 32)) * 512
                                                          : static_cast<u32>(ceilDiv(C::kK, 2)) * 64;
  static constexpr u64 kPitch = u64{kSteps} * 128, kGroupBytes = C::kElement == kF4 ? kPitch / 8 : 0; // of a row
  static constexpr u64 kGroupsAt = C::kWorkspaceRows * kPitch,
                       kScalesAt = kGroupsAt + C::kWorkspaceRows * kGroupBytes;
  static constexpr u32 kRoundThreads = 128;

  /// Offset of a token's 16 group scales of a step.
  __device__ static u64 groupScales(u32 step, i64 token) {
    return kGroupsAt + (step * C::kWorkspaceRows + token) * 16;
  }
  /// Scales of a token and of a channel, the latter behind a panel's codes and group scales.
  __device__ static float tokenScale(const void *workspace, i64 token) {
    return reinterpret_cast<const float *>(static_cast<const u8 *>(workspace) + kScalesAt)[token];
  }
  __device__ static float channelScale(const u8 *panel, u32 channel) {
    return __ldg(reinterpret_cast<const float *>(panel + C::kPanelBytes - 64) + channel);
  }

  /// Elements k.. of a row of x, zeros beyond K.
  template <u32 kCount>
  __device__ static void load(float (&v)[kCount], const float *row, u32 k, bool exists) {
#pragma unroll
    for (u32 i = 0; i < kCount; ++i)
      v[i] = 0;
    if constexpr (C::kK % 4 == 0) {
#pragma unroll
      for (u32 i = 0; i < kCount; i += 4) {
        if (!exists || k + i >= C::kK)
          continue;
        const float4 four = *reinterpret_cast<const float4 *>(row + k + i);
        v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
      }
    } else if (exists) {
#pragma unroll
      for (u32 i = 0; i < kCount; ++i)
        v[i] = k + i < C::kK ? row[k + i] : 0;
    }
  }
  template <u32 kCount> __device__ static float largest(const float (&v)[kCount]) {
    float most = 0;
#pragma unroll
    for (u32 i = 0; i < kCount; ++i)
      most = fmaxf(most, fabsf(v[i]));
    return most;
  }
  __device__ static uint4 roundHalf(const float *row, u32 k, bool exists) {
    float v[8];
    load(v, row, k, exists);
    return {M::packHalf(v[0], v[1]), M::packHalf(v[2], v[3]), M::packHalf(v[4], v[5]),
            M::packHalf(v[6], v[7])};
  }

  /// The inverse of a scale near the smallest number.
  __device__ static float finite(float inverse) { return fminf(inverse, 0x1.fffffep127f); }
  /// 16 codes of e4m3, scaled by `inverse`.
  __device__ static void round8(u8 *to, const float (&v)[16], float inverse) {
    u32 word[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i)
      word[i] = packE4m3(v[4 * i] * inverse, v[4 * i + 1] * inverse) |
                packE4m3(v[4 * i + 2] * inverse, v[4 * i + 3] * inverse) << 16;
    *reinterpret_cast<uint4 *>(to) = uint4{word[0], word[1], word[2], word[3]};
  }
#if __CUDA_ARCH__ >= 1000
  /// A group of 16 codes of e2m1 and its scale, in a row of scale `scale`.
  __device__ static void round4(u8 *to, u8 *groupScale, const float (&v)[16], float scale) {
    u32 code = 0;
    float inverse = 0;
    if (scale > 0) {
      code = packE4m3(largest(v) / 6.0f / scale, 0) & 0xff;
      const float group = e4m3ToFloat(code);
      inverse = group > 0 ? finite(1.0f / (group * scale)) : 0;
    }
    *groupScale = static_cast<u8>(code);
    u32 word[2];
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
      float eight[8];
#pragma unroll
      for (u32 j = 0; j < 8; ++j)
        eight[j] = v[8 * i + j] * inverse;
      word[i] = packE2m1(eight);
    }
    *reinterpret_cast<uint2 *>(to) = uint2{word[0], word[1]};
  }
#endif

  /// Row blockIdx.x of the workspace. Grid: x = kTokens * ceil(E / kTokens). Threads: kRoundThreads.
  __device__ static void round(const PlatenCudaStep *step, const void *x, void *workspace) {
    __shared__ float scratch[kRoundThreads / kWarp];
    const i64 row = blockIdx.x, extent = C::extent(step);
    if (row / C::kTokens * C::kTokens >= extent)
      return;
    const bool exists = row < extent;
    const float *from = static_cast<const float *>(x) + row * C::kK;
    u8 *to = static_cast<u8 *>(workspace) + row * i64{kPitch};
    if constexpr (!kNarrow) {
      for (u32 i = threadIdx.x; i < kPitch / 16; i += kRoundThreads)
        reinterpret_cast<uint4 *>(to)[i] = roundHalf(from, i * 8, exists);
    } else {
      float v[16], most = 0;
      for (u32 i = threadIdx.x; i < kSteps * kStepK / 16; i += kRoundThreads) {
        load(v, from, i * 16, exists);
        most = fmaxf(most, largest(v));
      }
      most = blockReduce<kRoundThreads, maximum>(most, scratch);
      const float scale = most / (C::kElement == kF8 ? 448.0f : 2688.0f);
      if (threadIdx.x == 0)
        reinterpret_cast<float *>(static_cast<u8 *>(workspace) + kScalesAt)[row] = scale;
      for (u32 i = threadIdx.x; i < kSteps * kStepK / 16; i += kRoundThreads) {
        load(v, from, i * 16, exists);
        if constexpr (C::kElement == kF8)
          round8(to + i * 16, v, most > 0 ? finite(448.0f / most) : 0);
#if __CUDA_ARCH__ >= 1000
        if constexpr (C::kElement == kF4)
          round4(to + i * 8, static_cast<u8 *>(workspace) + groupScales(i / 16, row) + i % 16, v,
                 scale);
#endif
      }
    }
  }
};

} // namespace platen
