// Quantisers of one group of 32 numbers to 8 or 4 bits: value = (code - zero) * scale.
#pragma once

#include "kernels/packing.h"

#include <array>

namespace platen::compiler {

struct QuantizedGroup {
  std::array<int8_t, kernels::kGroup> codes{}; ///< q8: -127..127; q4: 0..15
  float scale = 0; ///< as stored: already rounded to f16 if that is the scale's type
  int8_t zero = 0;
};

/// Symmetric, scale = amax / 127.
QuantizedGroup quantizeGroup8(const float *x, bool f16Scale);
/// Zero point 8, scale of either sign by search. The criterion is the squared error weighted by rms
/// + |x|: outputs of a layer depend most on its large weights.
QuantizedGroup quantizeGroup4(const float *x, bool f16Scale);
/// As above with a zero point of its own, -112..127, so that groups that do not straddle zero keep
/// all 16 codes.
QuantizedGroup quantizeGroup4WithZero(const float *x, bool f16Scale);

} // namespace platen::compiler
