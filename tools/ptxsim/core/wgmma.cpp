// wgmma: warpgroup-wide asynchronous matrix products (sm_90a). Numerics: multiply.h.
//
// Every warp of the warpgroup computes its own 16 of the 64 rows when its part of the operation is
// performed: it reads its rows of A (shared memory or registers), all of B, and its own
// accumulators. Reported: registers of an operation in flight that anything else touches;
// accumulators or A written since the last wgmma.fence; no fence at all; warps of a warpgroup that
// do not issue the same; illegal descriptors; shared memory that changes meanwhile (asynchrony.h).
#include "tools/ptxsim/core/wgmma.h"
#include "tools/ptxsim/core/asynchrony.h"

#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/matrix_descriptor.h"
#include "tools/ptxsim/core/matrix_state.h"

#include <algorithm>
#include <bit>

namespace platen::ptxsim {
namespace {

/// Marks the registers of everything in flight, for checkWatched().
void watch(Warp &warp, const WarpMatrix &state) {
  warp.watched.clear();
  if (state.flights.empty())
    return;
  warp.watched.resize((warp.block->cluster->state->code->registerBytes / 128 + 63) / 64);
  for (const MatrixFlight &flight : state.flights)
    for (const auto *slots : {&flight.accumulators, &flight.inputs})
      for (uint32_t slot : *slots)
        warp.watched[slot / 128 / 64] |= uint64_t{1} << (slot / 128 % 64);
}

bool isSameShape(int64_t one, int64_t other) {
  auto x = std::bit_cast<WgmmaPlan>(one), y = std::bit_cast<WgmmaPlan>(other);
  return x.n == y.n && x.d == y.d && x.k() == y.k();
}

/// The registers of a new operation must be as they were at the last fence, or belong to earlier
/// operations of the same shape.
void checkRegisters(Warp &warp, const Op &op, const WarpMatrix &state, const MatrixFlight &flight) {
  if (state.fenced.empty())
    stop(ViolationKind::kIllegalInstruction, "no wgmma.fence before the first wgmma.mma_async");
  for (const MatrixFlight &other : state.flights) {
    if (other.fencedSince || isSameShape(other.op->immediate, op.immediate))
      continue;
    for (uint32_t slot : flight.accumulators)
      if (std::find(other.accumulators.begin(), other.accumulators.end(), slot) !=
          other.accumulators.end())
        stop(ViolationKind::kIllegalInstruction,
             "an accumulator is in flight in a wgmma.mma_async of another shape (line " +
                 std::to_string(other.op->line) + ") and no wgmma.fence lies between");
  }
  for (const auto *slots : {&flight.accumulators, &flight.inputs})
    for (size_t i = 0; i < slots->size(); ++i)
      if (std::memcmp(state.fenced.data() + (*slots)[i], warp.registers + (*slots)[i], 128) != 0)
        stop(ViolationKind::kIllegalInstruction,
             std::string(slots == &flight.inputs ? "register " : "accumulator ") +
                 std::to_string(i) + (slots == &flight.inputs ? " of A" : "") +
                 " was written after the last wgmma.fence");
}

/// All four warps of a warpgroup must issue the same operations in the same order.
void checkWarpgroup(Warp &warp, const Op &op, MatrixState &state, uint64_t a, uint64_t b) {
  if (warp.index / 4 * 4 + 4 > warp.block->warps.size())
    stop(ViolationKind::kIllegalInstruction, "the warp belongs to no whole warpgroup of four");
  auto &warpgroup = state.warpgroups[warp.index / 4];
  uint64_t number = state.warps[warp.index].issued++;
  size_t at = number - warpgroup.first;
  if (at == warpgroup.steps.size())
    warpgroup.steps.push_back({&op, {a, b}, 0});
  WarpgroupStep &step = warpgroup.steps[at];
  if (step.op != &op || step.descriptors[0] != a || step.descriptors[1] != b)
    stop(ViolationKind::kIllegalInstruction,
         "the warps of the warpgroup issue different wgmma.mma_async or other descriptors (" +
             hexOf(step.descriptors[0]) + ", " + hexOf(step.descriptors[1]) + " against " +
             hexOf(a) + ", " + hexOf(b) + ")");
  step.warps |= 1u << warp.index % 4;
  while (!warpgroup.steps.empty() && warpgroup.steps.front().warps == 0xF) {
    warpgroup.steps.pop_front();
    ++warpgroup.first;
  }
}

uint64_t uniform(Warp &warp, uint32_t slot, std::string_view what) {
  const uint64_t *lanes = warp.lanes<uint64_t>(slot);
  for (uint32_t lane = 1; lane < 32; ++lane)
    if (lanes[lane] != lanes[0])
      stop(ViolationKind::kIllegalInstruction,
           "the descriptor of " + std::string(what) + " is not the same in all lanes", lane);
  return lanes[0];
}

/// The warp's part of A: 16 rows, or (MN-major) their chunks at each k.
std::vector<uint32_t> chunksOfA(const Warp &warp, const WgmmaPlan &plan, uint64_t descriptor) {
  bool isMnMajor = plan.has(WgmmaPlan::kTransposeA);
  MatrixLayout layout = decodeWgmmaDescriptor(descriptor, isMnMajor, "A");
  uint32_t part = warp.index % 4;
  return isMnMajor ? chunkOffsets(*warp.block, layout, 0, plan.k(), part * kWgmmaChunks,
                                  kWgmmaChunks, "A")
                   : chunkOffsets(*warp.block, layout, part * kWgmmaRows, kWgmmaRows, 0,
                                  kWgmmaChunks, "A");
}

std::vector<uint32_t> chunksOfB(const Warp &warp, const WgmmaPlan &plan, uint64_t descriptor) {
  bool isMnMajor = plan.has(WgmmaPlan::kTransposeB);
  MatrixLayout layout = decodeWgmmaDescriptor(descriptor, isMnMajor, "B");
  return isMnMajor ? chunkOffsets(*warp.block, layout, 0, plan.k(), 0, plan.n / 8u, "B")
                   : chunkOffsets(*warp.block, layout, 0, plan.n, 0, kWgmmaChunks, "B");
}

void runMmaAsync(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  auto plan = std::bit_cast<WgmmaPlan>(op.immediate);
  MatrixState &state = matrixState(*warp.block);
  WarpMatrix &mine = state.warps[warp.index];
  const uint32_t *list = listOf(warp, op);
  bool inRegisters = plan.has(WgmmaPlan::kARegisters);
  uint64_t aBits = inRegisters ? 0 : uniform(warp, op.r[1], "A");
  uint64_t bBits = uniform(warp, op.r[2], "B");
  uint32_t scale = warp.predicate(op.r[3]) ^ (plan.has(WgmmaPlan::kNegatedPredicate) ? ~0u : 0);
  if (scale != 0 && scale != ~0u)
    stop(ViolationKind::kIllegalInstruction, "scale-d is not the same in all lanes");
  checkWarpgroup(warp, op, state, aBits, bBits);
  MatrixFlight flight{&op, mine.committed, false, {}, {}};
  flight.accumulators.assign(list, list + plan.accumulators());
  if (inRegisters)
    flight.inputs.assign(list + plan.accumulators(), list + op.count);
  checkRegisters(warp, op, mine, flight);
  WgmmaJob job{&warp,     plan, list, list + plan.accumulators(), {}, chunksOfB(warp, plan, bBits),
               scale != 0};
  Pending pending;
  pending.track = Track::kMatrix;
  pending.ordered = true;
  if (!inRegisters) {
    job.aChunks = chunksOfA(warp, plan, aBits);
    appendReads(*warp.block, job.aChunks, pending.ranges);
  }
  appendReads(*warp.block, job.bChunks, pending.ranges);
  pending.perform = [job = std::move(job)](const Pending &) { performWgmma(job); };
  mine.flights.push_back(std::move(flight));
  watch(warp, mine);
  warp.yield(); // the next turn watches registers
  countMatrix(warp, uint64_t{kWgmmaRows} * plan.n * plan.k());
  issue(warp, op, std::move(pending));
}

void runFence(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  WarpMatrix &mine = matrixState(*warp.block).warps[warp.index];
  mine.fenced.assign(warp.registers,
                     warp.registers + warp.block->cluster->state->code->registerBytes);
  for (MatrixFlight &flight : mine.flights)
    flight.fencedSince = true;
}

void runCommitGroup(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  ++matrixState(*warp.block).warps[warp.index].committed;
  commitGroup(warp, Track::kMatrix, mask);
}

void runWaitGroup(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  auto keep = static_cast<uint32_t>(op.immediate);
  waitGroups(warp, Track::kMatrix, mask, keep);
  WarpMatrix &mine = matrixState(*warp.block).warps[warp.index];
  std::erase_if(mine.flights,
                [&](const MatrixFlight &flight) { return flight.group + keep < mine.committed; });
  watch(warp, mine);
  if (mine.flights.empty())
    warp.yield();
}

bool integerOperand(Lowering &lowering, const Operand &operand, int64_t &value,
                    std::string_view what) {
  if (operand.kind != Operand::Kind::kInteger)
    return lowering.refuse(std::string(what) + " is no integer constant");
  value = static_cast<int64_t>(operand.bits);
  return true;
}

/// The immediates behind scale-d.
bool immediates(Lowering &lowering, const Instruction &i, size_t at, WgmmaPlan &plan) {
  bool isHalf = plan.a == Element::kF16 || plan.a == Element::kBF16;
  bool inRegisters = plan.has(WgmmaPlan::kARegisters);
  size_t count = isIntegerElement(plan.a) ? 0 : !isHalf ? 2 : inRegisters ? 3 : 4;
  if (!lowering.operands(i, at + count, at + count))
    return false;
  int64_t values[4] = {1, 1, 0, 0};
  for (size_t n = 0; n < count; ++n)
    if (!integerOperand(lowering, i.operands[at + n], values[n], "an operand behind scale-d"))
      return false;
  for (int n = 0; n < 2; ++n)
    if (values[n] != 1 && values[n] != -1)
      return lowering.refuse("imm-scale-a and imm-scale-b are 1 or -1");
  if (values[0] * values[1] < 0)
    plan.flags |= WgmmaPlan::kNegate;
  if (inRegisters)
    std::swap(values[2], values[3]);
  if ((values[2] | values[3]) & ~int64_t{1})
    return lowering.refuse("imm-trans-a and imm-trans-b are 0 or 1");
  plan.flags |= (values[2] ? WgmmaPlan::kTransposeA : 0) | (values[3] ? WgmmaPlan::kTransposeB : 0);
  return true;
}

bool typesFit(const Instruction &i, const WgmmaPlan &plan) {
  bool isSame = plan.a == plan.b, isF32 = plan.d == Element::kF32;
  bool isHalfOrF32 = isF32 || plan.d == Element::kF16;
  switch (plan.a) {
  case Element::kF16:
    return isSame && isHalfOrF32;
  case Element::kBF16:
  case Element::kTF32:
    return isSame && isF32;
  case Element::kE4M3:
  case Element::kE5M2:
    return (plan.b == Element::kE4M3 || plan.b == Element::kE5M2) && isHalfOrF32;
  case Element::kS8:
  case Element::kU8:
    return (plan.b == Element::kS8 || plan.b == Element::kU8) && plan.d == Element::kS32;
  case Element::kB1:
    return isSame && plan.d == Element::kS32 && Lowering::has(i, "and") && Lowering::has(i, "popc");
  default:
    return false;
  }
}

bool planOf(Lowering &lowering, const Instruction &i, WgmmaPlan &plan) {
  Shape shape;
  if (i.parts.size() < 8 || i.parts[2] != "sync" || i.parts[3] != "aligned" ||
      !parseShape(i.parts[4], shape))
    return lowering.refuse("wgmma.mma_async of this form is not executed (sparse ones are not)");
  Element types[3] = {};
  int count = 0;
  for (size_t p = 5; p < i.parts.size() && count < 3; ++p)
    if (Element e = elementFromName(i.parts[p]); e != Element::kNone)
      types[count++] = e;
  plan.d = types[0], plan.a = types[1], plan.b = types[2];
  plan.n = static_cast<uint16_t>(shape.n);
  bool integers = isIntegerElement(plan.a);
  bool fits = typesFit(i, plan);
  if (count != 3 || !fits)
    return lowering.refuse("wgmma.mma_async has no such combination of types");
  bool step = shape.n % 8 == 0 && (!integers || shape.n <= 32 || shape.n % 16 == 0);
  if (shape.m != 64 || shape.n < 8 || shape.n > 256 || !step ||
      shape.k != static_cast<int>(plan.k()))
    return lowering.refuse("wgmma.mma_async has no such shape for these types");
  if (Lowering::has(i, "satfinite"))
    plan.flags |= WgmmaPlan::kSaturate;
  return true;
}

bool lowerMmaAsync(Lowering &lowering, const Instruction &i) {
  WgmmaPlan plan;
  if (!planOf(lowering, i, plan) || !lowering.operands(i, 4, 8))
    return false;
  if (i.operands[1].kind == Operand::Kind::kVector)
    plan.flags |= WgmmaPlan::kARegisters;
  if (!immediates(lowering, i, 4, plan))
    return false;
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!appendRegisters(lowering, i.operands[0], plan.accumulators(), false, true, "D"))
    return false;
  Place a, b;
  if (plan.has(WgmmaPlan::kARegisters)
          ? !appendRegisters(lowering, i.operands[1], 4, false, false, "A")
          : !lowering.source(i.operands[1], true, a))
    return false;
  uint32_t scale = 0;
  bool negated = false;
  if (!lowering.source(i.operands[2], true, b) ||
      !lowering.predicate(i.operands[3], scale, negated))
    return false;
  if (negated)
    plan.flags |= WgmmaPlan::kNegatedPredicate;
  Op &op = lowering.emit(&runMmaAsync);
  op.list = list;
  op.count = static_cast<uint32_t>(lowering.code().lists.size()) - list;
  op.r[1] = a.offset;
  op.r[2] = b.offset;
  op.r[3] = scale;
  op.immediate = std::bit_cast<int64_t>(plan);
  return true;
}

} // namespace

MatrixState &matrixState(Block &block) {
  if (!block.matrixState) {
    auto state = std::make_shared<MatrixState>();
    state->warps.resize(block.warps.size());
    state->warpgroups.resize((block.warps.size() + 3) / 4);
    block.matrixState = std::move(state);
  }
  return *static_cast<MatrixState *>(block.matrixState.get());
}

void checkWatched(Warp &warp, const Op &op) {
  if (op.run == &runMmaAsync)
    return; // checks its own
  auto isWatched = [&](uint32_t slot) {
    return warp.watched[slot / 128 / 64] >> (slot / 128 % 64) & 1;
  };
  const uint32_t *list = listOf(warp, op);
  bool found = std::any_of(std::begin(op.r), std::end(op.r), isWatched) ||
               (op.pipe != Pipe::kControl && std::any_of(list, list + op.count, isWatched));
  if (found)
    stop(ViolationKind::kIllegalInstruction, "it touches a register of a wgmma.mma_async in flight "
                                             "that no wgmma.wait_group has awaited");
}

bool lowerWgmma(Lowering &lowering, const Instruction &i) {
  std::string_view name = i.parts.size() > 1 ? i.parts[1] : std::string_view();
  if (name == "mma_async")
    return lowerMmaAsync(lowering, i);
  if (name == "fence" || name == "commit_group") {
    if (!lowering.operands(i, 0, 0))
      return false;
    lowering.emit(name == "fence" ? &runFence : &runCommitGroup, Pipe::kAsync);
    return true;
  }
  int64_t keep = 0;
  if (name != "wait_group")
    return lowering.refuse("unknown wgmma instruction");
  if (!lowering.operands(i, 1, 1) || !integerOperand(lowering, i.operands[0], keep, "the count"))
    return false;
  if (keep < 0 || keep > 7)
    return lowering.refuse("wgmma.wait_group keeps 0 to 7 groups");
  lowering.emit(&runWaitGroup, Pipe::kAsync).immediate = keep;
  return true;
}

} // namespace platen::ptxsim