// wgmma: warpgroup-wide asynchronous matrix products (sm_90a). Numerics: multiply.h.
//
// Every warp of the warpgroup computes its own 16 of the 64 rows when its part of the operation is
// performed: it reads its rows of A (shared memory or registers), all of B, and its own
// accumulators. Reported: registers of an operation in flight that anything else touches;
// accumulators or A written since the last wgmma.fence; no fence at all; warps of a warpgroup that
// do not issue the same; illegal descriptors; shared memory that changes meanwhile (asynchrony.h).
#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/fragments.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/matrix_descriptor.h"
#include "tools/ptxsim/core/matrix_state.h"
#include "tools/ptxsim/core/multiply.h"

#include <algorithm>
#include <bit>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kRows = 16;     // of A in one warp
constexpr uint32_t kRowBytes = 32; // of A, and of a column of B: k elements, in every shape
constexpr uint32_t kChunks = 2;

/// What a wgmma.mma_async does, in eight bytes.
struct WgmmaPlan {
  uint16_t n = 0;
  Element a{}, b{}, d{};
  uint8_t flags = 0;
  uint16_t unused = 0;
  enum : uint8_t {
    kSaturate = 1,
    kARegisters = 2, // A lies in registers
    kTransposeA = 4,
    kTransposeB = 8,
    kNegate = 16, // the products
    kNegatedPredicate = 32,
  };
  bool has(uint8_t flag) const { return flags & flag; }
  uint32_t k() const { return kRowBytes * 8 / static_cast<uint32_t>(bitsOf(a)); }
  uint32_t accumulators() const { return d == Element::kF16 ? n / 4u : n / 2u; }
};
static_assert(sizeof(WgmmaPlan) == 8);

/// Everything that is known when the operation is issued.
struct Job {
  Warp *warp;
  WgmmaPlan plan;
  const uint32_t *d, *a; // register slots
  std::vector<uint32_t> aChunks, bChunks;
  bool accumulate;
};

void readChunks(const Block &block, const std::vector<uint32_t> &offsets, uint8_t *bytes) {
  for (uint32_t offset : offsets) {
    std::memcpy(bytes, block.shared.data() + offset, 16);
    bytes += 16;
  }
}

/// A of the warp as 16 rows of 32 bytes, k adjacent (MN-major: turned around).
void readA(const Job &job, uint8_t *rows) {
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
void readB(const Job &job, uint8_t *columns) {
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

void loadAccumulators(const Job &job, uint32_t block, double *tile) {
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

void storeAccumulators(const Job &job, uint32_t block, const double *tile) {
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

void multiplyFloats(const Job &job) {
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

void multiplyIntegers(const Job &job) {
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

void perform(const Job &job) {
  if (isIntegerElement(job.plan.a))
    multiplyIntegers(job);
  else
    multiplyFloats(job);
  std::vector<uint8_t> &fenced = matrixState(*job.warp->block).warps[job.warp->index].fenced;
  for (uint32_t r = 0; r < job.plan.accumulators(); ++r)
    std::memcpy(fenced.data() + job.d[r], job.warp->registers + job.d[r], 128);
}

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
  return isMnMajor ? chunkOffsets(*warp.block, layout, 0, plan.k(), part * kChunks, kChunks, "A")
                   : chunkOffsets(*warp.block, layout, part * kRows, kRows, 0, kChunks, "A");
}

std::vector<uint32_t> chunksOfB(const Warp &warp, const WgmmaPlan &plan, uint64_t descriptor) {
  bool isMnMajor = plan.has(WgmmaPlan::kTransposeB);
  MatrixLayout layout = decodeWgmmaDescriptor(descriptor, isMnMajor, "B");
  return isMnMajor ? chunkOffsets(*warp.block, layout, 0, plan.k(), 0, plan.n / 8u, "B")
                   : chunkOffsets(*warp.block, layout, 0, plan.n, 0, kChunks, "B");
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
  Job job{&warp,     plan, list, list + plan.accumulators(), {}, chunksOfB(warp, plan, bBits),
          scale != 0};
  Pending pending;
  pending.track = Track::kMatrix;
  pending.ordered = true;
  if (!inRegisters) {
    job.aChunks = chunksOfA(warp, plan, aBits);
    appendReads(*warp.block, job.aChunks, pending.ranges);
  }
  appendReads(*warp.block, job.bChunks, pending.ranges);
  pending.perform = [job = std::move(job)](const Pending &) { perform(job); };
  mine.flights.push_back(std::move(flight));
  watch(warp, mine);
  warp.yield(); // the next turn watches registers
  countMatrix(warp, uint64_t{kRows} * plan.n * plan.k());
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
  auto isBytes = [](Element e) { return e == Element::kE4M3 || e == Element::kE5M2; };
  bool integers = isIntegerElement(plan.a);
  bool fits = false, halfResult = plan.d == Element::kF16;
  switch (plan.a) {
  case Element::kF16:
    fits = plan.b == plan.a && (halfResult || plan.d == Element::kF32);
    break;
  case Element::kBF16:
  case Element::kTF32:
    fits = plan.b == plan.a && plan.d == Element::kF32;
    break;
  case Element::kE4M3:
  case Element::kE5M2:
    fits = isBytes(plan.b) && (halfResult || plan.d == Element::kF32);
    break;
  case Element::kS8:
  case Element::kU8:
    fits = (plan.b == Element::kS8 || plan.b == Element::kU8) && plan.d == Element::kS32;
    break;
  case Element::kB1:
    fits = plan.b == plan.a && plan.d == Element::kS32 && Lowering::has(i, "and") &&
           Lowering::has(i, "popc");
    break;
  default:
    break;
  }
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
