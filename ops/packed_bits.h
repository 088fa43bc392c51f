// Values of 2, 4 or 8 bits packed into bytes, low bits first, as the com.microsoft operators store
// quantised weights and zero points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace platen::ops {

/// Value `index` of the packed run that starts at bytes[0]. Requires bits in {2, 4, 8}.
inline int packedBits(std::span<const std::byte> bytes, int64_t index, int64_t bits) {
  int64_t bit = index * bits;
  int shifted = std::to_integer<int>(bytes[static_cast<size_t>(bit / 8)]) >> (bit % 8);
  return shifted & ((1 << bits) - 1);
}

} // namespace platen::ops
