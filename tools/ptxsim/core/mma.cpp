// mma.sync.aligned: lowering and execution. Layouts: fragments.h; numerics: multiply.h.
//
// A table says which shapes a type may have. bf16, f16 and 8-bit integers have handlers of their
// own for speed; the others share one that decodes whole tiles. Block scales are applied to the
// elements of A and B (exact in double) before the product.
#include "tools/ptxsim/core/mma.h"

#include "tools/ptxsim/core/fragments.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/multiply.h"

#include <bit>

namespace platen::ptxsim {
namespace {

// Order of the operand list of an mma op.
struct Operands {
  const uint32_t *d, *a, *b, *c,
      *scales; // scales: data a, byte a, thread a, data b, byte b, thread b
  Operands(const Warp &warp, const Op &op, const MmaPlan &plan) {
    d = listOf(warp, op);
    a = d + plan.registersOfC();
    b = a + plan.registersOfA();
    c = b + plan.registersOfB();
    scales = c + plan.registersOfC();
  }
};

constexpr int kMaxM = 16, kMaxK = 256;

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
  Operands at(warp, op, plan);
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

void storeIntegers(Warp &warp, const Operands &at, const MmaPlan &plan, const int32_t *product) {
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

/// s8 and u8 in any mixture.
void runBytes(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  Operands at(warp, op, plan);
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
  Operands at(warp, op, plan);
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

void scaleTiles(Warp &warp, const Operands &at, const MmaPlan &plan, double *a, double *b) {
  uint32_t bytes = plan.scales == 1 ? 0xF : plan.scales == 2 ? 0x5 : 0x1;
  uint32_t byteA = selector(warp, at.scales[1], "byte-id-a", bytes);
  uint32_t threadA = selector(warp, at.scales[2], "thread-id-a", 0x3);
  uint32_t byteB = selector(warp, at.scales[4], "byte-id-b", bytes);
  uint32_t threadB = selector(warp, at.scales[5], "thread-id-b", 0xF);
  // Of the pair of lanes that thread-id-a names in each quad, the lower one has the scales of row
  // quad, the upper one those of row quad + 8.
  applyScales(warp, plan, at.scales[0], byteA, plan.m, plan.k(), a,
              [=](int row) { return (row & 7) * 4 + 2 * threadA + (row >> 3); });
  applyScales(warp, plan, at.scales[3], byteB, kTileN, plan.k(), b,
              [=](int column) { return column * 4 + threadB; });
}

/// Every other float type.
template <class Word> void runFloats(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  Operands at(warp, op, plan);
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

struct ShapeRow {
  Element a; // stands for its family
  int m, k;
};
constexpr ShapeRow kShapes[] = {
    {Element::kF16, 16, 8},     {Element::kF16, 16, 16},  {Element::kBF16, 16, 8},
    {Element::kBF16, 16, 16},   {Element::kTF32, 16, 4},  {Element::kTF32, 16, 8},
    {Element::kE4M3, 16, 16},   {Element::kE4M3, 16, 32}, {Element::kE2M1, 16, 32},
    {Element::kE2M1x2, 16, 64}, {Element::kF64, 8, 4},    {Element::kF64, 16, 4},
    {Element::kF64, 16, 8},     {Element::kF64, 16, 16},  {Element::kS8, 8, 16},
    {Element::kS8, 16, 16},     {Element::kS8, 16, 32},   {Element::kS4, 8, 32},
    {Element::kS4, 16, 32},     {Element::kS4, 16, 64},   {Element::kB1, 8, 128},
    {Element::kB1, 16, 128},    {Element::kB1, 16, 256},
};

/// The type that stands for those that may be mixed with `element`.
Element family(Element element, bool anyNarrow) {
  switch (element) {
  case Element::kE4M3:
  case Element::kE5M2:
    return anyNarrow ? Element::kE2M1 : Element::kE4M3;
  case Element::kE3M2:
  case Element::kE2M3:
  case Element::kE2M1:
    return Element::kE2M1;
  case Element::kU8:
    return Element::kS8;
  case Element::kU4:
    return Element::kS4;
  default:
    return element;
  }
}

/// Reads the opcode into a plan; refuses what the ISA does not have.
bool planOf(Lowering &lowering, const Instruction &i, MmaPlan &plan) {
  Shape shape;
  size_t part = 3;
  if (i.parts.size() < 9 || i.parts[1] != "sync" || i.parts[2] != "aligned" ||
      !parseShape(i.parts[part], shape) || shape.n != kTileN)
    return lowering.refuse(
        "mma of this form is not executed (known: mma.sync.aligned.m…n8k….row.col…)");
  if (shape.m == 8 && shape.k == 4 && !Lowering::has(i, "f64"))
    return lowering.refuse("mma.m8n8k4 of f16 (made for sm_70) is not executed");
  if (i.parts[4] != "row" || i.parts[5] != "col")
    return lowering.refuse("mma takes A as .row and B as .col");
  Element types[5] = {};
  int count = 0;
  for (size_t p = 6; p < i.parts.size() && count < 5; ++p)
    if (Element e = elementFromName(i.parts[p]); e != Element::kNone)
      types[count++] = e;
  plan.a = types[1], plan.b = types[2], plan.d = types[0];
  bool scaled = Lowering::has(i, "block_scale");
  if (count != (scaled ? 5 : 4) || types[0] != types[3])
    return lowering.refuse("mma needs the types of D, A, B and C, those of D and C the same");
  bool narrow4 = Lowering::has(i, "kind::mxf4") || Lowering::has(i, "kind::mxf4nvf4");
  bool anyNarrow = Lowering::has(i, "kind::f8f6f4") || Lowering::has(i, "kind::mxf8f6f4");
  if (narrow4) {
    if (plan.a != Element::kE2M1 || plan.b != Element::kE2M1)
      return lowering.refuse("this kind multiplies e2m1");
    plan.a = plan.b = Element::kE2M1x2;
  }
  plan.m = static_cast<uint8_t>(shape.m);
  int wordBits = plan.bitsOfWord();
  plan.words = static_cast<uint8_t>(shape.k * bitsOf(plan.a) / wordBits);
  Element kin = family(plan.a, anyNarrow);
  if (kin != family(plan.b, anyNarrow) || (kin == Element::kE2M1 && !anyNarrow))
    return lowering.refuse("mma does not multiply these two types");
  bool known = false;
  for (const ShapeRow &row : kShapes)
    known |= row.a == kin && row.m == shape.m && row.k == shape.k;
  if (!known)
    return lowering.refuse("mma has no such shape for this type");
  bool half = kin == Element::kF16 || kin == Element::kE4M3 || (kin == Element::kE2M1 && !scaled);
  Element wanted = kin == Element::kF64              ? Element::kF64
                   : isIntegerElement(kin)           ? Element::kS32
                   : half && plan.d == Element::kF16 ? Element::kF16
                                                     : Element::kF32;
  if (plan.d != wanted)
    return lowering.refuse("mma has no such accumulator for this type");
  if (Lowering::has(i, "satfinite"))
    plan.flags |= MmaPlan::kSaturate;
  if (kin == Element::kB1) {
    if (!Lowering::has(i, "popc") || Lowering::has(i, "and") == Lowering::has(i, "xor"))
      return lowering.refuse("mma of .b1 needs .and.popc or .xor.popc");
    plan.flags |= Lowering::has(i, "and") ? MmaPlan::kAnd : 0;
  }
  if (!scaled)
    return narrow4 || Lowering::has(i, "kind::mxf8f6f4")
               ? lowering.refuse("this kind needs .block_scale")
               : true;
  plan.scale = types[4];
  plan.scales = Lowering::has(i, "scale_vec::1X")   ? 1
                : Lowering::has(i, "scale_vec::2X") ? 2
                : Lowering::has(i, "scale_vec::4X") ? 4
                : Lowering::has(i, "kind::mxf4")    ? 2
                : narrow4                           ? 0
                                                    : 1;
  bool legal = Lowering::has(i, "kind::mxf4") ? plan.scales == 2 && plan.scale == Element::kUE8M0
               : narrow4                      ? (plan.scales == 4 &&
                            (plan.scale == Element::kUE4M3 || plan.scale == Element::kUE8M0)) ||
                               (plan.scales == 2 && plan.scale == Element::kUE8M0)
                         : anyNarrow && plan.scales == 1 && plan.scale == Element::kUE8M0;
  return legal || lowering.refuse("no such .scale_vec and scale type for this kind");
}

bool appendScale(Lowering &lowering, const Operand &data, const Operand &selectors) {
  if (!appendRegisters(lowering, data, 1, false, false, "scale data"))
    return false;
  return appendRegisters(lowering, selectors, 2, false, false, "{byte-id, thread-id}");
}

} // namespace

bool lowerMma(Lowering &lowering, const Instruction &i) {
  if (i.parts.size() > 1 && i.parts[1].substr(0, 2) == "sp")
    return lowering.refuse("sparse mma (mma.sp) is not executed");
  MmaPlan plan;
  if (!planOf(lowering, i, plan))
    return false;
  size_t count = plan.scale == Element::kNone ? 4 : 8;
  if (!lowering.operands(i, count, count))
    return false;
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  bool wide = plan.d == Element::kF64;
  auto c = static_cast<size_t>(plan.registersOfC());
  if (!appendRegisters(lowering, i.operands[0], c, wide, true, "D") ||
      !appendRegisters(lowering, i.operands[1], static_cast<size_t>(plan.registersOfA()), wide,
                       false, "A") ||
      !appendRegisters(lowering, i.operands[2], static_cast<size_t>(plan.registersOfB()), wide,
                       false, "B") ||
      !appendRegisters(lowering, i.operands[3], c, wide, false, "C"))
    return false;
  if (count == 8 && (!appendScale(lowering, i.operands[4], i.operands[5]) ||
                     !appendScale(lowering, i.operands[6], i.operands[7])))
    return false;
  Handler handler = plan.a == Element::kBF16                           ? &runHalf<Element::kBF16>
                    : plan.a == Element::kF16                          ? &runHalf<Element::kF16>
                    : plan.a == Element::kS8 || plan.a == Element::kU8 ? &runBytes
                    : isIntegerElement(plan.a)                         ? &runSmallIntegers
                    : wide                                             ? &runFloats<uint64_t>
                                                                       : &runFloats<uint32_t>;
  Op &op = lowering.emit(handler);
  op.list = list;
  op.count = static_cast<uint32_t>(lowering.code().lists.size()) - list;
  op.immediate = plan.encode();
  if (uint8_t mode = wide ? roundingOf(i) : 0; mode != 0) {
    op.inner = op.run;
    op.run = &runRounded;
    op.variant = mode;
  }
  return true;
}

} // namespace platen::ptxsim
