// What each value of a loop program depends on: where in the nest of loops it can be computed.
#pragma once

#include "ops/loops/program.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace platen::kernels {

/// How the domain's axes become loops: rows of points, the points of a row, then the sequential
/// axes. An axis that has but the coordinate 0 is no loop. Axes that are always read and stored
/// side by side are one, the last of them, which then counts through all; the others stay 0.
struct LoopNest {
  std::vector<uint32_t> rows;    ///< parallel axes, outermost first; their product is the rows
  std::optional<uint32_t> inner; ///< the innermost parallel axis
  base::Size width = 1;          ///< points of a row: of `inner` and the axes that are one with it
  std::vector<uint32_t> sequential; ///< outermost first

  explicit LoopNest(const ops::loops::Program &program);
  /// 0: outside all loops, or always 0; 1: in a row; 2: at a point; 3 + i: in sequential[i].
  uint32_t levelOf(uint32_t axis) const;
  uint32_t innermost() const { return 2 + static_cast<uint32_t>(sequential.size()); }
};

/// Of one node, or of a fold with all that it computes.
struct LoopFacts {
  uint32_t level = 0;         ///< the deepest axis loop that it depends on
  bool loads = false;         ///< so it may only be computed where the program does
  bool changes = false;       ///< loads what the program stores: different after every store
  std::vector<uint32_t> open; ///< folds whose counter or carried values it needs, ascending

  void join(const LoopFacts &other);
};

/// [node]; of a kFoldResult also what its fold's body needs.
std::vector<LoopFacts> loopFacts(const ops::loops::Program &program, const LoopNest &nest);

/// [node]: it adds to, or multiplies, what an any-order fold carries, and so may be regrouped.
/// Folds of few turns keep their order, so that they can be unrolled.
std::vector<bool> regroupable(const ops::loops::Program &program);

/// The fold's number of turns, if it is a constant.
std::optional<int64_t> turnsOf(const ops::loops::Program &program, const ops::loops::Fold &fold);

} // namespace platen::kernels
