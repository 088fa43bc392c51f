// What counts the rows of a buffer or the work of a launch in one step, and how work is counted by
// it.
#pragma once

#include <cstdint>

namespace platen::plan {

enum class Extent : uint8_t { kOne = 0, kTokens = 1, kRows = 2, kSequences = 3 };

/// T, R and S of one step (kernel_abi.h).
struct Extents {
  int64_t tokens = 0, rows = 0, sequences = 0;
  constexpr int64_t operator[](Extent extent) const {
    switch (extent) {
    case Extent::kOne:
      return 1;
    case Extent::kTokens:
      return tokens;
    case Extent::kRows:
      return rows;
    case Extent::kSequences:
      return sequences;
    }
    return 0;
  }
  bool operator==(const Extents &) const = default;
};

/// How many work units, or blocks of a grid's dimension: (extent == kOne ? 1 : ceil(extent / per))
/// * times. Validated: per, times >= 1.
struct Units {
  Extent extent = Extent::kOne;
  uint32_t per = 1;
  uint64_t times = 1;
  bool operator==(const Units &) const = default;

  /// Exact for validated units and extents within the plan's limits.
  constexpr int64_t count(const Extents &extents) const {
    int64_t blocks = extent == Extent::kOne ? 1 : (extents[extent] + per - 1) / per;
    return blocks * static_cast<int64_t>(times);
  }
};

} // namespace platen::plan
