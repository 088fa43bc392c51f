// tcgen05.mma: reading A, B and the scales, and the product. Numerics: multiply.h.
#include "tools/ptxsim/core/multiply.h"
#include "tools/ptxsim/core/tensor_core5_mma.h"
#include "tools/ptxsim/core/values.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

constexpr uint32_t kRowBytes = kTensorRowBytes;

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

void readTensorRows(const TensorJob &job, Block &block, uint8_t *bytes) {
  TensorMemory &memory = tensorMemory(block);
  for (uint32_t word = 0; word < kRowBytes / 4; ++word) {
    const uint32_t *lanes = memory.column((job.aAddress & 0xFFFF) + word);
    for (uint32_t row = 0; row < job.rows(); ++row)
      std::memcpy(bytes + row * kRowBytes + 4 * word, &lanes[job.laneOf(row, 0)], 4);
  }
}

/// Multiplies row r of values[rows][k] by its scales.
void scaleRows(const TensorJob &job, Block &block, uint32_t address, uint32_t id, uint32_t rows,
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

void readOperands(const TensorJob &job, const TensorShare &share, std::vector<uint8_t> &a,
                  std::vector<uint8_t> &b) {
  const TensorShape &s = job.shape;
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

template <class F> void forEachResult(const TensorJob &job, Block &block, uint32_t column, F f) {
  TensorMemory &memory = tensorMemory(block);
  uint32_t *cells = memory.column(job.columnOf(column));
  for (uint32_t row = 0; row < job.rows(); ++row)
    f(row, cells[job.laneOf(row, column)]);
}

void multiplyFloats(const TensorJob &job, const TensorShare &share, size_t index) {
  const TensorShape &s = job.shape;
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

void multiplyIntegers(const TensorJob &job, const TensorShare &share, size_t index) {
  const TensorShape &s = job.shape;
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

} // namespace

void performTensorMma(const TensorJob &job) {
  for (size_t index = 0; index < job.shares.size(); ++index) {
    const TensorShare &share = job.shares[index];
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
} // namespace platen::ptxsim
