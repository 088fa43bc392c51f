// Sizes that only a run knows: polynomials with integer coefficients over symbols.
//
// A symbol is the index of a number that every run binds (a batch, a sequence length). Element
// counts, dimensions and numbers of work units of a graph with dynamic dimensions are such
// polynomials. Canonical form: terms with distinct, sorted products, ascending, no coefficient 0;
// so equal polynomials compare equal. A plain value type.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace platen::base {

class Size {
public:
  struct Term {
    std::vector<uint32_t> symbols; ///< ascending, repeated for powers; empty: the constant
    int64_t coefficient = 0;
    bool operator==(const Term &) const = default;
  };

  Size() = default; ///< 0
  Size(int64_t constant);
  static Size symbol(uint32_t index);
  /// Brings terms into canonical form. kCorrupt where coefficients overflow.
  static Result<Size> of(std::vector<Term> terms);

  const std::vector<Term> &terms() const { return terms_; }
  /// Its value if no symbol stands in it.
  std::optional<int64_t> constant() const;
  /// One more than the largest symbol; 0 without any.
  uint32_t symbolCount() const;
  /// kInvalidArgument where 64 bits overflow. Requires symbolCount() values.
  Result<int64_t> evaluate(std::span<const int64_t> symbols) const;
  /// "2*s0*s1 + 3".
  std::string toString() const;

  /// Sums and products whose coefficients fit 64 bits; those that do not saturate, and evaluate()
  /// then fails.
  friend Size operator+(const Size &a, const Size &b);
  friend Size operator-(const Size &a, const Size &b);
  friend Size operator*(const Size &a, const Size &b);
  bool operator==(const Size &) const = default;

private:
  explicit Size(std::vector<Term> terms) : terms_(std::move(terms)) {}
  std::vector<Term> terms_;
};

/// Product of dimensions; 1 of none.
Size productOf(std::span<const Size> dims);

} // namespace platen::base
