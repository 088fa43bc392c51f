// Dense tile products: what every tensor instruction does between gathering and scattering.
//
// Numerics. PTX leaves the order and rounding of tensor-core sums open ("at least single
// precision"). Here each product is exact, the sum starts at the accumulator and takes products in
// ascending k in double, and is rounded once, to the accumulator's type, at the end of the
// instruction. Subnormals are kept. Every product fits a double exactly, so the fused multiply-adds
// below round as a separate add would: a plain triple loop in double gives the same bits.
// Integer sums are exact: 32-bit lanes wrap, which is what the ISA says of them.
#pragma once

#include <cstdint>
#include <immintrin.h>

namespace platen::ptxsim {

/// c[m][n] += Σ_k a[m][k] · b[k][n], k ascending. m a multiple of 4, n of 8; rows are dense.
inline void multiplyTile(double *c, const double *a, const double *b, int m, int n, int k) {
  for (int column = 0; column < n; column += 8) {
    for (int row = 0; row < m; row += 4) {
      __m256d sum[4][2];
      for (int r = 0; r < 4; ++r) {
        sum[r][0] = _mm256_loadu_pd(c + (row + r) * n + column);
        sum[r][1] = _mm256_loadu_pd(c + (row + r) * n + column + 4);
      }
      const double *b0 = b + column, *a0 = a + row * k;
      for (int i = 0; i < k; ++i, b0 += n, ++a0) {
        __m256d low = _mm256_loadu_pd(b0), high = _mm256_loadu_pd(b0 + 4);
        for (int r = 0; r < 4; ++r) {
          __m256d factor = _mm256_broadcast_sd(a0 + r * k);
          sum[r][0] = _mm256_fmadd_pd(factor, low, sum[r][0]);
          sum[r][1] = _mm256_fmadd_pd(factor, high, sum[r][1]);
        }
      }
      for (int r = 0; r < 4; ++r) {
        _mm256_storeu_pd(c + (row + r) * n + column, sum[r][0]);
        _mm256_storeu_pd(c + (row + r) * n + column + 4, sum[r][1]);
      }
    }
  }
}

/// The same of 16-bit integers in pairs along k: a[m][pair], b[pair][n], both two to a word.
inline void multiplyTile(int32_t *c, const int32_t *a, const int32_t *b, int m, int n, int pairs) {
  for (int column = 0; column < n; column += 8) {
    for (int row = 0; row < m; row += 8) {
      __m256i sum[8];
      for (int r = 0; r < 8; ++r)
        sum[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(c + (row + r) * n + column));
      const int32_t *b0 = b + column, *a0 = a + row * pairs;
      for (int i = 0; i < pairs; ++i, b0 += n, ++a0) {
        __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(b0));
        for (int r = 0; r < 8; ++r)
          sum[r] =
              _mm256_add_epi32(sum[r], _mm256_madd_epi16(_mm256_set1_epi32(a0[r * pairs]), right));
      }
      for (int r = 0; r < 8; ++r)
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(c + (row + r) * n + column), sum[r]);
    }
  }
}

/// c + p as s32, wrapped or limited to the range.
inline int32_t addTo(int32_t c, int64_t p, bool saturate) {
  int64_t sum = c + p;
  if (saturate)
    return static_cast<int32_t>(sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum);
  return static_cast<int32_t>(static_cast<uint32_t>(sum));
}

} // namespace platen::ptxsim
