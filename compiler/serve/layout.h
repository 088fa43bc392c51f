// Layouts: how the dimensions of an ONNX decoder's value lie in its serving form [T, features…].
//
// A value on the token path of an exported decoder has dimensions for batch and sequence somewhere
// among its feature dimensions ([B, S, H], [B, heads, S, D], [B·S, H]…). The serving form flattens
// batch and sequence to one leading token axis T and keeps the other dimensions, ones included, in
// their order. Which dimension is which is told by comparing the value's concrete dimensions at a
// few sizes (kSizes) that move batch, sequence and past separately. Pure functions of plain
// numbers; no IR.
#pragma once

#include "runtime/base/status.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace platen::compiler::serve {

/// One concrete run of the exported graph.
struct Sizes {
  int64_t batch, sequence, past;
  int64_t total() const { return past + sequence; }
};

/// The runs that tell dimensions apart: no two of {B, S, B·S, past, past+S, constant} agree in all
/// of them.
inline constexpr std::array<Sizes, 3> kSizes{{{2, 3, 5}, {3, 3, 5}, {2, 4, 7}}};

/// One dimension's extent in each run of kSizes.
using Extent = std::array<int64_t, kSizes.size()>;
using Extents = std::vector<Extent>;

enum class Role { kBatch, kSequence, kTokens, kPast, kTotal, kFeature, kOther };

Role roleOf(const Extent &extent);

/// A dimension as a token role with features merged into it: [b, s·heads, hd] has a dimension of
/// role kSequence and factor `heads` (features vary faster). Other dimensions have factor 1.
struct Merged {
  Role role;
  int64_t factor = 1;
  friend bool operator==(const Merged &, const Merged &) = default;
};
Merged mergedRoleOf(const Extent &extent);

/// "b", "s", "b*s", "p", "p+s", the number, "s*4" for a merged dimension, or "?".
std::string toString(const Extent &extent);
/// "[b,4,s,32]".
std::string toString(const Extents &extents);

/// A token-path value's dimensions: roles, and sizes of the features.
class Layout {
public:
  /// InvalidArgument unless batch and sequence (or their product) occur exactly once and the rest
  /// are features.
  static base::Result<Layout> of(const Extents &extents);

  int64_t rank() const { return static_cast<int64_t>(dims_.size()); }
  const Merged &dim(int64_t dim) const { return dims_[static_cast<size_t>(dim)]; }
  /// Whether the dimension is features and nothing else.
  bool isFeature(int64_t dim) const {
    return dims_[static_cast<size_t>(dim)].role == Role::kFeature;
  }
  /// Whether two layouts have the same tokens, alone or merged, in the same places.
  bool sameTokens(const Layout &other) const;
  /// Sizes of the features in order, merged ones included: the serving form is [T] + features().
  const std::vector<int64_t> &features() const { return features_; }
  /// The serving form's axis of feature dimension `dim`.
  int64_t axisOf(int64_t dim) const;

private:
  std::vector<Merged> dims_;
  std::vector<int64_t> features_;
};

/// Checks that reshaping `from` to `to` keeps tokens apart from features and in their order, so
/// that the serving form changes its feature dimensions only.
base::Status checkReshape(const Extents &from, const Extents &to);

/// What `perm` (ONNX semantics: result dimension i is operand dimension perm[i]) does to the
/// serving form: the permutation of [T, features…], identity where only token dimensions move.
std::vector<int64_t> featurePermutation(const Layout &operand, const std::vector<int64_t> &perm);

} // namespace platen::compiler::serve
