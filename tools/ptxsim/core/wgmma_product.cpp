// wgmma.mma_async: the product of one warp, 16 of the warpgroup's 64 rows. Numerics: multiply.h.
#include "tools/ptxsim/core/fragments.h"
#include "tools/ptxsim/core/matrix_state.h"
#include "tools/ptxsim/core/multiply.h"
#include "tools/ptxsim/core/wgmma.h"

#include <algorithm>
#include <bit>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kRows = kWgmmaRows, kRowBytes = kWgmmaRowBytes;

void readChunks(const Block &block, const std::vector<uint32_t> &offsets, uint8_t *bytes) {
  for (uint32_t offset : offsets) {
    std::memcpy(bytes, block.shared.data() + offset, 16);
    bytes += 16;
  }
}

/// A of the warp as 16 rows of 32 bytes, k adjacent (MN-major: turned around).
void readA(const WgmmaJob &job, uint8_t *rows) {
  if (job.plan.has(WgmmaPlan::kARegisters)) {
    uint32_t words[kRows * 8];
    gatherA(*job.warp, job.a, kRows, 8, words);
    std::memcpy(rows, words, sizeof words);
    return;
  }
  if (!job.plan.has(WgmmaPlan::kTransposeA))
    return readChunks(*job.warp->block, job.aChunks, rows);
  uint16_t columns[16][kRows], turned[kRows][16]; // [k][row], 16-bit elements
  readChunks(*job.warp->block, job.aChunks, reinterpret_cast<uint8_t *>(columns));
  for (uint32_t k = 0; k < 16; ++k)
    for (uint32_t row = 0; row < kRows; ++row)
      turned[row][k] = columns[k][row];
  std::memcpy(rows, turned, sizeof turned);
}

/// B as n columns of 32 bytes, k adjacent.
void readB(const WgmmaJob &job, uint8_t *columns) {
  if (!job.plan.has(WgmmaPlan::kTransposeB))
    return readChunks(*job.warp->block, job.bChunks, columns);
  uint32_t n = job.plan.n;
  std::vector<uint16_t> rows(16 * n);
  readChunks(*job.warp->block, job.bChunks, reinterpret_cast<uint8_t *>(rows.data()));
  for (uint32_t column = 0; column < n; ++column)
    for (uint32_t k = 0; k < 16; ++k)
      std::memcpy(columns + column * kRowBytes + 2 * k, &rows[k * n + column], 2);
}

// Accumulators of eight columns as [column][row of 16]. A register of a half (rows 0-7, 8-15)
// holds, in lane 4·row + t, column 2t (the even one) or 2t + 1.
void transpose(__m128 (&rows)[4]) { _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]); }

void loadAccumulators(const WgmmaJob &job, uint32_t block, double *tile) {
  if (job.plan.d == Element::kF16) {
    for (uint32_t half = 0; half < 2; ++half) {
      double values[64];
      decodeElements(Element::kF16, job.warp->lanes<uint32_t>(job.d[2 * block + half]), 64, values);
      for (uint32_t row = 0; row < 8; ++row)
        for (uint32_t column = 0; column < 8; ++column)
          tile[column * kRows + 8 * half + row] = values[row * 8 + column];
    }
    return;
  }
  for (uint32_t r = 0; r < 4; ++r) {
    const float *lanes = job.warp->lanes<float>(job.d[4 * block + r]);
    for (uint32_t quarter = 0; quarter < 2; ++quarter) {
      __m128 rows[4];
      for (uint32_t row = 0; row < 4; ++row)
        rows[row] = _mm_load_ps(lanes + (4 * quarter + row) * 4);
      transpose(rows);
      for (uint32_t t = 0; t < 4; ++t)
        _mm256_storeu_pd(tile + (2 * t + r % 2) * kRows + 8 * (r / 2) + 4 * quarter,
                         _mm256_cvtps_pd(rows[t]));
    }
  }
}

void storeAccumulators(const WgmmaJob &job, uint32_t block, const double *tile) {
  if (job.plan.d == Element::kF16) {
    for (uint32_t half = 0; half < 2; ++half) {
      uint32_t *lanes = job.warp->lanes<uint32_t>(job.d[2 * block + half]);
      for (uint32_t lane = 0; lane < 32; ++lane) {
        const double *pair = tile + 2 * (lane % 4) * kRows + 8 * half + lane / 4;
        lanes[lane] = roundToF16(pair[0]) | uint32_t{roundToF16(pair[kRows])} << 16;
      }
    }
    return;
  }
  const __m128 nan = _mm_castsi128_ps(_mm_set1_epi32(0x7FFFFFFF));
  for (uint32_t r = 0; r < 4; ++r) {
    float *lanes = job.warp->lanes<float>(job.d[4 * block + r]);
    for (uint32_t quarter = 0; quarter < 2; ++quarter) {
      __m128 columns[4];
      for (uint32_t t = 0; t < 4; ++t) {
        __m128 value = _mm256_cvtpd_ps(
            _mm256_loadu_pd(tile + (2 * t + r % 2) * kRows + 8 * (r / 2) + 4 * quarter));
        columns[t] = _mm_blendv_ps(value, nan, _mm_cmpunord_ps(value, value));
      }
      transpose(columns);
      for (uint32_t row = 0; row < 4; ++row)
        _mm_store_ps(lanes + (4 * quarter + row) * 4, columns[row]);
    }
  }
}

void multiplyFloats(const WgmmaJob &job) {
  const WgmmaPlan &plan = job.plan;
  auto k = static_cast<int>(plan.k());
  uint8_t aBytes[kRows * kRowBytes], bBytes[256 * kRowBytes];
  double a[kRows * 32], turned[kRows * 32], b[8 * 32], tile[8 * kRows];
  readA(job, aBytes);
  readB(job, bBytes);
  decodeElements(plan.a, aBytes, static_cast<int>(kRows) * k, a);
  double sign = plan.has(WgmmaPlan::kNegate) ? -1 : 1;
  for (int row = 0; row < static_cast<int>(kRows); ++row)
    for (int i = 0; i < k; ++i)
      turned[i * static_cast<int>(kRows) + row] = sign * a[row * k + i];
  for (uint32_t block = 0; block < plan.n / 8u; ++block) {
    decodeElements(plan.b, bBytes + block * 8 * kRowBytes, 8 * k, b);
    if (job.accumulate)
      loadAccumulators(job, block, tile);
    else
      std::fill(std::begin(tile), std::end(tile), 0.0);
    multiplyTile(tile, b, turned, 8, kRows, k); // the transpose of A times B
    storeAccumulators(job, block, tile);
  }
}

void multiplyIntegers(const WgmmaJob &job) {
  const WgmmaPlan &plan = job.plan;
  constexpr int kPairs = kRowBytes / 2;
  uint8_t aBytes[kRows * kRowBytes], bBytes[256 * kRowBytes];
  int16_t a[kRows * kRowBytes], b[8 * kRowBytes];
  int32_t turned[kPairs * kRows], bPairs[8 * kPairs], tile[8 * kRows];
  readA(job, aBytes);
  readB(job, bBytes);
  bool isBits = plan.a == Element::kB1;
  if (!isBits) {
    decodeElements(plan.a, aBytes, kRows * kRowBytes, a);
    for (int row = 0; row < static_cast<int>(kRows); ++row)
      for (int pair = 0; pair < kPairs; ++pair)
        std::memcpy(&turned[pair * static_cast<int>(kRows) + row], &a[(row * kPairs + pair) * 2],
                    4);
  }
  for (uint32_t block = 0; block < plan.n / 8u; ++block) {
    const uint8_t *columns = bBytes + block * 8 * kRowBytes;
    std::fill(std::begin(tile), std::end(tile), 0);
    if (isBits) {
      for (uint32_t column = 0; column < 8; ++column)
        for (uint32_t row = 0; row < kRows; ++row)
          for (uint32_t word = 0; word < kRowBytes / 8; ++word) {
            uint64_t x, y;
            std::memcpy(&x, aBytes + row * kRowBytes + 8 * word, 8);
            std::memcpy(&y, columns + column * kRowBytes + 8 * word, 8);
            tile[column * kRows + row] += std::popcount(x & y);
          }
    } else {
      decodeElements(plan.b, columns, 8 * kRowBytes, b);
      std::memcpy(bPairs, b, sizeof bPairs);
      multiplyTile(tile, bPairs, turned, 8, kRows, kPairs);
    }
    for (uint32_t r = 0; r < 4; ++r) {
      auto *lanes = job.warp->lanes<int32_t>(job.d[4 * block + r]);
      for (uint32_t lane = 0; lane < 32; ++lane)
        lanes[lane] = addTo(job.accumulate ? lanes[lane] : 0,
                            tile[(2 * (lane % 4) + r % 2) * kRows + 8 * (r / 2) + lane / 4],
                            plan.has(WgmmaPlan::kSaturate));
    }
  }
}

} // namespace

void performWgmma(const WgmmaJob &job) {
  if (isIntegerElement(job.plan.a))
    multiplyIntegers(job);
  else
    multiplyFloats(job);
  std::vector<uint8_t> &fenced = matrixState(*job.warp->block).warps[job.warp->index].fenced;
  for (uint32_t r = 0; r < job.plan.accumulators(); ++r)
    std::memcpy(fenced.data() + job.d[r], job.warp->registers + job.d[r], 128);
}
} // namespace platen::ptxsim
