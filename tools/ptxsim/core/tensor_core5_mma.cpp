// tcgen05.mma: lowering and issue.
#include "tools/ptxsim/core/tensor_core5_mma.h"

#include "tools/ptxsim/core/matrix_descriptor.h"

#include <algorithm>
#include <bit>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kChunks = 2;

struct KindRow {
  std::string_view name;
  MmaKind kind;
  bool isScaled;
};
constexpr KindRow kKinds[] = {
    {"kind::f16", MmaKind::kF16, false},          {"kind::tf32", MmaKind::kTF32, false},
    {"kind::f8f6f4", MmaKind::kF8F6F4, false},    {"kind::i8", MmaKind::kI8, false},
    {"kind::mxf8f6f4", MmaKind::kMxF8F6F4, true}, {"kind::mxf4", MmaKind::kMxF4, true},
    {"kind::mxf4nvf4", MmaKind::kMxF4NvF4, true},
};

std::vector<uint32_t> chunksOf(const Block &block, uint64_t descriptor, bool isMnMajor,
                               Element element, uint32_t rows, uint32_t k, const char *what) {
  MatrixLayout layout = decodeTensorCore5Descriptor(descriptor, isMnMajor, what);
  if (isMnMajor && layout.wideAtoms != (bitsOf(element) == 32))
    stop(ViolationKind::kIllegalInstruction,
         std::string(what) + " is MN-major: elements of 32 bits need, and others forbid, 128-byte "
                             "swizzling in atoms of 32 bytes");
  if (!isMnMajor)
    return chunkOffsets(block, layout, 0, rows, 0, kChunks, what);
  uint32_t perChunk = 128 / static_cast<uint32_t>(bitsOf(element));
  return chunkOffsets(block, layout, 0, k, 0, (rows + perChunk - 1) / perChunk, what);
}

/// Lanes and columns that the share uses, checked and noted.
void occupy(Warp &warp, const Op &op, const TensorJob &job, TensorShare &share) {
  const TensorShape &s = job.shape;
  bool isHalf = job.rows() == 64 && !job.isSplit();
  uint32_t lanes = !isHalf ? 0xFF : job.dAddress >> 16 == 16 ? 0xAA : 0x55;
  TensorMemory &memory = tensorMemory(*share.block);
  share.d = {job.dAddress & 0xFFFF, job.isSplit() ? s.n / 2 : s.n, lanes};
  if (job.opcode.has(MmaOpcode::kATensor))
    share.a = {job.aAddress & 0xFFFF, kTensorRowBytes / 4, lanes};
  if (job.opcode.scales) {
    share.scaleA = {job.scaleAAddress & 0xFFFF, job.rows() / 32, 0xFF};
    share.scaleB = {job.scaleBAddress & 0xFFFF, (s.n + 31) / 32, 0xFF};
  }
  constexpr auto kUser = TensorMemory::User::kMma;
  memory.check(share.d, kUser, true, warp);
  for (const TensorRegion *region : {&share.a, &share.scaleA, &share.scaleB})
    if (region->columns)
      memory.check(*region, kUser, false, warp);
  share.flights.push_back(memory.begin(share.d, kUser, true, warp, op));
  for (const TensorRegion *region : {&share.a, &share.scaleA, &share.scaleB})
    if (region->columns)
      share.flights.push_back(memory.begin(*region, kUser, false, warp, op));
}

void checkAddresses(const TensorJob &job) {
  uint32_t lane = job.dAddress >> 16;
  bool isHalf = job.rows() == 64 && !job.isSplit();
  if (lane != 0 && !(isHalf && lane == 16))
    stop(ViolationKind::kIllegalInstruction, "D begins at lane " + std::to_string(lane) +
                                                 " of tensor memory; 0" + (isHalf ? " or 16" : "") +
                                                 " is needed");
  if (job.opcode.has(MmaOpcode::kATensor)) {
    if (job.aAddress >> 16 != lane)
      stop(ViolationKind::kIllegalInstruction, "A and D begin at different lanes");
    if (job.isSplit())
      stop(ViolationKind::kIllegalInstruction,
           "A in tensor memory with M = 128 for a pair of blocks is not executed");
    Element a = job.shape.a;
    if (a == Element::kE3M2 || a == Element::kE2M3 || a == Element::kE2M1)
      stop(ViolationKind::kIllegalInstruction, "A of 4 or 6 bits in tensor memory is not executed");
  }
}

TensorJob makeJob(Warp &warp, const Op &op, uint32_t lane) {
  const uint32_t *list = listOf(warp, op);
  auto word = [&](uint32_t slot) { return warp.lanes<uint32_t>(slot)[lane]; };
  TensorJob job;
  job.opcode = std::bit_cast<MmaOpcode>(op.immediate);
  job.shape = decodeInstruction(job.opcode, word(op.r[3]));
  bool input = warp.predicate(op.r[4]) >> lane & 1;
  job.accumulate = input != job.opcode.has(MmaOpcode::kNegatedPredicate);
  job.checkInitialised = checksInitialised(warp);
  job.dAddress = word(op.r[0]) + list[kDOffset];
  if (job.opcode.has(MmaOpcode::kATensor))
    job.aAddress = word(op.r[1]) + list[kAOffset];
  if (job.opcode.scales) {
    job.scaleAAddress = word(list[kScaleA]) + list[kScaleAOffset];
    job.scaleBAddress = word(list[kScaleB]) + list[kScaleBOffset];
  }
  if (job.opcode.has(MmaOpcode::kLaneMask))
    for (uint32_t n = 0; n < 4u * job.opcode.group; ++n)
      job.masks[n] = word(list[kMasks + n]);
  return job;
}

void issueMma(Warp &warp, const Op &op, uint32_t lane) {
  TensorJob job = makeJob(warp, op, lane);
  const TensorShape &s = job.shape;
  Block &own = *warp.block;
  job.shares.resize(job.opcode.group);
  if (job.opcode.group == 1) {
    job.shares[0].block = &own;
  } else { // the even block of the pair first
    Block &peer = peerOf(own);
    job.shares[own.rank & 1].block = &own;
    job.shares[peer.rank & 1].block = &peer;
  }
  checkAddresses(job);
  Pending pending;
  pending.track = Track::kTensor;
  pending.ordered = true;
  pending.lane = lane;
  uint64_t a = warp.lanes<uint64_t>(op.r[1])[job.opcode.has(MmaOpcode::kATensor) ? 0 : lane];
  uint64_t b = warp.lanes<uint64_t>(op.r[2])[lane];
  for (TensorShare &share : job.shares) {
    if (!job.opcode.has(MmaOpcode::kATensor)) {
      share.aChunks = chunksOf(*share.block, a, s.transposeA, s.a, job.rows(), s.k, "A");
      appendReads(*share.block, share.aChunks, pending.ranges);
    }
    share.bChunks = chunksOf(*share.block, b, s.transposeB, s.b, s.n / job.opcode.group, s.k, "B");
    appendReads(*share.block, share.bChunks, pending.ranges);
    occupy(warp, op, job, share);
  }
  countMatrix(warp, uint64_t{s.m} * s.n * s.k);
  pending.perform = [job = std::move(job)](const Pending &) { performTensorMma(job); };
  issue(warp, op, std::move(pending));
}

void runMma(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1)
      issueMma(warp, op, lane);
}

/// Number of scales along k, 0 where the opcode is wrong.
uint8_t scalesOf(const Instruction &i, MmaKind kind) {
  auto has = [&](std::string_view name) { return Lowering::has(i, name); };
  bool one = has("scale_vec::1X"), two = has("scale_vec::2X"), four = has("scale_vec::4X");
  bool none = !one && !two && !four && !has("block16") && !has("block32");
  switch (kind) {
  case MmaKind::kMxF8F6F4:
    return one || has("block32") || none ? 1 : 0;
  case MmaKind::kMxF4:
    return two || has("block32") || none ? 2 : 0;
  default:
    return four || has("block16") ? 4 : two || has("block32") ? 2 : 0;
  }
}

bool opcodeOf(Lowering &lowering, const Instruction &i, MmaOpcode &opcode) {
  if (!ctaGroup(lowering, i, opcode.group))
    return false;
  for (std::string_view part : {"sp", "ws", "ashift"})
    if (Lowering::has(i, part))
      return lowering.refuse("tcgen05.mma with ." + std::string(part) + " is not executed");
  const KindRow *kind = nullptr;
  for (const KindRow &row : kKinds)
    if (Lowering::has(i, row.name))
      kind = &row;
  if (!kind || kind->isScaled != Lowering::has(i, "block_scale"))
    return lowering.refuse("tcgen05.mma needs a .kind, and .block_scale just for the mx kinds");
  opcode.kind = kind->kind;
  opcode.scales = kind->isScaled ? scalesOf(i, kind->kind) : 0;
  if (kind->isScaled && opcode.scales == 0)
    return lowering.refuse("no such size of scale vector for this kind");
  if (kind->isScaled && opcode.group == 2)
    return lowering.refuse("tcgen05.mma with block scales for a pair of blocks is not executed");
  if (i.operands.size() > 1 && i.operands[1].kind == Operand::Kind::kAddress)
    opcode.flags |= MmaOpcode::kATensor;
  return true;
}

} // namespace

bool lowerTensorMma(Lowering &lowering, const Instruction &i) {
  MmaOpcode opcode;
  if (!opcodeOf(lowering, i, opcode) || !lowering.operands(i, 5, 7))
    return false;
  uint32_t list[kMasks + 8] = {}, d = 0, a = 0, predicate = 0;
  Place b, descriptor, aPlace;
  bool negated = false, inTensor = opcode.has(MmaOpcode::kATensor);
  if (!tensorAddress(lowering, i.operands[0], d, list[kDOffset]) ||
      (inTensor ? !tensorAddress(lowering, i.operands[1], a, list[kAOffset])
                : !lowering.source(i.operands[1], true, aPlace)) ||
      !lowering.source(i.operands[2], true, b) ||
      !lowering.source(i.operands[3], false, descriptor))
    return false;
  size_t next = 4;
  if (opcode.scales) {
    if (!lowering.operands(i, 7, 7) ||
        !tensorAddress(lowering, i.operands[4], list[kScaleA], list[kScaleAOffset]) ||
        !tensorAddress(lowering, i.operands[5], list[kScaleB], list[kScaleBOffset]))
      return false;
    next = 6;
  } else if (i.operands[4].kind == Operand::Kind::kVector) {
    const auto &elements = i.operands[4].elements;
    if (elements.size() != 4u * opcode.group)
      return lowering.refuse("disable-output-lane has the wrong number of elements");
    for (size_t n = 0; n < elements.size(); ++n) {
      Place place;
      if (!lowering.source(elements[n], false, place))
        return false;
      list[kMasks + n] = place.offset;
    }
    opcode.flags |= MmaOpcode::kLaneMask;
    next = 5;
  }
  if (i.operands.size() <= next || !lowering.predicate(i.operands[next], predicate, negated))
    return lowering.refuse("enable-input-d is missing");
  if (negated)
    opcode.flags |= MmaOpcode::kNegatedPredicate;
  if (++next < i.operands.size()) {
    const Operand &scale = i.operands[next];
    if (scale.kind != Operand::Kind::kInteger || scale.bits > 15 ||
        (opcode.kind != MmaKind::kF16 && opcode.kind != MmaKind::kTF32) ||
        ++next < i.operands.size())
      return lowering.refuse("scale-input-d is a constant from 0 to 15, for .kind::f16 and tf32");
    opcode.scaleInput = static_cast<uint8_t>(scale.bits);
  }
  Op &op = lowering.emit(&runMma);
  op.list = static_cast<uint32_t>(lowering.code().lists.size());
  lowering.code().lists.insert(lowering.code().lists.end(), std::begin(list), std::end(list));
  op.r[0] = d;
  op.r[1] = inTensor ? a : aPlace.offset;
  op.r[2] = b.offset;
  op.r[3] = descriptor.offset;
  op.r[4] = predicate;
  op.immediate = std::bit_cast<int64_t>(opcode);
  return true;
}

} // namespace platen::ptxsim
