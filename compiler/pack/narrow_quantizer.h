// Quantisers of one channel's weights to 8- and 4-bit floats.
#pragma once

#include "kernels/packing.h"

#include <span>
#include <vector>

namespace platen::compiler {

/// value[k] = code[k] * groupScale[k / 16] * scale; f8 has no group scales.
struct NarrowRow {
  std::vector<uint8_t> codes;       ///< e4m3, or e2m1 (one a byte)
  std::vector<uint8_t> groupScales; ///< e4m3
  float scale = 0;
};

/// e4m3 with scale = amax / 448. `row` is finite.
NarrowRow quantizeRow8(std::span<const float> row);
/// e2m1 with scale = amax / (448 * 6), so that the largest group's scale is e4m3's largest. A
/// group's scale is the nearest e4m3 to its maximum / 6, or the one of its two neighbours below
/// that loses less: the scale that maps the maximum to 6 is rarely the best of a group of 16. The
/// scale is a channel's, not the tensor's: a panel's bytes depend on its rows alone.
NarrowRow quantizeRow4(std::span<const float> row);

} // namespace platen::compiler
