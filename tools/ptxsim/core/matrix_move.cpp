// ldmatrix, stmatrix and movmatrix: moving 8x8 matrices of 16 bits, and 16x16, 8x16 and 16x8 ones
// of 8 bits, between shared memory and the fragments of mma.
//
// Lane 8i + j holds the address of row j of matrix i (m16n16: lane 16i + j); the other addresses
// are not read. A row is 16 bytes and must be aligned to 16.
#include "tools/ptxsim/core/fragments.h"
#include "tools/ptxsim/core/matrix.h"

namespace platen::ptxsim {
namespace {

// Op::variant of ldmatrix and stmatrix.
enum Layout : uint8_t { kPlain16, kTransposed16, kTransposed8, kPlain8 };
// Op::variant2: what a row of 16 bytes in memory holds.
enum Packing : uint8_t { kBytes, kSixBits, kFourBits };

uint32_t lanesBelow(uint32_t count) { return count >= 32 ? ~0u : (1u << count) - 1; }

/// 16 elements of 6 or 4 bits, padded to 16 bytes in memory, as 16 bytes with the element below.
void unpackRow(const uint8_t *row, Packing packing, uint8_t (&bytes)[16]) {
  if (packing == kBytes) {
    std::memcpy(bytes, row, 16);
    return;
  }
  int bits = packing == kSixBits ? 6 : 4;
  for (int i = 0; i < 16; ++i) {
    int at = i * bits;
    uint32_t pair = row[at / 8] | uint32_t{row[at / 8 + 1]} << 8;
    bytes[i] = static_cast<uint8_t>(pair >> (at % 8) & ((1u << bits) - 1));
  }
}

/// What lane gets of a matrix of 8 rows (16 rows for kTransposed8, then also its second register).
uint32_t fragmentOf(const uint8_t (*rows)[16], Layout layout, uint32_t lane, uint32_t half) {
  uint32_t group = lane / 4, member = lane % 4, word = 0;
  switch (layout) {
  case kPlain16:
  case kPlain8:
    std::memcpy(&word, rows[group] + 4 * member, 4);
    return word;
  case kTransposed16: {
    uint16_t low, high;
    std::memcpy(&low, rows[2 * member] + 2 * group, 2);
    std::memcpy(&high, rows[2 * member + 1] + 2 * group, 2);
    return low | uint32_t{high} << 16;
  }
  case kTransposed8: // column group + 8·half of the rows 4·member to 4·member + 3
    for (uint32_t byte = 0; byte < 4; ++byte)
      word |= uint32_t{rows[4 * member + byte][group + 8 * half]} << (8 * byte);
    return word;
  }
  return word;
}

void runLdmatrix(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  auto layout = static_cast<Layout>(op.variant);
  auto packing = static_cast<Packing>(op.variant2);
  uint32_t rowsOfMatrix = layout == kTransposed8 ? 16 : 8;
  uint32_t registersOfMatrix = layout == kTransposed8 ? 2 : 1;
  uint32_t rows = op.count / registersOfMatrix * rowsOfMatrix;
  uint64_t address[32];
  uint8_t *host[32];
  addresses(warp, op, 1, address);
  resolve(warp, op, lanesBelow(rows), address, 16, kRead, host);
  uint8_t bytes[32][16];
  for (uint32_t row = 0; row < rows; ++row)
    unpackRow(host[row], packing, bytes[row]);
  const uint32_t *list = listOf(warp, op);
  for (uint32_t r = 0; r < op.count; ++r) {
    uint32_t *lanes = warp.lanes<uint32_t>(list[r]);
    const auto *matrix = bytes + r / registersOfMatrix * rowsOfMatrix;
    for (uint32_t lane = 0; lane < 32; ++lane)
      lanes[lane] = fragmentOf(matrix, layout, lane, r % registersOfMatrix);
  }
}

void runStmatrix(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  auto layout = static_cast<Layout>(op.variant);
  uint64_t address[32];
  uint8_t *host[32];
  addresses(warp, op, 1, address);
  resolve(warp, op, lanesBelow(op.count * 8), address, 16, kWrite, host);
  const uint32_t *list = listOf(warp, op);
  for (uint32_t r = 0; r < op.count; ++r) {
    const uint32_t *lanes = warp.lanes<uint32_t>(list[r]);
    uint8_t **rows = host + r * 8;
    for (uint32_t lane = 0; lane < 32; ++lane) {
      uint32_t group = lane / 4, member = lane % 4, word = lanes[lane];
      if (layout == kPlain16) {
        std::memcpy(rows[group] + 4 * member, &word, 4);
      } else if (layout == kTransposed16) {
        auto low = static_cast<uint16_t>(word), high = static_cast<uint16_t>(word >> 16);
        std::memcpy(rows[2 * member] + 2 * group, &low, 2);
        std::memcpy(rows[2 * member + 1] + 2 * group, &high, 2);
      } else { // 16x8 bytes: the lane's elements are C's of mma.m16n8, stored column by column
        for (uint32_t byte = 0; byte < 4; ++byte)
          rows[2 * member + byte % 2][group + 8 * (byte / 2)] =
              static_cast<uint8_t>(word >> (8 * byte));
      }
    }
  }
}

void runMovmatrix(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  uint16_t matrix[8][8];
  std::memcpy(matrix, warp.lanes<uint32_t>(op.r[1]), sizeof matrix);
  uint32_t *lanes = warp.lanes<uint32_t>(op.r[0]);
  for (uint32_t lane = 0; lane < 32; ++lane)
    lanes[lane] = matrix[2 * (lane % 4)][lane / 4] | uint32_t{matrix[2 * (lane % 4) + 1][lane / 4]}
                                                         << 16;
}

size_t matricesOf(const Instruction &i) {
  return Lowering::has(i, "x1") ? 1 : Lowering::has(i, "x2") ? 2 : Lowering::has(i, "x4") ? 4 : 0;
}

/// The space suffix: none is generic.
bool spaceOf(Lowering &lowering, const Instruction &i, Op &op) {
  op.generic = !Lowering::has(i, "shared") && !Lowering::has(i, "shared::cta");
  op.space = Space::kShared;
  return lowering.address(i.operands[i.parts[0] == "stmatrix" ? 0 : 1], op, 1);
}

} // namespace

bool lowerLdmatrix(Lowering &lowering, const Instruction &i) {
  if (!lowering.operands(i, 2, 2))
    return false;
  bool transposed = Lowering::has(i, "trans");
  Packing packing = Lowering::has(i, "b6x16_p32")   ? kSixBits
                    : Lowering::has(i, "b4x16_p64") ? kFourBits
                                                    : kBytes;
  size_t matrices = matricesOf(i), registers = matrices;
  Layout layout = transposed ? kTransposed16 : kPlain16;
  bool known = Lowering::has(i, "m8n8") && Lowering::has(i, "b16");
  if (Lowering::has(i, "m16n16") && transposed && matrices < 4 &&
      (Lowering::has(i, "b8") || packing != kBytes)) {
    known = true;
    layout = kTransposed8;
    registers *= 2;
  } else if (Lowering::has(i, "m8n16") && !transposed && packing != kBytes) {
    known = true;
    layout = kPlain8;
  }
  if (!known || matrices == 0)
    return lowering.refuse("no such shape, count and type of ldmatrix");
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!appendRegisters(lowering, i.operands[0], registers, false, true, "the result"))
    return false;
  Op &op = lowering.emit(&runLdmatrix);
  op.list = list;
  op.count = static_cast<uint32_t>(registers);
  op.variant = layout;
  op.variant2 = packing;
  op.bytes = 16;
  return spaceOf(lowering, i, op);
}

bool lowerStmatrix(Lowering &lowering, const Instruction &i) {
  if (!lowering.operands(i, 2, 2))
    return false;
  bool transposed = Lowering::has(i, "trans");
  size_t matrices = matricesOf(i);
  bool halves = Lowering::has(i, "m8n8") && Lowering::has(i, "b16");
  bool bytes = Lowering::has(i, "m16n8") && Lowering::has(i, "b8") && transposed;
  if (matrices == 0 || (!halves && !bytes))
    return lowering.refuse("no such shape, count and type of stmatrix");
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!appendRegisters(lowering, i.operands[1], matrices, false, false, "the source"))
    return false;
  Op &op = lowering.emit(&runStmatrix);
  op.list = list;
  op.count = static_cast<uint32_t>(matrices);
  op.variant = bytes ? kTransposed8 : transposed ? kTransposed16 : kPlain16;
  op.bytes = 16;
  return spaceOf(lowering, i, op);
}

bool lowerMovmatrix(Lowering &lowering, const Instruction &i) {
  if (!lowering.operands(i, 2, 2))
    return false;
  if (!Lowering::has(i, "m8n8") || !Lowering::has(i, "trans") || !Lowering::has(i, "b16"))
    return lowering.refuse("movmatrix is .m8n8.trans.b16");
  Place target, source;
  if (!lowering.source(i.operands[1], false, source) ||
      !lowering.destination(i.operands[0], target))
    return false;
  Op &op = lowering.emit(&runMovmatrix);
  op.r[0] = target.offset;
  op.r[1] = source.offset;
  return true;
}

} // namespace platen::ptxsim
