// Unsigned arithmetic on sizes from outside: a wrapped product or sum becomes a Status, never a
// small number.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string>

#include "runtime/base/status.h"

namespace platen::base {

/// a + b. Errors: kCorrupt when it does not fit; `what` names the quantity.
template <std::unsigned_integral T> Result<T> checkedAdd(T a, T b, std::string_view what) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum))
    return corrupt(std::string(what) + ": " + std::to_string(a) + " + " + std::to_string(b) +
                   " overflows");
  return sum;
}

/// a * b. Errors: kCorrupt when it does not fit; `what` names the quantity.
template <std::unsigned_integral T> Result<T> checkedMul(T a, T b, std::string_view what) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product))
    return corrupt(std::string(what) + ": " + std::to_string(a) + " * " + std::to_string(b) +
                   " overflows");
  return product;
}

/// Whether [offset, offset + bytes) lies inside [0, limit), without overflow.
constexpr bool fitsInside(uint64_t offset, uint64_t bytes, uint64_t limit) {
  return offset <= limit && bytes <= limit - offset;
}

constexpr bool isPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

/// `value` rounded up to a multiple of `alignment`, a power of two. Requires that the result fits.
constexpr uint64_t alignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

} // namespace platen::base
