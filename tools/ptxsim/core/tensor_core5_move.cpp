// tcgen05.ld, st and wait: tensor memory to and from registers; tcgen05.cp: shared to tensor
// memory.
//
// A register v of a lane t belongs to one cell, by shape (row within the 32 or 16 lanes, column):
//   32x32b:   row t,                          column v
//   16x64b:   row t / 4 + 8 (t % 2),          column 2v + (t / 2) % 2
//   16x128b:  row t / 4 + 8 (v % 2),          column 4 (v / 2) + t % 4
//   16x256b:  row t / 4 + 8 ((v / 2) % 2),    column 8 (v / 4) + 2 (t % 4) + v % 2
//   16x32bx2: row t % 16,                     column v (+ the split offset for lanes 16 and up)
// pack::16b and unpack::16b put the low halves of two neighbouring columns into one register.
// A load takes effect at once (a true dependency on its registers is respected without a wait), but
// until tcgen05.wait its cells count as in use.
#include "tools/ptxsim/core/matrix_descriptor.h"
#include "tools/ptxsim/core/tensor_core5.h"

#include <charconv>

namespace platen::ptxsim {
namespace {

enum class MoveShape : uint8_t { k32x32b, k16x64b, k16x128b, k16x256b, k16x32bx2 };
struct ShapeRow {
  std::string_view name;
  MoveShape shape;
  uint32_t registers; // of .x1
  uint32_t mostRepeats;
  uint32_t columns; // of .x1
};
constexpr ShapeRow kShapes[] = {
    {"32x32b", MoveShape::k32x32b, 1, 128, 1},     {"16x64b", MoveShape::k16x64b, 1, 128, 2},
    {"16x128b", MoveShape::k16x128b, 2, 64, 4},    {"16x256b", MoveShape::k16x256b, 4, 32, 8},
    {"16x32bx2", MoveShape::k16x32bx2, 1, 128, 1},
};

struct CellPlace {
  uint32_t row, column;
};
CellPlace placeOf(MoveShape shape, uint32_t lane, uint32_t v) {
  switch (shape) {
  case MoveShape::k32x32b:
    return {lane, v};
  case MoveShape::k16x64b:
    return {lane / 4 + 8 * (lane % 2), 2 * v + lane / 2 % 2};
  case MoveShape::k16x128b:
    return {lane / 4 + 8 * (v % 2), 4 * (v / 2) + lane % 4};
  case MoveShape::k16x256b:
    return {lane / 4 + 8 * (v / 2 % 2), 8 * (v / 4) + 2 * (lane % 4) + v % 2};
  case MoveShape::k16x32bx2:
    return {lane % 16, v};
  }
  return {0, 0};
}

// Op::variant: the shape; variant2: 1 packs halves; isSigned: a store; count registers in the list;
// immediate: offset of the address in the low half, of the second half's columns in the high one.
struct Move {
  MoveShape shape;
  bool packs;
  uint32_t firstLane, firstColumn, split;
  TensorRegion regions[2];
  int regionCount = 1;
};

Move moveOf(Warp &warp, const Op &op, uint32_t mask) {
  Move move{static_cast<MoveShape>(op.variant), op.variant2 != 0, 0, 0, 0, {}, 1};
  uint32_t address = uniformWord(warp, op.r[1], mask, "the tensor-memory address") +
                     static_cast<uint32_t>(op.immediate & 0xFFFFFFFF);
  move.firstLane = address >> 16;
  move.firstColumn = address & 0xFFFF;
  move.split = static_cast<uint32_t>(op.immediate >> 32);
  uint32_t quarter = warp.index % 4 * 32;
  bool isWhole = move.shape == MoveShape::k32x32b;
  if (move.firstLane != quarter && (isWhole || move.firstLane != quarter + 16))
    stop(ViolationKind::kIllegalInstruction,
         "warp " + std::to_string(warp.index) + " reaches the lanes " + std::to_string(quarter) +
             " to " + std::to_string(quarter + 31) + " of tensor memory, but the address " +
             hexOf(address) + " begins at lane " + std::to_string(move.firstLane));
  const ShapeRow &row = kShapes[static_cast<int>(move.shape)];
  uint32_t columns = op.count / row.registers * row.columns * (move.packs ? 2 : 1);
  uint32_t lanes = (isWhole ? 3u : 1u) << move.firstLane / 16;
  move.regions[0] = {move.firstColumn, columns, lanes};
  if (move.shape == MoveShape::k16x32bx2) {
    move.regions[1] = {move.firstColumn + move.split, columns, lanes};
    move.regionCount = 2;
  }
  return move;
}

/// Calls f(register word, cell, next cell): the next column's cell matters where halves are packed.
template <class F> void forEachCell(Warp &warp, const Op &op, const Move &move, F f) {
  TensorMemory &memory = tensorMemory(*warp.block);
  const uint32_t *list = listOf(warp, op);
  for (uint32_t v = 0; v < op.count; ++v) {
    uint32_t *lanes = warp.lanes<uint32_t>(list[v]);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      CellPlace place = placeOf(move.shape, lane, v);
      uint32_t column = move.firstColumn + place.column * (move.packs ? 2 : 1);
      if (move.shape == MoveShape::k16x32bx2 && lane >= 16)
        column += move.split;
      uint32_t row = move.firstLane + place.row;
      f(lanes[lane], memory.column(column)[row], memory.column(column + (move.packs ? 1 : 0))[row]);
    }
  }
}

void runMove(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  bool isStore = op.isSigned;
  Move move = moveOf(warp, op, mask);
  TensorMemory &memory = tensorMemory(*warp.block);
  auto user = isStore ? TensorMemory::User::kStore : TensorMemory::User::kLoad;
  for (int n = 0; n < move.regionCount; ++n) {
    memory.check(move.regions[n], user, isStore, warp);
    if (!isStore && checksInitialised(warp))
      memory.requireWritten(move.regions[n], "tcgen05.ld");
  }
  for (int n = 0; n < move.regionCount; ++n)
    memory.begin(move.regions[n], user, isStore, warp, op);
  if (!isStore) {
    forEachCell(warp, op, move, [&](uint32_t &word, const uint32_t &cell, const uint32_t &next) {
      word = move.packs ? (cell & 0xFFFF) | next << 16 : cell;
    });
    return;
  }
  forEachCell(warp, op, move, [&](const uint32_t &word, uint32_t &cell, uint32_t &next) {
    cell = move.packs ? word & 0xFFFF : word;
    if (move.packs)
      next = word >> 16;
  });
  for (int n = 0; n < move.regionCount; ++n) {
    memory.noteStore(move.regions[n], warp, op);
    for (uint32_t c = 0; c < move.regions[n].columns; ++c)
      for (uint32_t lane = 0; lane < kTensorLanes; ++lane)
        if (move.regions[n].lanes >> lane / 16 & 1)
          memory.written(move.regions[n].column + c)[lane] = 1;
  }
}

void runWait(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  tensorMemory(*warp.block)
      .endOf(warp, op.variant ? TensorMemory::User::kStore : TensorMemory::User::kLoad);
}

// tcgen05.cp. Op::variant: how rows of the source go to lanes.
enum CopyShape : uint8_t { k128x256b, k128x128b, k64x128bPairs02, k64x128bPairs01, k32x128b };

struct CopyJob {
  Block *block;
  Chunks chunks; // row by row
  uint32_t rows, chunksOfRow, column;
  CopyShape shape;
  TensorRegion region;
};

void performCopy(const CopyJob &job) {
  TensorMemory &memory = tensorMemory(*job.block);
  for (uint32_t row = 0; row < job.rows; ++row) {
    uint32_t lane = job.shape == k64x128bPairs01 ? row % 32 + row / 32 * 64 : row;
    uint32_t copies = kTensorLanes / job.rows;
    uint32_t step = job.shape == k64x128bPairs02 ? 64 : 32;
    for (uint32_t c = 0; c < job.chunksOfRow; ++c) {
      uint32_t words[4];
      std::memcpy(words, job.block->shared.data() + job.chunks->offsets[row * job.chunksOfRow + c],
                  16);
      for (uint32_t copy = 0; copy < copies; ++copy)
        for (uint32_t w = 0; w < 4; ++w) {
          uint32_t column = job.column + 4 * c + w;
          memory.column(column)[lane + copy * step] = words[w];
          memory.written(column)[lane + copy * step] = 1;
        }
    }
  }
  memory.finishWrite(job.region);
}

void copyInto(Warp &warp, const Op &op, Block &block, uint32_t lane, uint32_t address,
              uint64_t descriptor) {
  auto shape = static_cast<CopyShape>(op.variant);
  MatrixLayout layout = decodeTensorCore5Descriptor(descriptor, false, "the source");
  CopyJob job;
  job.block = &block;
  job.shape = shape;
  job.rows = shape <= k128x128b ? 128 : shape == k32x128b ? 32 : 64;
  job.chunksOfRow = shape == k128x256b ? 2 : 1;
  job.column = address & 0xFFFF;
  if (address >> 16 != 0)
    stop(ViolationKind::kIllegalInstruction,
         "tcgen05.cp of this shape begins at lane 0, but the address is " + hexOf(address), lane);
  job.region = {job.column, 4 * job.chunksOfRow, 0xFF};
  job.chunks = chunksOf(block, layout, 0, job.rows, 0, job.chunksOfRow, "the source");
  TensorMemory &memory = tensorMemory(block);
  memory.check(job.region, TensorMemory::User::kCopy, true, warp);
  uint64_t number = memory.begin(job.region, TensorMemory::User::kCopy, true, warp, op);
  Pending pending;
  pending.track = Track::kTensor;
  pending.ordered = true;
  pending.lane = lane;
  appendReads(job.chunks, pending.ranges);
  pending.perform = [job = std::move(job), number](const Pending &) {
    performCopy(job);
    tensorMemory(*job.block).end(number);
  };
  issue(warp, op, std::move(pending));
}

/// variant2: .cta_group.
void runCopy(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    uint32_t address = warp.lanes<uint32_t>(op.r[1])[lane] + static_cast<uint32_t>(op.immediate);
    uint64_t descriptor = warp.lanes<uint64_t>(op.r[2])[lane];
    copyInto(warp, op, *warp.block, lane, address, descriptor);
    if (op.variant2 == 2)
      copyInto(warp, op, peerOf(*warp.block), lane, address, descriptor);
  }
}

bool lowerWait(Lowering &lowering, const Instruction &i) {
  if (!lowering.operands(i, 0, 0))
    return false;
  lowering.emit(&runWait, Pipe::kAsync).variant = i.parts[1] == "wait::st";
  return true;
}

} // namespace

bool lowerTensorMove(Lowering &lowering, const Instruction &i) {
  if (i.parts[1].substr(0, 4) == "wait")
    return lowerWait(lowering, i);
  bool isStore = i.parts[1] == "st";
  if (i.parts.size() < 7 || i.parts[2] != "sync" || i.parts[3] != "aligned")
    return lowering.refuse("tcgen05.ld and st of this form are not executed (.red is not)");
  const ShapeRow *shape = nullptr;
  for (const ShapeRow &row : kShapes)
    if (row.name == i.parts[4])
      shape = &row;
  uint32_t repeats = 0;
  std::string_view number = i.parts[5];
  if (number.size() > 1 && number[0] == 'x')
    std::from_chars(number.data() + 1, number.data() + number.size(), repeats);
  if (!shape || repeats == 0 || (repeats & (repeats - 1)) != 0 || repeats > shape->mostRepeats)
    return lowering.refuse("tcgen05.ld and st have no such shape and count");
  bool isSplit = shape->shape == MoveShape::k16x32bx2;
  size_t operands = isSplit ? 3 : 2;
  if (!lowering.operands(i, operands, operands))
    return false;
  const Operand &address = i.operands[isStore ? 0 : 1];
  const Operand &registers = i.operands[isStore ? operands - 1 : 0];
  uint64_t split = 0;
  if (isSplit) {
    const Operand &operand = i.operands[isStore ? 1 : 2];
    if (operand.kind != Operand::Kind::kInteger)
      return lowering.refuse("immHalfSplitoff is no integer constant");
    split = operand.bits & 0xFFFF;
  }
  uint32_t slot = 0, offset = 0;
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!tensorAddress(lowering, address, slot, offset) ||
      !appendRegisters(lowering, registers, repeats * shape->registers, false, !isStore,
                       "the vector"))
    return false;
  Op &op = lowering.emit(&runMove, Pipe::kAsync);
  op.list = list;
  op.count = repeats * shape->registers;
  op.r[1] = slot;
  op.immediate = static_cast<int64_t>(split << 32 | offset);
  op.variant = static_cast<uint8_t>(shape->shape);
  op.variant2 = Lowering::has(i, isStore ? "unpack::16b" : "pack::16b");
  op.isSigned = isStore;
  return true;
}

bool lowerTensorCopy(Lowering &lowering, const Instruction &i) {
  if (!lowering.operands(i, 2, 2))
    return false;
  int shape = Lowering::has(i, "128x256b")                                       ? k128x256b
              : Lowering::has(i, "128x128b")                                     ? k128x128b
              : Lowering::has(i, "64x128b") && Lowering::has(i, "warpx2::02_13") ? k64x128bPairs02
              : Lowering::has(i, "64x128b") && Lowering::has(i, "warpx2::01_23") ? k64x128bPairs01
              : Lowering::has(i, "32x128b") && Lowering::has(i, "warpx4")        ? k32x128b
                                                                                 : -1;
  if (shape < 0 || Lowering::has(i, "b8x16"))
    return lowering.refuse(
        "tcgen05.cp of this shape (.4x256b), or with decompression, is not executed");
  uint32_t slot = 0, offset = 0;
  Place descriptor;
  if (!tensorAddress(lowering, i.operands[0], slot, offset) ||
      !lowering.source(i.operands[1], true, descriptor))
    return false;
  Op &op = lowering.emit(&runCopy, Pipe::kAsync);
  op.r[1] = slot;
  op.r[2] = descriptor.offset;
  op.immediate = offset;
  op.variant = static_cast<uint8_t>(shape);
  return ctaGroup(lowering, i, op.variant2);
}

} // namespace platen::ptxsim
