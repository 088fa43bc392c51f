// tcgen05.mma: matrix products into tensor memory. Numerics: multiply.h.
//
// One thread issues D (M x N, tensor memory) = A (shared or tensor memory) · B (shared) + D. With
// .cta_group::2 the two blocks of a pair hold half of the rows of A and D and half of the columns
// of B each. A row of A and a column of B are 32 bytes in every kind. Row m of D lies in lane
//   M = 128 (256 for a pair): m;  M = 64: m % 16 + 32 (m / 16), + 16 if the address says so;
//   M = 128 for a pair: m % 64, and 64 more for the upper half of the columns.
// Scales: row r's lie in lane r % 32 (the same in all four groups of 32 lanes), column r / 32,
// bytes from the scale-factor id on.
#include "tools/ptxsim/core/elements.h"
#include "tools/ptxsim/core/matrix_descriptor.h"
#include "tools/ptxsim/core/multiply.h"
#include "tools/ptxsim/core/tensor_core5.h"
#include "tools/ptxsim/core/values.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kRowBytes = 32, kChunks = 2;

enum class Kind : uint8_t { kF16, kTF32, kF8F6F4, kI8, kMxF8F6F4, kMxF4, kMxF4NvF4 };
struct KindRow {
  std::string_view name;
  Kind kind;
  bool isScaled;
};
constexpr KindRow kKinds[] = {
    {"kind::f16", Kind::kF16, false},          {"kind::tf32", Kind::kTF32, false},
    {"kind::f8f6f4", Kind::kF8F6F4, false},    {"kind::i8", Kind::kI8, false},
    {"kind::mxf8f6f4", Kind::kMxF8F6F4, true}, {"kind::mxf4", Kind::kMxF4, true},
    {"kind::mxf4nvf4", Kind::kMxF4NvF4, true},
};

/// What the opcode says, in eight bytes.
struct MmaOpcode {
  Kind kind{};
  uint8_t group = 1, scales = 0, flags = 0, scaleInput = 0;
  uint8_t unused[3] = {};
  enum : uint8_t { kATensor = 1, kLaneMask = 2, kNegatedPredicate = 4 };
  bool has(uint8_t flag) const { return flags & flag; }
};
static_assert(sizeof(MmaOpcode) == 8);
// The operand list: offsets of D and A, slot and offset of the scales of A and of B, lane masks.
enum ListAt { kDOffset, kAOffset, kScaleA, kScaleAOffset, kScaleB, kScaleBOffset, kMasks };

/// The instruction descriptor, decoded.
struct Shape5 {
  uint32_t m, n, k;
  Element a, b, d, scale = Element::kNone;
  bool negate, transposeA, transposeB, saturate;
  uint32_t scaleA = 0, scaleB = 0; // byte of the first scale
};

uint32_t field(uint32_t bits, int low, int size) { return bits >> low & ((1u << size) - 1); }

[[noreturn]] void illegal(uint32_t descriptor, const std::string &why) {
  stop(ViolationKind::kIllegalInstruction,
       "the instruction descriptor " + hexOf(descriptor) + " is illegal: " + why);
}

Element narrowElement(uint32_t code, uint32_t descriptor) {
  constexpr Element kTypes[] = {Element::kE4M3, Element::kE5M2, Element::kNone,
                                Element::kE2M3, Element::kE3M2, Element::kE2M1};
  if (code > 5 || kTypes[code] == Element::kNone)
    illegal(descriptor, "no such type of A or B");
  return kTypes[code];
}

void decodeTypes(const MmaOpcode &opcode, uint32_t bits, Shape5 &s) {
  uint32_t a = field(bits, 7, 3), b = field(bits, 10, 3), d = field(bits, 4, 2);
  auto known = [&](bool fits) {
    if (!fits)
      illegal(bits, "no such types for this kind");
  };
  switch (opcode.kind) {
  case Kind::kF16:
    known(a < 2 && a == b && (d == 1 || (d == 0 && a == 0)));
    s.a = s.b = a == 0 ? Element::kF16 : Element::kBF16;
    s.d = d == 0 ? Element::kF16 : Element::kF32;
    break;
  case Kind::kTF32:
    known(a == 2 && b == 2 && d == 1);
    s.a = s.b = Element::kTF32;
    break;
  case Kind::kF8F6F4:
    known(d < 2);
    s.d = d == 0 ? Element::kF16 : Element::kF32;
    [[fallthrough]];
  case Kind::kMxF8F6F4:
    s.a = narrowElement(a, bits);
    s.b = narrowElement(b, bits);
    break;
  case Kind::kI8:
    known(a < 2 && b < 2 && d == 2);
    s.a = a ? Element::kS8 : Element::kU8;
    s.b = b ? Element::kS8 : Element::kU8;
    s.d = Element::kS32;
    break;
  default:
    known(a == 1 && field(bits, 10, 2) == 1);
    s.a = s.b = Element::kE2M1x2;
  }
}

void checkShape(const MmaOpcode &opcode, uint32_t bits, const Shape5 &s) {
  bool isScaled = opcode.scales != 0;
  uint32_t least = isScaled ? 128 : 64;
  bool fits = s.m == 128 || s.m == (opcode.group == 2 ? 256u : least);
  uint32_t step = 8u * opcode.group;
  if (opcode.kind == Kind::kI8 && (opcode.group == 2 || s.n > 32))
    step = 16u * opcode.group;
  if (s.transposeB && bitsOf(s.b) == 8)
    step = 16u * opcode.group;
  if (!fits || s.n < step || s.n > 256 || s.n % step != 0)
    illegal(bits, "no shape of " + std::to_string(s.m) + " x " + std::to_string(s.n) +
                      " for this kind and .cta_group");
  auto isWhole = [](Element e) {
    return e != Element::kE3M2 && e != Element::kE2M3 && e != Element::kE2M1 &&
           e != Element::kE2M1x2;
  };
  if ((s.transposeA && !isWhole(s.a)) || (s.transposeB && !isWhole(s.b)))
    illegal(bits, "elements of 4 and 6 bits cannot be transposed");
}

Shape5 decodeInstruction(const MmaOpcode &opcode, uint32_t bits) {
  bool isScaled = opcode.scales != 0;
  Shape5 s{};
  s.d = Element::kF32;
  if (field(bits, 2, 1) != 0)
    illegal(bits, "it says sparse, the instruction does not");
  if (field(bits, 6, 1) != 0 || field(bits, 0, 2) != 0 ||
      (isScaled ? field(bits, 24, 3) != 0 : field(bits, 23, 1) != 0 || field(bits, 29, 3) != 0))
    illegal(bits, "reserved bits are set");
  decodeTypes(opcode, bits, s);
  s.saturate = !isScaled && field(bits, 3, 1) != 0;
  if (s.saturate && opcode.kind != Kind::kI8)
    illegal(bits, "saturation is for integers");
  s.negate = field(bits, 13, 1) != field(bits, 14, 1);
  if (opcode.kind == Kind::kI8 && field(bits, 13, 2) != 0)
    illegal(bits, "integers cannot be negated");
  s.transposeA = field(bits, 15, 1);
  s.transposeB = field(bits, 16, 1);
  s.n = field(bits, 17, 6) * 8;
  s.m = field(bits, 24, 5) * 16;
  s.k = kRowBytes * 8 / static_cast<uint32_t>(bitsOf(s.a));
  if (isScaled) {
    s.scale = field(bits, 23, 1) ? Element::kUE8M0 : Element::kUE4M3;
    s.scaleB = field(bits, 4, 2);
    s.scaleA = field(bits, 29, 2);
    if (opcode.kind != Kind::kMxF8F6F4 && field(bits, 31, 1))
      illegal(bits, "K = 96 is not executed");
    if (s.scale == Element::kUE4M3 && (opcode.kind != Kind::kMxF4NvF4 || opcode.scales != 4))
      illegal(bits, "scales of ue4m3 are for mxf4nvf4 with blocks of 16");
    uint32_t step = opcode.scales;
    if (s.scaleA % step != 0 || s.scaleB % step != 0)
      illegal(bits, "a scale-factor id does not fit the number of scales");
  }
  checkShape(opcode, bits, s);
  return s;
}

/// One block's share.
struct Share {
  Block *block = nullptr;
  std::vector<uint32_t> aChunks, bChunks;
  TensorRegion d, a, scaleA, scaleB;
  std::vector<uint64_t> flights;
};

struct Job {
  MmaOpcode opcode;
  Shape5 shape;
  std::vector<Share> shares;
  uint32_t dAddress = 0, aAddress = 0, scaleAAddress = 0, scaleBAddress = 0;
  bool accumulate = false, checkInitialised = true;
  uint32_t masks[8] = {};

  uint32_t rows() const { return shape.m / static_cast<uint32_t>(shares.size()); }
  bool isSplit() const { return shares.size() == 2 && shape.m == 128; }
  uint32_t laneOf(uint32_t row, uint32_t column) const {
    if (rows() == 128)
      return row;
    if (isSplit())
      return row + (column >= shape.n / 2 ? 64 : 0);
    return row % 16 + row / 16 * 32 + (dAddress >> 16);
  }
  uint32_t columnOf(uint32_t column) const {
    return (dAddress & 0xFFFF) + (isSplit() ? column % (shape.n / 2) : column);
  }
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

/// `rows` rows of 32 bytes, k adjacent.
void readRows(const Block &block, const std::vector<uint32_t> &chunks, bool isMnMajor,
              Element element, uint32_t rows, uint32_t k, uint8_t *bytes) {
  if (!isMnMajor) {
    for (size_t c = 0; c < chunks.size(); ++c)
      std::memcpy(bytes + c * 16, block.shared.data() + chunks[c], 16);
    return;
  }
  uint32_t size = static_cast<uint32_t>(bitsOf(element)) / 8, perChunk = 16 / size;
  auto chunksOfLine = static_cast<uint32_t>(chunks.size()) / k;
  for (uint32_t line = 0; line < k; ++line)
    for (uint32_t row = 0; row < rows; ++row)
      std::memcpy(bytes + row * kRowBytes + line * size,
                  block.shared.data() + chunks[line * chunksOfLine + row / perChunk] +
                      row % perChunk * size,
                  size);
}

/// Elements of 4 and 6 bits lie packed at the start of 16 bytes for 16 elements.
void decodeRow(Element element, const uint8_t *bytes, uint32_t k, double *values) {
  int bits = element == Element::kE2M1                                ? 4
             : element == Element::kE3M2 || element == Element::kE2M3 ? 6
                                                                      : 0;
  if (bits == 0)
    return decodeElements(element, bytes, static_cast<int>(k), values);
  const double *value = valuesOf(bits == 4 ? Element::kE2M1x2 : element);
  for (uint32_t i = 0; i < k; ++i) {
    const uint8_t *chunk = bytes + i / 16 * 16;
    uint32_t at = i % 16 * static_cast<uint32_t>(bits);
    uint32_t pair = chunk[at / 8] | uint32_t{chunk[at / 8 + 1]} << 8;
    values[i] = value[pair >> at % 8 & ((1u << bits) - 1)];
  }
}

void readTensorRows(const Job &job, Block &block, uint8_t *bytes) {
  TensorMemory &memory = tensorMemory(block);
  for (uint32_t word = 0; word < kRowBytes / 4; ++word) {
    const uint32_t *lanes = memory.column((job.aAddress & 0xFFFF) + word);
    for (uint32_t row = 0; row < job.rows(); ++row)
      std::memcpy(bytes + row * kRowBytes + 4 * word, &lanes[job.laneOf(row, 0)], 4);
  }
}

/// Multiplies row r of values[rows][k] by its scales.
void scaleRows(const Job &job, Block &block, uint32_t address, uint32_t id, uint32_t rows,
               double *values) {
  TensorMemory &memory = tensorMemory(block);
  const double *value = valuesOf(job.shape.scale);
  uint32_t k = job.shape.k, perScale = k / job.opcode.scales;
  for (uint32_t row = 0; row < rows; ++row) {
    const uint32_t *lanes = memory.column((address & 0xFFFF) + row / 32);
    uint32_t word = lanes[row % 32];
    for (uint32_t part = 1; part < 4; ++part)
      if (lanes[row % 32 + 32 * part] != word)
        stop(ViolationKind::kIllegalInstruction,
             "the scale factors of row " + std::to_string(row) +
                 " are not the same in all four groups of 32 lanes");
    for (uint32_t i = 0; i < k; ++i)
      values[row * k + i] *= value[word >> 8 * (id + i / perScale) & 0xFF];
  }
}

void readOperands(const Job &job, const Share &share, std::vector<uint8_t> &a,
                  std::vector<uint8_t> &b) {
  const Shape5 &s = job.shape;
  a.resize(size_t{job.rows()} * kRowBytes);
  b.resize(size_t{s.n} * kRowBytes);
  if (job.opcode.has(MmaOpcode::kATensor))
    readTensorRows(job, *share.block, a.data());
  else
    readRows(*share.block, share.aChunks, s.transposeA, s.a, job.rows(), s.k, a.data());
  auto columns = s.n / static_cast<uint32_t>(job.shares.size());
  for (size_t half = 0; half < job.shares.size(); ++half)
    readRows(*job.shares[half].block, job.shares[half].bChunks, s.transposeB, s.b, columns, s.k,
             b.data() + half * columns * kRowBytes);
}

template <class F> void forEachResult(const Job &job, Block &block, uint32_t column, F f) {
  TensorMemory &memory = tensorMemory(block);
  uint32_t *cells = memory.column(job.columnOf(column));
  for (uint32_t row = 0; row < job.rows(); ++row)
    f(row, cells[job.laneOf(row, column)]);
}

void multiplyFloats(const Job &job, const Share &share, size_t index) {
  const Shape5 &s = job.shape;
  std::vector<uint8_t> aBytes, bBytes;
  readOperands(job, share, aBytes, bBytes);
  uint32_t rows = job.rows();
  std::vector<double> a(rows * s.k), turned(rows * s.k), b(s.n * s.k), tile(8 * rows);
  for (uint32_t row = 0; row < rows; ++row)
    decodeRow(s.a, aBytes.data() + row * kRowBytes, s.k, &a[row * s.k]);
  for (uint32_t column = 0; column < s.n; ++column)
    decodeRow(s.b, bBytes.data() + column * kRowBytes, s.k, &b[column * s.k]);
  if (job.opcode.scales) {
    scaleRows(job, *share.block, job.scaleAAddress, s.scaleA, rows, a.data());
    scaleRows(job, *share.block, job.scaleBAddress, s.scaleB, s.n, b.data());
  }
  double sign = s.negate ? -1 : 1;
  for (uint32_t row = 0; row < rows; ++row)
    for (uint32_t i = 0; i < s.k; ++i)
      turned[i * rows + row] = sign * a[row * s.k + i];
  bool half = s.d == Element::kF16;
  double scale = 1.0 / static_cast<double>(1u << job.opcode.scaleInput);
  const uint32_t *masks = job.masks + 4 * index;
  for (uint32_t first = 0; first < s.n; first += 8) {
    for (uint32_t c = 0; c < 8; ++c)
      forEachResult(job, *share.block, first + c, [&](uint32_t row, uint32_t &cell) {
        double value =
            half ? toFloat(F16{static_cast<uint16_t>(cell)}) : std::bit_cast<float>(cell);
        tile[c * rows + row] = job.accumulate ? value * scale : 0;
      });
    multiplyTile(tile.data(), &b[first * s.k], turned.data(), 8, static_cast<int>(rows),
                 static_cast<int>(s.k));
    for (uint32_t c = 0; c < 8; ++c)
      forEachResult(job, *share.block, first + c, [&](uint32_t row, uint32_t &cell) {
        uint32_t lane = job.laneOf(row, first + c);
        if (masks[lane / 32] >> lane % 32 & 1)
          return;
        double value = tile[c * rows + row];
        cell = half ? roundToF16(value) : give<float>(static_cast<float>(value));
      });
  }
}

void multiplyIntegers(const Job &job, const Share &share, size_t index) {
  const Shape5 &s = job.shape;
  std::vector<uint8_t> aBytes, bBytes;
  readOperands(job, share, aBytes, bBytes);
  uint32_t rows = job.rows(), pairs = s.k / 2;
  std::vector<int16_t> a(rows * s.k), b(s.n * s.k);
  decodeElements(s.a, aBytes.data(), static_cast<int>(a.size()), a.data());
  decodeElements(s.b, bBytes.data(), static_cast<int>(b.size()), b.data());
  std::vector<int32_t> turned(rows * pairs), columns(s.n * pairs), tile(8 * rows);
  std::memcpy(columns.data(), b.data(), b.size() * sizeof(int16_t));
  for (uint32_t row = 0; row < rows; ++row)
    for (uint32_t pair = 0; pair < pairs; ++pair)
      std::memcpy(&turned[pair * rows + row], &a[row * s.k + 2 * pair], 4);
  const uint32_t *masks = job.masks + 4 * index;
  for (uint32_t first = 0; first < s.n; first += 8) {
    std::fill(tile.begin(), tile.end(), 0);
    multiplyTile(tile.data(), &columns[first * pairs], turned.data(), 8, static_cast<int>(rows),
                 static_cast<int>(pairs));
    for (uint32_t c = 0; c < 8; ++c)
      forEachResult(job, *share.block, first + c, [&](uint32_t row, uint32_t &cell) {
        uint32_t lane = job.laneOf(row, first + c);
        if (!(masks[lane / 32] >> lane % 32 & 1))
          cell = static_cast<uint32_t>(addTo(job.accumulate ? static_cast<int32_t>(cell) : 0,
                                             tile[c * rows + row], s.saturate));
      });
  }
}

void perform(const Job &job) {
  for (size_t index = 0; index < job.shares.size(); ++index) {
    const Share &share = job.shares[index];
    TensorMemory &memory = tensorMemory(*share.block);
    if (job.checkInitialised) {
      if (job.accumulate)
        memory.requireWritten(share.d, "tcgen05.mma (D)");
      if (share.a.columns)
        memory.requireWritten(share.a, "tcgen05.mma (A)");
    }
    if (job.shape.d == Element::kS32)
      multiplyIntegers(job, share, index);
    else
      multiplyFloats(job, share, index);
    for (uint32_t c = 0; c < share.d.columns; ++c)
      for (uint32_t lane = 0; lane < kTensorLanes; ++lane)
        if ((share.d.lanes >> lane / 16 & 1) &&
            !(job.masks[4 * index + lane / 32] >> lane % 32 & 1))
          memory.written(share.d.column + c)[lane] = 1;
    for (uint64_t number : share.flights)
      memory.end(number);
    memory.finishWrite(share.d);
  }
}

/// Lanes and columns that the share uses, checked and noted.
void occupy(Warp &warp, const Op &op, const Job &job, Share &share) {
  const Shape5 &s = job.shape;
  bool isHalf = job.rows() == 64 && !job.isSplit();
  uint32_t lanes = !isHalf ? 0xFF : job.dAddress >> 16 == 16 ? 0xAA : 0x55;
  TensorMemory &memory = tensorMemory(*share.block);
  share.d = {job.dAddress & 0xFFFF, job.isSplit() ? s.n / 2 : s.n, lanes};
  if (job.opcode.has(MmaOpcode::kATensor))
    share.a = {job.aAddress & 0xFFFF, kRowBytes / 4, lanes};
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

void checkAddresses(const Job &job) {
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

Job makeJob(Warp &warp, const Op &op, uint32_t lane) {
  const uint32_t *list = listOf(warp, op);
  auto word = [&](uint32_t slot) { return warp.lanes<uint32_t>(slot)[lane]; };
  Job job;
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
  Job job = makeJob(warp, op, lane);
  const Shape5 &s = job.shape;
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
  for (Share &share : job.shares) {
    if (!job.opcode.has(MmaOpcode::kATensor)) {
      share.aChunks = chunksOf(*share.block, a, s.transposeA, s.a, job.rows(), s.k, "A");
      appendReads(*share.block, share.aChunks, pending.ranges);
    }
    share.bChunks = chunksOf(*share.block, b, s.transposeB, s.b, s.n / job.opcode.group, s.k, "B");
    appendReads(*share.block, share.bChunks, pending.ranges);
    occupy(warp, op, job, share);
  }
  countMatrix(warp, uint64_t{s.m} * s.n * s.k);
  pending.perform = [job = std::move(job)](const Pending &) { perform(job); };
  issue(warp, op, std::move(pending));
}

void runMma(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1)
      issueMma(warp, op, lane);
}

/// Number of scales along k, 0 where the opcode is wrong.
uint8_t scalesOf(const Instruction &i, Kind kind) {
  auto has = [&](std::string_view name) { return Lowering::has(i, name); };
  bool one = has("scale_vec::1X"), two = has("scale_vec::2X"), four = has("scale_vec::4X");
  bool none = !one && !two && !four && !has("block16") && !has("block32");
  switch (kind) {
  case Kind::kMxF8F6F4:
    return one || has("block32") || none ? 1 : 0;
  case Kind::kMxF4:
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
        (opcode.kind != Kind::kF16 && opcode.kind != Kind::kTF32) || ++next < i.operands.size())
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
