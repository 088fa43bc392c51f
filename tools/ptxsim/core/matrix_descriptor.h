// Matrices in shared memory as wgmma and tcgen05 see them: a 64-bit descriptor gives start, two
// strides and a swizzle; everything is made of chunks of 16 bytes.
//
// K-major: a chunk holds consecutive k of one row (of A; column of B). MN-major: a chunk holds
// consecutive rows at one k. With w chunks to a swizzle row (2, 4, 8; none: 1):
//   K-major,  none:     (row % 8)·16 + (row / 8)·stride + chunk·leading
//   K-major,  swizzled: (row % 8)·16w + (row / 8)·stride + chunk·16
//   MN-major, none:     chunk·stride + (k % 8)·16 + (k / 8)·leading
//   MN-major, swizzled: (chunk % w)·16 + (chunk / w)·leading + (k % 8)·16w + (k / 8)·stride
// The swizzle then exchanges address bits: bits 4.. are xored with bits 7.. (counted from the
// pattern's start, which the base offset gives where it is not aligned).
#pragma once

#include "tools/ptxsim/core/asynchrony.h"

#include <memory>
#include <vector>

namespace platen::ptxsim {

struct MatrixLayout {
  uint32_t start = 0, leading = 0, stride = 0; // bytes
  uint32_t base = 0;                           // start of the pattern in rows of 128 bytes, mod 8
  uint32_t swizzle = 0;                        // 0 none, 1 32 bytes, 2 64 bytes, 3 128 bytes
  bool wideAtoms = false;                      // 128 bytes in atoms of 32, four rows to a pattern
  bool isMnMajor = false;

  /// Address of chunk `chunk` of row `line` (MN-major: of k `line`).
  uint32_t chunkAt(uint32_t line, uint32_t chunk) const;
};

/// Of wgmma. Stops where reserved bits are set.
MatrixLayout decodeWgmmaDescriptor(uint64_t bits, bool isMnMajor, std::string_view what);
/// Of tcgen05: version bits, and the swizzle in three bits.
MatrixLayout decodeTensorCore5Descriptor(uint64_t bits, bool isMnMajor, std::string_view what);

/// Where chunks lie, line by line, and the same as ranges that are read, neighbours merged.
struct ChunkList {
  std::vector<uint32_t> offsets;
  std::vector<SharedRange> ranges;
};
using Chunks = std::shared_ptr<const ChunkList>;
/// `lines` × `chunks` chunks, in bounds of the block's shared memory. A kernel uses few descriptors
/// again and again: the block remembers the lists (matrix_state.h).
Chunks chunksOf(Block &block, const MatrixLayout &layout, uint32_t firstLine, uint32_t lines,
                uint32_t firstChunk, uint32_t chunks, std::string_view what);
inline void appendReads(const Chunks &chunks, std::vector<SharedRange> &ranges) {
  ranges.insert(ranges.end(), chunks->ranges.begin(), chunks->ranges.end());
}

} // namespace platen::ptxsim
