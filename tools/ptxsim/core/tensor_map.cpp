#include "tools/ptxsim/core/tensor_map.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace platen::ptxsim {
namespace {

constexpr uint64_t kMark = 0x31504D5454584E50; // tells an encoded map from other bytes
constexpr uint32_t kTypes = 13;

struct Encoded {
  uint64_t mark, address;
  uint64_t strides[4]; // bytes
  uint32_t extentLess1[5];
  uint16_t box[5];
  uint8_t elementStride[5], type, rank, swizzle, fillsNan, l2Promotion;
  uint32_t sum;
};
static_assert(sizeof(Encoded) <= kTensorMapBytes);

uint32_t checksum(Encoded encoded) {
  encoded.sum = 0;
  unsigned char bytes[sizeof encoded];
  std::memcpy(bytes, &encoded, sizeof encoded);
  uint32_t sum = 2166136261u;
  for (unsigned char byte : bytes)
    sum = (sum ^ byte) * 16777619u;
  return sum;
}

base::Status invalid(std::string what) {
  return base::invalidArgument(std::move(what), "tensor map");
}

base::Status checkDimension(const TensorMap &map, uint32_t d) {
  std::string which = " of dimension " + std::to_string(d);
  if (map.extent[d] == 0 || map.extent[d] > (uint64_t{1} << 32))
    return invalid("the extent" + which + " is " + std::to_string(map.extent[d]) +
                   ": 1 to 2^32 elements");
  if (map.box[d] == 0 || map.box[d] > 256)
    return invalid("the box" + which + " is " + std::to_string(map.box[d]) + ": 1 to 256 elements");
  if (map.elementStride[d] == 0 || map.elementStride[d] > 8)
    return invalid("the element stride" + which + " is " + std::to_string(map.elementStride[d]) +
                   ": 1 to 8");
  if (d > 0 && (map.stride[d] % 16 != 0 || map.stride[d] >= (uint64_t{1} << 40)))
    return invalid("the stride" + which + " is " + std::to_string(map.stride[d]) +
                   " bytes: a multiple of 16 below 2^40");
  return {};
}

} // namespace

uint32_t TensorMap::elementBytes() const {
  constexpr uint8_t kBytes[kTypes] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  return kBytes[static_cast<size_t>(type)];
}

uint32_t TensorMap::tileExtent(uint32_t d) const {
  return d == 0 ? box[0] : (box[d] + elementStride[d] - 1) / elementStride[d];
}

uint32_t TensorMap::tileBytes() const {
  uint32_t bytes = elementBytes();
  for (uint32_t d = 0; d < rank; ++d)
    bytes *= tileExtent(d);
  return bytes;
}

namespace {

base::Status validate(const TensorMap &map) {
  if (static_cast<uint32_t>(map.type) >= kTypes)
    return base::unsupported("packed sub-byte types are not executed", "tensor map");
  if (map.rank == 0 || map.rank > 5)
    return invalid("rank " + std::to_string(map.rank) + ": 1 to 5");
  if (map.interleave != 0)
    return base::unsupported("interleaved layouts are not executed", "tensor map");
  if (static_cast<uint32_t>(map.swizzle) > 3)
    return base::unsupported("only swizzles of 32, 64 and 128 bytes are executed", "tensor map");
  if (map.l2Promotion > 3)
    return invalid("an unknown promotion in L2");
  if (map.address == 0 || map.address % 16 != 0)
    return invalid("the tensor's address is no multiple of 16");
  for (uint32_t d = 0; d < map.rank; ++d)
    PLATEN_RETURN_IF_ERROR(checkDimension(map, d));
  uint32_t inner = map.box[0] * map.elementBytes();
  if (inner % 16 != 0)
    return invalid("the box is " + std::to_string(inner) +
                   " bytes wide: a multiple of 16 is needed");
  uint32_t span = 16u << static_cast<uint32_t>(map.swizzle);
  if (map.swizzle != Swizzle::kNone && inner > span)
    return invalid("the box is " + std::to_string(inner) +
                   " bytes wide, more than the swizzle of " + std::to_string(span));
  bool isFloat = map.type >= TensorType::kF16;
  if (map.fillsNan && !isFloat)
    return invalid("NaN fills only tensors of floats");
  return {};
}

void seal(Encoded encoded, std::span<std::byte, kTensorMapBytes> bytes) {
  encoded.mark = kMark;
  encoded.sum = checksum(encoded);
  std::memset(bytes.data(), 0, bytes.size());
  std::memcpy(bytes.data(), &encoded, sizeof encoded);
}

/// The bytes as they were sealed; false: they are no map.
bool unseal(std::span<const std::byte, kTensorMapBytes> bytes, Encoded &encoded) {
  std::memcpy(&encoded, bytes.data(), sizeof encoded);
  return encoded.mark == kMark && encoded.sum == checksum(encoded);
}

} // namespace

base::Status encodeTensorMap(const TensorMap &map, std::span<std::byte, kTensorMapBytes> bytes) {
  PLATEN_RETURN_IF_ERROR(validate(map));
  Encoded encoded;
  std::memset(&encoded, 0, sizeof encoded);
  encoded.address = map.address;
  for (uint32_t d = 0; d < map.rank; ++d) {
    encoded.extentLess1[d] = static_cast<uint32_t>(map.extent[d] - 1);
    encoded.box[d] = static_cast<uint16_t>(map.box[d]);
    encoded.elementStride[d] = static_cast<uint8_t>(d == 0 ? 1 : map.elementStride[d]);
    if (d > 0)
      encoded.strides[d - 1] = map.stride[d];
  }
  encoded.type = static_cast<uint8_t>(map.type);
  encoded.rank = static_cast<uint8_t>(map.rank);
  encoded.swizzle = static_cast<uint8_t>(map.swizzle);
  encoded.fillsNan = map.fillsNan;
  encoded.l2Promotion = map.l2Promotion;
  seal(encoded, bytes);
  return {};
}

base::Result<TensorMap> decodeTensorMap(std::span<const std::byte, kTensorMapBytes> bytes) {
  Encoded encoded;
  if (!unseal(bytes, encoded))
    return base::corrupt("the 128 bytes are no tensor map that cuTensorMapEncodeTiled or "
                         "tensormap.replace made");
  TensorMap map;
  map.type = static_cast<TensorType>(encoded.type);
  map.rank = encoded.rank;
  map.address = encoded.address;
  map.swizzle = static_cast<Swizzle>(encoded.swizzle);
  map.fillsNan = encoded.fillsNan != 0;
  map.l2Promotion = encoded.l2Promotion;
  for (uint32_t d = 0; d < std::min(map.rank, 5u); ++d) {
    map.extent[d] = uint64_t{encoded.extentLess1[d]} + 1;
    map.box[d] = encoded.box[d];
    map.elementStride[d] = encoded.elementStride[d];
    if (d > 0)
      map.stride[d] = encoded.strides[d - 1];
  }
  PLATEN_RETURN_IF_ERROR(validate(map)); // tensormap.replace may have left it unfinished
  map.stride[0] = map.elementBytes();
  return map;
}

namespace {

base::Status setField(Encoded &map, TensorField field, uint32_t n, uint64_t value) {
  // What PTX calls 0 (u8) to 12 (tf32.ftz), as the driver numbers it; above: packed types.
  constexpr uint8_t kTypeOf[kTypes] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 9, 11, 12};
  auto limited = [&](uint64_t least, uint64_t most) {
    return value >= least && value <= most
               ? base::Status()
               : invalid("the new value " + std::to_string(value) + " is not one from " +
                         std::to_string(least) + " to " + std::to_string(most));
  };
  uint32_t ordinals = field == TensorField::kStride ? 4 : 5;
  if (n >= ordinals)
    return invalid("dimension " + std::to_string(n) + " of a field that has " +
                   std::to_string(ordinals));
  switch (field) {
  case TensorField::kAddress:
    map.address = value;
    return {};
  case TensorField::kRank:
    map.rank = static_cast<uint8_t>(value + 1);
    return limited(0, 4);
  case TensorField::kBox:
    map.box[n] = static_cast<uint16_t>(value);
    return limited(1, 256);
  case TensorField::kExtent: // 2^32, which does not fit into 32 bits, is written as 0
    map.extentLess1[n] = static_cast<uint32_t>(value - 1);
    return limited(0, uint64_t{1} << 32);
  case TensorField::kStride:
    map.strides[n] = value;
    return {};
  case TensorField::kElementStride:
    map.elementStride[n] = static_cast<uint8_t>(value);
    return limited(1, 8);
  case TensorField::kType:
    if (value > 15)
      return limited(0, 15);
    if (value >= kTypes)
      return base::unsupported("packed sub-byte types are not executed", "tensor map");
    map.type = kTypeOf[value];
    return {};
  case TensorField::kInterleave:
    return value == 0 ? base::Status()
                      : base::unsupported("interleaved layouts are not executed", "tensor map");
  case TensorField::kSwizzle:
    map.swizzle = static_cast<uint8_t>(value);
    return value <= 3 ? base::Status()
                      : base::unsupported("only swizzles of 32, 64 and 128 bytes are executed",
                                          "tensor map");
  case TensorField::kAtomicity:
    return value == 0
               ? base::Status()
               : base::unsupported("only swizzles of 16-byte chunks are executed", "tensor map");
  case TensorField::kFill:
    map.fillsNan = value != 0;
    return limited(0, 1);
  }
  return {};
}

} // namespace

base::Status replaceField(std::span<std::byte, kTensorMapBytes> bytes, TensorField field,
                          uint32_t ordinal, uint64_t value) {
  Encoded encoded;
  bool isZero =
      std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
  if (!isZero && !unseal(bytes, encoded))
    return base::corrupt("the 128 bytes are neither a tensor map nor zeros");
  if (isZero)
    std::memset(&encoded, 0, sizeof encoded);
  PLATEN_RETURN_IF_ERROR(setField(encoded, field, ordinal, value));
  seal(encoded, bytes);
  return {};
}

uint32_t swizzled(uint32_t address, Swizzle swizzle) {
  constexpr uint32_t kMasks[] = {0, 1, 3, 7};
  return address ^ (address >> 7 & kMasks[static_cast<size_t>(swizzle)]) << 4;
}

} // namespace platen::ptxsim
