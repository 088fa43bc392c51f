// mma.sp: products with a matrix A of which half of the elements are zeros and not stored.
//
// Of 4 adjacent elements of a row 2 are stored (tf32: 1 of 2); metadata says which. A's registers
// are those of a dense A of half as many columns, B's hold all k. The metadata of rows r and r + 8
// lie in the four lanes of quad r, of which the selector F names the first that counts:
//   16 bits and more an element: 16 bits of metadata for 16 (tf32: 8) columns of a row, row r's in
//     the low half of the word, row r + 8's in the high one; the next columns in the next lane;
//     F names the lane (one in all), or the pair of lanes.
//   8 bits an element: one word for 32 columns of a row; r and r + 8 in neighbouring lanes; the
//   next
//     columns in the next pair.
// Elements that are not stored take no part at all: a NaN of B beside one does no harm.
#include "tools/ptxsim/core/fragments.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/mma.h"

namespace platen::ptxsim {
namespace {

constexpr int kMaxM = 16, kMaxStored = 32;

/// Column of the dense row for each stored element.
class Columns {
public:
  Columns(Warp &warp, const Op &op, const MmaPlan &plan, const uint32_t *metadata)
      : metadata_(warp.lanes<uint32_t>(metadata[0])), plan_(plan),
        selector_(static_cast<int>(op.variant2)), stored_(plan.k() / 2) {}
  void ofRow(int row, int (&column)[kMaxStored]) const {
    bool isPair = bitsOf(plan_.a) <= 16; // 2 of 4; else 1 of 2
    for (int s = 0; s < stored_; ++s) {
      uint32_t bits = bitsAt(row, s);
      column[s] = isPair ? s / 2 * 4 + static_cast<int>(bits) : 2 * s + (bits == 0xE ? 1 : 0);
      if (!isPair && bits != 0xE && bits != 0x4)
        invalid(row, s);
      if (isPair && s % 2 == 1 &&
          (column[s] == column[s - 1] ||
           ((plan_.flags & MmaPlan::kOrdered) && column[s] < column[s - 1])))
        invalid(row, s);
    }
  }

private:
  int laneOf(int row, int s) const {
    int quad = row % 8 * 4, upper = row / 8;
    if (bitsOf(plan_.a) == 8)
      return quad + (stored_ == 16 ? 2 * selector_ + upper : s / 16 * 2 + upper);
    int perLane = bitsOf(plan_.a) == 16 ? 8 : 4; // stored elements of a row
    return quad + (stored_ == perLane ? selector_ : 2 * selector_ + s / perLane);
  }
  uint32_t bitsAt(int row, int s) const {
    uint32_t word = metadata_[laneOf(row, s)];
    auto index = static_cast<uint32_t>(s);
    if (bitsOf(plan_.a) == 8)
      return word >> index % 16 * 2 & 3;
    word >>= row >= 8 ? 16 : 0;
    return bitsOf(plan_.a) == 16 ? word >> index % 8 * 2 & 3 : word >> index % 4 * 4 & 15;
  }
  [[noreturn]] void invalid(int row, int s) const {
    stop(ViolationKind::kIllegalInstruction,
         "the metadata of row " + std::to_string(row) + " of A give stored element " +
             std::to_string(s) + " no place that mma.sp allows",
         static_cast<uint32_t>(laneOf(row, s)));
  }
  const uint32_t *metadata_;
  const MmaPlan &plan_;
  int selector_, stored_;
};

/// sum(row, column of C, stored element's value, B's value) for every product.
template <class T, class F>
void overProducts(const Columns &columns, const T *a, const T *b, int k, F f) {
  int column[kMaxStored];
  for (int row = 0; row < kMaxM; ++row) {
    columns.ofRow(row, column);
    for (int n = 0; n < kTileN; ++n)
      for (int s = 0; s < k / 2; ++s)
        f(row * kTileN + n, a[row * k / 2 + s], b[n * k + column[s]]);
  }
}

} // namespace

void runSparseMma(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  MmaPlan plan = MmaPlan::decode(op.immediate);
  MmaOperands at(warp, op, plan);
  Columns columns(warp, op, plan, at.rest);
  int k = plan.k();
  uint32_t packedA[kMaxM * 8], packedB[kTileN * 16];
  gatherA(warp, at.a, kMaxM, plan.words, packedA);
  gatherB(warp, at.b, 2 * plan.words, packedB);
  if (isIntegerElement(plan.a)) {
    int16_t a[kMaxM * kMaxStored], b[kTileN * 2 * kMaxStored];
    int32_t product[kMaxM * kTileN] = {};
    decodeElements(plan.a, packedA, kMaxM * k / 2, a);
    decodeElements(plan.b, packedB, kTileN * k, b);
    overProducts(columns, a, b, k,
                 [&](int at, int16_t x, int16_t y) { product[at] += int32_t{x} * y; });
    storeIntegers(warp, at, plan, product);
  } else {
    double a[kMaxM * kMaxStored], b[kTileN * 2 * kMaxStored], c[kMaxM * kTileN];
    decodeElements(plan.a, packedA, kMaxM * k / 2, a);
    decodeElements(plan.b, packedB, kTileN * k, b);
    loadC(warp, at.c, plan, c);
    overProducts(columns, a, b, k, [&](int at, double x, double y) { c[at] += x * y; });
    storeC(warp, at.d, plan, c);
  }
  countMatrix(warp, static_cast<uint64_t>(kMaxM * kTileN * k / 2));
}

} // namespace platen::ptxsim
