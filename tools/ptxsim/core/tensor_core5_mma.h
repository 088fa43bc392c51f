// tcgen05.mma: matrix products into tensor memory. Numerics: multiply.h.
//
// One thread issues D (M x N, tensor memory) = A (shared or tensor memory) · B (shared) + D. With
// .cta_group::2 the two blocks of a pair hold half of the rows of A and D and half of the columns
// of B each. A row of A and a column of B are 32 bytes in every kind. Row m of D lies in lane
//   M = 128 (256 for a pair): m;  M = 64: m % 16 + 32 (m / 16), + 16 if the address says so;
//   M = 128 for a pair: m % 64, and 64 more for the upper half of the columns.
// Scales: row r's lie in lane r % 32 (the same in all four groups of 32 lanes), column r / 32,
// bytes from the scale-factor id on.
#pragma once

#include "tools/ptxsim/core/elements.h"
#include "tools/ptxsim/core/tensor_core5.h"

namespace platen::ptxsim {

/// Bytes of a row of A and of a column of B.
inline constexpr uint32_t kTensorRowBytes = 32;

enum class MmaKind : uint8_t { kF16, kTF32, kF8F6F4, kI8, kMxF8F6F4, kMxF4, kMxF4NvF4 };
/// What the opcode says, in eight bytes.
struct MmaOpcode {
  MmaKind kind{};
  uint8_t group = 1, scales = 0, flags = 0, scaleInput = 0;
  uint8_t unused[3] = {};
  enum : uint8_t { kATensor = 1, kLaneMask = 2, kNegatedPredicate = 4 };
  bool has(uint8_t flag) const { return flags & flag; }
};
static_assert(sizeof(MmaOpcode) == 8);
// The operand list: offsets of D and A, slot and offset of the scales of A and of B, lane masks.
enum TensorListAt { kDOffset, kAOffset, kScaleA, kScaleAOffset, kScaleB, kScaleBOffset, kMasks };

/// The instruction descriptor, decoded.
struct TensorShape {
  uint32_t m, n, k;
  Element a, b, d, scale = Element::kNone;
  bool negate, transposeA, transposeB, saturate;
  uint32_t scaleA = 0, scaleB = 0; // byte of the first scale
};
/// Decodes the instruction descriptor `bits`; stops where the kind does not have it.
TensorShape decodeInstruction(const MmaOpcode &opcode, uint32_t bits);

/// One block's share.
struct TensorShare {
  Block *block = nullptr;
  std::vector<uint32_t> aChunks, bChunks;
  TensorRegion d, a, scaleA, scaleB;
  std::vector<uint64_t> flights;
};

struct TensorJob {
  MmaOpcode opcode;
  TensorShape shape;
  std::vector<TensorShare> shares;
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

/// The products of all shares, when they are due.
void performTensorMma(const TensorJob &job);

} // namespace platen::ptxsim
