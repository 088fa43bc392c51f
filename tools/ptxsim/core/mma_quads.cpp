// mma.sync.m8n8k4 of f16: four products of 8 x 8 x 4 in one warp, one for each pair of quads (lanes
// 4q to 4q + 3 and 16 + 4q to 16 + 4q + 3). Made for sm_70; slow but there on later ones.
//
// With t = lane % 4, and u = 4 in the upper half of the warp (lanes 16 and up), else 0, element i
// is
//   A .row: row t + u, column i        .col: row i + u, column t
//   B .row: row t, column i + u        .col: row i, column t + u
//   C and D of f16: row t + u, column i
//   C and D of f32: row (t & 1) + (i & 2) + u, column (i & 4) + (t & 2) + (i & 1)
#include "tools/ptxsim/core/elements.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/mma.h"

namespace platen::ptxsim {
namespace {

enum : uint8_t { kAColumns = 1, kBRows = 2, kSingleD = 4, kSingleC = 8 };

struct At {
  int row, column;
};
At placeOfC(int lane, int i, bool isSingle) {
  int t = lane % 4, u = lane >= 16 ? 4 : 0;
  return isSingle ? At{(t & 1) + (i & 2) + u, (i & 4) + (t & 2) + (i & 1)} : At{t + u, i};
}

/// The lane's halves of two or four registers as values.
void halves(Warp &warp, const uint32_t *registers, int lane, int count, double *values) {
  uint32_t words[4];
  for (int r = 0; r < count / 2; ++r)
    words[r] = warp.lanes<uint32_t>(registers[r])[lane];
  decodeElements(Element::kF16, words, count, values);
}

void loadQuads(Warp &warp, const Op &op, const uint32_t *list, int lane, double (&a)[8][4],
               double (&b)[4][8], double (&c)[8][8]) {
  bool isSingle = op.variant & kSingleC;
  const uint32_t *aAt = list + (op.variant & kSingleD ? 8 : 4), *bAt = aAt + 2, *cAt = bAt + 2;
  int t = lane % 4, u = lane >= 16 ? 4 : 0;
  double values[8];
  halves(warp, aAt, lane, 4, values);
  for (int i = 0; i < 4; ++i)
    (op.variant & kAColumns ? a[i + u][t] : a[t + u][i]) = values[i];
  halves(warp, bAt, lane, 4, values);
  for (int i = 0; i < 4; ++i)
    (op.variant & kBRows ? b[t][i + u] : b[i][t + u]) = values[i];
  if (!isSingle)
    halves(warp, cAt, lane, 8, values);
  for (int i = 0; i < 8; ++i) {
    At at = placeOfC(lane, i, isSingle);
    c[at.row][at.column] = isSingle ? take<float>(warp.lanes<uint32_t>(cAt[i])[lane]) : values[i];
  }
}

void storeQuads(Warp &warp, const Op &op, const uint32_t *list, int lane, const double (&c)[8][8]) {
  bool isSingle = op.variant & kSingleD;
  for (int i = 0; i < 8; ++i) {
    At at = placeOfC(lane, i, isSingle);
    double value = c[at.row][at.column];
    if (isSingle) {
      warp.lanes<uint32_t>(list[i])[lane] = give<float>(static_cast<float>(value));
      continue;
    }
    uint32_t &word = warp.lanes<uint32_t>(list[i / 2])[lane];
    word = i % 2 == 0 ? roundToF16(value) : (word & 0xFFFF) | uint32_t{roundToF16(value)} << 16;
  }
}

void runQuads(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  const uint32_t *list = listOf(warp, op);
  double a[4][8][4], b[4][4][8], c[4][8][8];
  for (int lane = 0; lane < 32; ++lane)
    loadQuads(warp, op, list, lane, a[lane / 4 % 4], b[lane / 4 % 4], c[lane / 4 % 4]);
  for (int q = 0; q < 4; ++q)
    for (int m = 0; m < 8; ++m)
      for (int n = 0; n < 8; ++n)
        for (int k = 0; k < 4; ++k)
          c[q][m][n] += a[q][m][k] * b[q][k][n];
  for (int lane = 0; lane < 32; ++lane)
    storeQuads(warp, op, list, lane, c[lane / 4 % 4]);
  countMatrix(warp, 4 * 8 * 8 * 4);
}

} // namespace

bool lowerMmaQuads(Lowering &lowering, const Instruction &i) {
  auto is = [&](size_t part, std::string_view name) {
    return i.parts.size() == 10 && i.parts[part] == name;
  };
  bool known = (is(4, "row") || is(4, "col")) && (is(5, "row") || is(5, "col")) && is(7, "f16") &&
               is(8, "f16") && (is(6, "f16") || is(6, "f32")) &&
               (is(9, "f16") || (is(9, "f32") && is(6, "f32")));
  if (!known)
    return lowering.refuse("mma.m8n8k4 of f16 has no such layouts and types");
  size_t d = is(6, "f32") ? 8 : 4, c = is(9, "f32") ? 8 : 4;
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!lowering.operands(i, 4, 4) ||
      !appendRegisters(lowering, i.operands[0], d, false, true, "D") ||
      !appendRegisters(lowering, i.operands[1], 2, false, false, "A") ||
      !appendRegisters(lowering, i.operands[2], 2, false, false, "B") ||
      !appendRegisters(lowering, i.operands[3], c, false, false, "C"))
    return false;
  Op &op = lowering.emit(&runQuads);
  op.list = list;
  op.count = static_cast<uint32_t>(lowering.code().lists.size()) - list;
  op.variant = static_cast<uint8_t>((is(4, "col") ? kAColumns : 0) | (is(5, "row") ? kBRows : 0) |
                                    (d == 8 ? kSingleD : 0) | (c == 8 ? kSingleC : 0));
  return true;
}

} // namespace platen::ptxsim
