// mma.sync.aligned: execution. Layouts: fragments.h; numerics: multiply.h.
//
// bf16, f16 and 8-bit integers have handlers of their own for speed; the others share one that
// decodes whole tiles. Block scales are applied to the elements of A and B (exact in double) before
// the product.
#include "tools/ptxsim/core/mma.h"

#include "tools/ptxsim/core/fragments.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/multiply.h"

#include <bit>

namespace platen::ptxsim {
namespace {

constexpr int kMaxM = 16;

} // namespace

MmaOperands::MmaOperands(const Warp &warp, const Op &op, const MmaPlan &plan) {
  d = listOf(warp, op);
  a = d + plan.registersOfC();
  b = a + plan.registersOfA();
  c = b + plan.registersOfB();
  rest = c + plan.registersOfC();
}

void loadC(Warp &warp, const uint32_t *registers, const MmaPlan &plan, double *tile) {
  int m = plan.m;
  if (plan.d == Element::kF64) {
    gatherC(warp, registers, m, tile);
    return;
  }
  if (plan.d == Element::kF16) { // the two halves of a register are C's two columns of the lane
    for (int half = 0; half < m / 8; ++half)
      decodeElements(Element::kF16, warp.lanes<uint32_t>(registers[half]), 64, tile + half * 64);
    return;
  }
  float words[kMaxM * kTileN];
  gatherC(warp, registers, m, words);
  for (int i = 0; i < m * kTileN; ++i)
    tile[i] = words[i];
}

void storeC(Warp &warp, const uint32_t *registers, const MmaPlan &plan, const double *tile) {
  int m = plan.m;
  if (plan.d == Element::kF64) {
    scatterC(warp, registers, m, tile);
    return;
  }
  if (plan.d == Element::kF16) {
    for (int half = 0; half < m / 8; ++half) {
      uint32_t *lanes = warp.lanes<uint32_t>(registers[half]);
      for (int lane = 0; lane < 32; ++lane) {
        const double *pair = tile + half * 64 + 2 * lane;
        lanes[lane] = roundToF16(pair[0]) | uint32_t{roundToF16(pair[1])} << 16;
      }
    }
    return;
  }
  uint32_t words[kMaxM * kTileN];
  for (int i = 0; i < m * kTileN; ++i)
    words[i] = give<float>(static_cast<float>(tile[i]));
  scatterC(warp, registers, m, words);
}

void storeIntegers(Warp &warp, const MmaOperands &at, const MmaPlan &plan, const int32_t *product) {
  int32_t c[kMaxM * kTileN];
  gatherC(warp, at.c, plan.m, c);
  if (plan.flags & MmaPlan::kSaturate)
    for (int i = 0; i < plan.m * kTileN; ++i)
      c[i] = addTo(c[i], product[i], true);
  else
    for (int i = 0; i < plan.m * kTileN; ++i)
      c[i] = static_cast<int32_t>(static_cast<uint32_t>(c[i]) + static_cast<uint32_t>(product[i]));
  scatterC(warp, at.d, plan.m, c);
}

namespace {

/// B of a two-byte format as [k][8].
template <Element E> void decodeB(const uint32_t *transposed, int words, double *tile) {
  for (int word = 0; word < words; ++word, tile += 2 * kTileN) {
    __m256i pairs =
        _mm256_loadu_si256(reinterpret_cast<const __m256i *>(transposed + word * kTileN));
    __m256 low, high;
    if constexpr (E == Element::kBF16) {
      low = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
      high = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)));
    } else {
      auto halves = [](__m256i x) { // eight words below 65536 to eight floats
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0x08);
        return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
      };
      low = halves(_mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF)));
      high = halves(_mm256_srli_epi32(pairs, 16));
    }
    _mm256_storeu_pd(tile, _mm256_cvtps_pd(_mm256_castps256_ps128(low)));
    _mm256_storeu_pd(tile + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(low, 1)));
    _mm256_storeu_pd(tile + 8, _mm256_cvtps_pd(_mm256_castps256_ps128(high)));
    _mm256_storeu_pd(tile + 12, _mm256_cvtps_pd(_mm256_extractf128_ps(high, 1)));
  }
}

/// f16 and bf16.
template <Element E> void runHalf(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  MmaOperands at(warp, op, plan);
  int words = plan.words, k = 2 * words;
  uint32_t packed[kMaxM * 8] = {};
  double a[kMaxM * 16], b[16 * kTileN], c[kMaxM * kTileN];
  gatherA(warp, at.a, kMaxM, words, packed);
  decodeElements(E, packed, kMaxM * k, a);
  gatherBTransposed(warp, at.b, words, packed);
  decodeB<E>(packed, words, b);
  loadC(warp, at.c, plan, c);
  multiplyTile(c, a, b, kMaxM, kTileN, k);
  storeC(warp, at.d, plan, c);
  countMatrix(warp, static_cast<uint64_t>(kMaxM * kTileN * k));
}

/// Four bytes of each word, low to high, as two words of two 16-bit integers.
void widenBytes(__m256i words, bool isSigned, __m256i &first, __m256i &second) {
  const __m256i lowBytes =
      _mm256_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, 0, -1, 1, -1,
                       4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
  const __m256i highBytes =
      _mm256_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1, 2, -1, 3, -1,
                       6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
  first = _mm256_shuffle_epi8(words, lowBytes); // each byte in the high half of 16 bits
  second = _mm256_shuffle_epi8(words, highBytes);
  first = isSigned ? _mm256_srai_epi16(first, 8) : _mm256_srli_epi16(first, 8);
  second = isSigned ? _mm256_srai_epi16(second, 8) : _mm256_srli_epi16(second, 8);
}

/// s8 and u8 in any mixture.
void runBytes(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  MmaOperands at(warp, op, plan);
  int words = plan.words, pairs = 2 * words;
  alignas(32) uint32_t packed[kMaxM * 8] = {};
  alignas(32) int16_t a[kMaxM * 32];
  alignas(32) int32_t b[16 * kTileN], c[kMaxM * kTileN] = {};
  gatherA(warp, at.a, plan.m, words, packed);
  decodeElements(plan.a, packed, plan.m * 4 * words, a);
  gatherBTransposed(warp, at.b, words, packed);
  for (int word = 0; word < words; ++word) {
    __m256i first, second;
    widenBytes(_mm256_load_si256(reinterpret_cast<__m256i *>(packed + word * kTileN)),
               plan.b == Element::kS8, first, second);
    _mm256_store_si256(reinterpret_cast<__m256i *>(b + 2 * word * kTileN), first);
    _mm256_store_si256(reinterpret_cast<__m256i *>(b + (2 * word + 1) * kTileN), second);
  }
  int32_t aPairs[kMaxM * 16];
  std::memcpy(aPairs, a, static_cast<size_t>(plan.m * pairs) * sizeof(int32_t));
  multiplyTile(c, aPairs, b, plan.m, kTileN, pairs);
  storeIntegers(warp, at, plan, c);
  countMatrix(warp, static_cast<uint64_t>(plan.m * kTileN * 4 * words));
}

/// s4, u4 and b1.
void runSmallIntegers(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  MmaOperands at(warp, op, plan);
  int words = plan.words, k = plan.k();
  uint32_t a[kMaxM * 8] = {}, b[kTileN * 8] = {};
  int32_t product[kMaxM * kTileN];
  gatherA(warp, at.a, plan.m, words, a);
  gatherB(warp, at.b, words, b);
  int16_t left[kMaxM * 64], right[kTileN * 64];
  if (plan.a != Element::kB1) {
    decodeElements(plan.a, a, plan.m * k, left);
    decodeElements(plan.b, b, kTileN * k, right);
  }
  for (int m = 0; m < plan.m; ++m)
    for (int n = 0; n < kTileN; ++n) {
      int32_t sum = 0;
      if (plan.a == Element::kB1)
        for (int w = 0; w < words; ++w) {
          uint32_t x = a[m * words + w], y = b[n * words + w];
          sum += std::popcount(plan.flags & MmaPlan::kAnd ? x & y : x ^ y);
        }
      else
        for (int i = 0; i < k; ++i)
          sum += left[m * k + i] * right[n * k + i];
      product[m * kTileN + n] = sum;
    }
  storeIntegers(warp, at, plan, product);
  countMatrix(warp, static_cast<uint64_t>(plan.m * kTileN * k));
}

/// Multiplies the elements of `rows` rows of k elements by their block's scale. Scale i of row r is
/// byte (first byte + i) of the metadata in lane(r).
template <class F>
void applyScales(Warp &warp, const MmaPlan &plan, uint32_t data, uint32_t byteId, int rows, int k,
                 double *tile, F lane) {
  const double *value = valuesOf(plan.scale);
  const uint32_t *words = warp.lanes<uint32_t>(data);
  int block = k / plan.scales;
  for (int row = 0; row < rows; ++row)
    for (int n = 0; n < plan.scales; ++n) {
      double scale = value[words[lane(row)] >> (8 * (byteId + static_cast<uint32_t>(n))) & 0xFF];
      double *at = tile + row * k + n * block;
      for (int i = 0; i < block; ++i)
        at[i] *= scale;
    }
}

uint32_t selector(Warp &warp, uint32_t slot, std::string_view name, uint32_t allowed) {
  const uint32_t *lanes = warp.lanes<uint32_t>(slot);
  uint32_t value = lanes[0] & 0xFFFF;
  for (int lane = 1; lane < 32; ++lane)
    if ((lanes[lane] & 0xFFFF) != value)
      stop(ViolationKind::kIllegalInstruction, std::string(name) + " is not the same in all lanes",
           static_cast<uint32_t>(lane));
  if (value > 3 || !(allowed >> value & 1))
    stop(ViolationKind::kIllegalInstruction,
         std::string(name) + " is " + std::to_string(value) + ", which this scale_vec forbids");
  return value;
}

void scaleTiles(Warp &warp, const MmaOperands &at, const MmaPlan &plan, double *a, double *b) {
  uint32_t bytes = plan.scales == 1 ? 0xF : plan.scales == 2 ? 0x5 : 0x1;
  uint32_t byteA = selector(warp, at.rest[1], "byte-id-a", bytes);
  uint32_t threadA = selector(warp, at.rest[2], "thread-id-a", 0x3);
  uint32_t byteB = selector(warp, at.rest[4], "byte-id-b", bytes);
  uint32_t threadB = selector(warp, at.rest[5], "thread-id-b", 0xF);
  // Of the pair of lanes that thread-id-a names in each quad, the lower one has the scales of row
  // quad, the upper one those of row quad + 8.
  applyScales(warp, plan, at.rest[0], byteA, plan.m, plan.k(), a,
              [=](int row) { return (row & 7) * 4 + 2 * threadA + (row >> 3); });
  applyScales(warp, plan, at.rest[3], byteB, kTileN, plan.k(), b,
              [=](int column) { return column * 4 + threadB; });
}

/// Every other float type.
template <class Word> void runFloats(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  MmaOperands at(warp, op, plan);
  int words = plan.words, k = plan.k();
  Word packedA[kMaxM * 16] = {}, packedB[kTileN * 16] = {};
  double a[kMaxM * 64], b[kTileN * 64], transposed[kTileN * 64], c[kMaxM * kTileN];
  gatherA(warp, at.a, plan.m, words, packedA);
  gatherB(warp, at.b, words, packedB);
  decodeElements(plan.a, packedA, plan.m * k, a);
  decodeElements(plan.b, packedB, kTileN * k, b);
  if (plan.scale != Element::kNone)
    scaleTiles(warp, at, plan, a, b);
  for (int n = 0; n < kTileN; ++n)
    for (int i = 0; i < k; ++i)
      transposed[i * kTileN + n] = b[n * k + i];
  loadC(warp, at.c, plan, c);
  multiplyTile(c, a, transposed, plan.m, kTileN, k);
  storeC(warp, at.d, plan, c);
  countMatrix(warp, static_cast<uint64_t>(plan.m * kTileN * k));
}

} // namespace

Handler mmaHandler(const MmaPlan &plan) {
  if (plan.isSparse())
    return &runSparseMma;
  switch (plan.a) {
  case Element::kF16:
    return &runHalf<Element::kF16>;
  case Element::kBF16:
    return &runHalf<Element::kBF16>;
  case Element::kS8:
  case Element::kU8:
    return &runBytes;
  case Element::kF64:
    return &runFloats<uint64_t>;
  default:
    return isIntegerElement(plan.a) ? &runSmallIntegers : &runFloats<uint32_t>;
  }
}

} // namespace platen::ptxsim
