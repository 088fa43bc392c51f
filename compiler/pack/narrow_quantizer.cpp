#include "compiler/pack/narrow_quantizer.h"

#include "kernels/narrow_float.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace platen::compiler {

using kernels::e2m1ToFloat;
using kernels::e4m3ToFloat;
using kernels::floatToE2m1;
using kernels::floatToE4m3;
using kernels::kFloatGroup;

namespace {

float largest(std::span<const float> values) {
  float most = 0;
  for (float value : values)
    most = std::max(most, std::abs(value));
  return most;
}

struct Group {
  std::array<uint8_t, kFloatGroup> codes{};
  uint8_t scale = 0;
  float error = std::numeric_limits<float>::infinity(); ///< sum of squares
};

Group groupAt(std::span<const float> values, uint8_t scaleCode, float rowScale) {
  Group group;
  group.scale = scaleCode;
  group.error = 0;
  const float scale = e4m3ToFloat(scaleCode) * rowScale;
  const float inverse = scale > 0 ? 1.0F / scale : 0;
  for (size_t i = 0; i < values.size(); ++i) {
    group.codes[i] = floatToE2m1(values[i] * inverse);
    const float error = values[i] - e2m1ToFloat(group.codes[i]) * scale;
    group.error += error * error;
  }
  return group;
}

} // namespace

NarrowRow quantizeRow8(std::span<const float> row) {
  NarrowRow narrow;
  const float most = largest(row);
  narrow.scale = most / kernels::kLargestE4m3;
  const float inverse = narrow.scale > 0 ? 1.0F / narrow.scale : 0;
  narrow.codes.reserve(row.size());
  for (float value : row)
    narrow.codes.push_back(floatToE4m3(value * inverse));
  return narrow;
}

NarrowRow quantizeRow4(std::span<const float> row) {
  NarrowRow narrow;
  narrow.scale = largest(row) / (kernels::kLargestE4m3 * kernels::kLargestE2m1);
  narrow.codes.reserve(row.size());
  for (size_t first = 0; first < row.size(); first += kFloatGroup) {
    const auto values = row.subspan(first, std::min<size_t>(kFloatGroup, row.size() - first));
    Group best;
    if (narrow.scale > 0) {
      const uint8_t exact = floatToE4m3(largest(values) / kernels::kLargestE2m1 / narrow.scale);
      for (int below = 0; below <= 2 && below <= exact; ++below)
        if (Group one = groupAt(values, static_cast<uint8_t>(exact - below), narrow.scale);
            one.error < best.error)
          best = one;
    }
    narrow.groupScales.push_back(best.scale);
    narrow.codes.insert(narrow.codes.end(), best.codes.begin(),
                        best.codes.begin() + static_cast<std::ptrdiff_t>(values.size()));
  }
  return narrow;
}

} // namespace platen::compiler
