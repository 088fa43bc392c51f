// Tensor maps (CUtensorMap): this simulator's own encoding of the 128 bytes, and tiles of them.
//
// The driver's bits are not public; programs treat them as opaque, so any encoding will do as long
// as the driver's cuTensorMapEncodeTiled and the instructions agree. encode() enforces the limits
// that its documentation states. Executed: rank 1 to 5, whole-byte types, no interleave, all three
// swizzles, zero and NaN fill. Refused: interleave, im2col, packed sub-byte types.
// tensormap.replace changes maps on the device (replaceField).
#pragma once

#include "runtime/base/status.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace platen::ptxsim {

/// Enumerators have the values of the driver API's enums.
enum class TensorType : uint8_t {
  kU8 = 0,
  kU16,
  kU32,
  kS32,
  kU64,
  kS64,
  kF16,
  kF32,
  kF64,
  kBF16,
  kF32Flush,
  kTF32,
  kTF32Flush,
};
enum class Swizzle : uint8_t { kNone = 0, k32B = 1, k64B = 2, k128B = 3 };

struct TensorMap {
  TensorType type{};
  uint32_t rank = 0;
  uint64_t address = 0;                        // of the tensor in global memory
  uint64_t extent[5] = {1, 1, 1, 1, 1};        // elements, innermost first
  uint64_t stride[5] = {0, 0, 0, 0, 0};        // bytes; [0] is the element's size
  uint32_t box[5] = {1, 1, 1, 1, 1};           // elements
  uint32_t elementStride[5] = {1, 1, 1, 1, 1}; // [0] is ignored
  uint8_t interleave = 0, l2Promotion = 0;
  Swizzle swizzle{};
  bool fillsNan = false;

  uint32_t elementBytes() const;
  /// Elements of a tile along `dimension`, and its bytes in shared memory.
  uint32_t tileExtent(uint32_t dimension) const;
  uint32_t tileBytes() const;
};
inline constexpr size_t kTensorMapBytes = 128;

/// kInvalidArgument names the limit that is broken; kUnsupported what the simulator leaves out.
base::Status encodeTensorMap(const TensorMap &map, std::span<std::byte, kTensorMapBytes> bytes);
/// kCorrupt: the bytes are no tensor map of this simulator.
base::Result<TensorMap> decodeTensorMap(std::span<const std::byte, kTensorMapBytes> bytes);

/// The fields that tensormap.replace changes, by the names of the instruction set.
enum class TensorField : uint8_t {
  kAddress,
  kRank, // one less than the rank
  kBox,
  kExtent,
  kStride, // ordinal 0: of dimension 1, in bytes
  kElementStride,
  kType, // in the numbering of PTX, which is not the driver's
  kInterleave,
  kSwizzle,
  kAtomicity,
  kFill,
};
/// Changes a field of 128 bytes that are a tensor map, or zeros (as kernels begin that make one).
/// Whether the map as a whole keeps the limits is checked when it is used. kInvalidArgument: the
/// value is none that the field has; kUnsupported: the simulator leaves it out; kCorrupt: no map.
base::Status replaceField(std::span<std::byte, kTensorMapBytes> bytes, TensorField field,
                          uint32_t ordinal, uint64_t value);

/// Where byte `address` of shared memory really lies: 16-byte chunks are exchanged within 32, 64 or
/// 128 bytes by the address bits above.
uint32_t swizzled(uint32_t address, Swizzle swizzle);

} // namespace platen::ptxsim
