// For tests: where the elements of a matrix lie in shared memory, in the way that the tensor-map
// swizzles are usually drawn: atoms of 8 lines whose 16-byte chunks change places by the line.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace platen::ptxsim {

struct MatrixImage {
  uint32_t start = 0;               // aligned to 1024
  uint32_t width = 16;              // bytes of a swizzle row: 16 (none), 32, 64, 128
  uint32_t leading = 0, stride = 0; // bytes
  bool mnMajor = false;

  /// Bits by which a line of an atom turns its chunks: the 128-byte row that the line lies in.
  uint32_t turn(uint32_t line) const {
    return width == 128 ? line : width == 64 ? line / 2 : width == 32 ? line / 4 : 0;
  }
  /// Address of byte `byte` (along k if K-major, along mn otherwise) of line `line`.
  uint32_t at(uint32_t line, uint32_t byte) const {
    uint32_t chunk = byte / 16, within = byte % 16, row = line % 8, atom = line / 8;
    if (width == 16 && !mnMajor)
      return start + atom * stride + chunk * leading + row * 16 + within;
    if (width == 16)
      return start + atom * leading + chunk * stride + row * 16 + within;
    uint32_t column = byte / width, inRow = byte % width / 16;
    uint32_t address = start + row * width + (inRow ^ turn(row)) * 16 + within;
    return mnMajor ? address + column * leading + atom * stride
                   : address + atom * stride + column * width; // K-major: one atom wide
  }
  void put(std::vector<uint8_t> &shared, uint32_t mn, uint32_t k, uint32_t size,
           uint64_t bits) const {
    uint32_t address = mnMajor ? at(k, mn * size) : at(mn, k * size);
    std::memcpy(shared.data() + address, &bits, size);
  }
  /// wgmma's descriptor of the part that begins `advance` bytes further.
  uint64_t descriptor(uint32_t advance = 0) const {
    uint64_t mode = width == 128 ? 1 : width == 64 ? 2 : width == 32 ? 3 : 0;
    return fields(advance) | mode << 62;
  }
  /// tcgen05's.
  uint64_t tensorDescriptor(uint32_t advance = 0) const {
    uint64_t mode = width == 128 ? 2 : width == 64 ? 4 : width == 32 ? 6 : 0;
    return fields(advance) | uint64_t{1} << 46 | mode << 61;
  }

private:
  uint64_t fields(uint32_t advance) const {
    return ((start + advance) & 0x3FFFF) >> 4 | uint64_t{leading >> 4} << 16 |
           uint64_t{stride >> 4} << 32;
  }
};

} // namespace platen::ptxsim
