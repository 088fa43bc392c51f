// Exact real arithmetic for tests: what IEEE 754 says a result is, computed with whole numbers and
// rounded once, bit by bit. It shares nothing with the simulator's own arithmetic.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace platen::ptxsim::testing {

/// A binary format: stored exponent and mantissa bits, and what its NaN looks like (0: it has
/// none).
struct Binary {
  int exponentBits, mantissaBits;
  uint64_t nan;
  bool hasInfinity = true;
  int bias() const { return (1 << (exponentBits - 1)) - 1; }
  int width() const { return exponentBits + mantissaBits + 1; }
  uint64_t signBit() const { return uint64_t{1} << (width() - 1); }
  /// The largest finite magnitude.
  uint64_t largest() const {
    uint64_t ones = signBit() - 1;
    return hasInfinity ? ones - (uint64_t{1} << mantissaBits) : nan != 0 ? ones - 1 : ones;
  }
  uint64_t infinity() const { return largest() + 1; } // e4m3: the NaN
};
inline constexpr Binary kBinary64{11, 52, 0x7FF8000000000000u}, kBinary32{8, 23, 0x7FFFFFFF},
    kBinary16{5, 10, 0x7FFF}, kBfloat16{8, 7, 0x7FFF}, kTf32{8, 10, 0x3FFFF},
    kE4M3{4, 3, 0x7F, false}, kE5M2{5, 2, 0x7F}, kE2M3{2, 3, 0, false}, kE3M2{3, 2, 0, false},
    kE2M1{2, 1, 0, false};

enum class Round { kNearest, kZero, kDown, kUp, kAway };

/// 1024 bits, enough to add anything whose leading bits are less than 400 places apart.
struct Wide {
  uint64_t word[16] = {};
  static Wide of(unsigned __int128 value) {
    Wide w;
    w.word[0] = static_cast<uint64_t>(value), w.word[1] = static_cast<uint64_t>(value >> 64);
    return w;
  }
  bool bit(int n) const { return n >= 0 && n < 1024 && (word[n / 64] >> (n % 64) & 1); }
  int top() const { // index of the highest bit that is set; -1 for zero
    for (int n = 15; n >= 0; --n)
      if (word[n] != 0)
        return n * 64 + 63 - std::countl_zero(word[n]);
    return -1;
  }
  Wide shifted(int left) const { // what falls off on the right is lost
    Wide result;
    for (int n = 0; n < 1024; ++n)
      if (bit(n) && n + left >= 0 && n + left < 1024)
        result.word[(n + left) / 64] |= uint64_t{1} << ((n + left) % 64);
    return result;
  }
  bool anyBelow(int n) const {
    for (int k = 0; k < n; ++k)
      if (bit(k))
        return true;
    return false;
  }
  Wide plus(const Wide &other) const {
    Wide result;
    unsigned carry = 0;
    for (int n = 0; n < 16; ++n) {
      unsigned __int128 sum = static_cast<unsigned __int128>(word[n]) + other.word[n] + carry;
      result.word[n] = static_cast<uint64_t>(sum), carry = static_cast<unsigned>(sum >> 64);
    }
    return result;
  }
  Wide minus(const Wide &other) const { // other <= *this
    Wide result;
    unsigned borrow = 0;
    for (int n = 0; n < 16; ++n) {
      auto difference = static_cast<unsigned __int128>(word[n]) - other.word[n] - borrow;
      result.word[n] = static_cast<uint64_t>(difference);
      borrow = static_cast<unsigned>(difference >> 64) & 1;
    }
    return result;
  }
  bool less(const Wide &other) const {
    for (int n = 15; n >= 0; --n)
      if (word[n] != other.word[n])
        return word[n] < other.word[n];
    return false;
  }
};

/// ±(magnitude + a little, if sticky) · 2^exponent, or an infinity or NaN.
struct Exact {
  bool isNan = false, isInfinite = false, negative = false, sticky = false;
  Wide magnitude;
  int exponent = 0;
  bool isZero() const { return !isNan && !isInfinite && magnitude.top() < 0 && !sticky; }
  Exact negated() const {
    Exact result = *this;
    result.negative = !negative;
    return result;
  }
  static Exact nan() {
    Exact result;
    result.isNan = true;
    return result;
  }
};

inline Exact unpack(uint64_t bits, const Binary &format) {
  Exact value;
  value.negative = bits & format.signBit();
  uint64_t magnitude = bits & (format.signBit() - 1);
  if (magnitude > format.largest()) {
    value.isInfinite = format.hasInfinity && magnitude == format.infinity();
    value.isNan = !value.isInfinite;
    return value;
  }
  int field = static_cast<int>(magnitude >> format.mantissaBits);
  uint64_t mantissa = magnitude & ((uint64_t{1} << format.mantissaBits) - 1);
  if (field != 0)
    mantissa |= uint64_t{1} << format.mantissaBits;
  value.magnitude = Wide::of(mantissa);
  value.exponent = (field == 0 ? 1 : field) - format.bias() - format.mantissaBits;
  return value;
}
inline Exact whole(__int128 value) {
  Exact result;
  result.negative = value < 0;
  result.magnitude = Wide::of(static_cast<unsigned __int128>(value < 0 ? -value : value));
  return result;
}

inline bool roundsAway(Round mode, bool negative, bool odd, bool half, bool below) {
  switch (mode) {
  case Round::kNearest:
    return half && (below || odd);
  case Round::kAway:
    return half;
  case Round::kDown:
    return negative && (half || below);
  case Round::kUp:
    return !negative && (half || below);
  default:
    return false;
  }
}

/// The bits of `value` in `format`. finite: beyond the range comes the largest finite value.
inline uint64_t pack(const Exact &value, const Binary &format, Round mode = Round::kNearest,
                     bool finite = false) {
  uint64_t sign = value.negative ? format.signBit() : 0;
  if (value.isNan)
    return format.nan != 0 ? format.nan : format.largest();
  uint64_t beyond =
      finite || format.infinity() >= format.signBit() ? format.largest() : format.infinity();
  if (value.isInfinite)
    return sign | beyond;
  if (value.isZero())
    return sign;
  int lead = value.magnitude.top() + value.exponent, least = 1 - format.bias();
  int unit = (lead > least ? lead : least) - format.mantissaBits; // exponent of the last place
  int cut = unit - value.exponent;                                // bits that are dropped
  Wide kept = value.magnitude.shifted(-cut);
  bool half = value.magnitude.bit(cut - 1);
  bool below = value.sticky || value.magnitude.anyBelow(cut - 1);
  uint64_t mantissa = kept.word[0];
  mantissa += roundsAway(mode, value.negative, mantissa & 1, half, below);
  int field = (lead > least ? lead : least) + format.bias();
  uint64_t bits = (static_cast<uint64_t>(field - 1) << format.mantissaBits) + mantissa;
  if (lead + format.bias() > (1 << format.exponentBits) || bits > format.largest()) {
    bool inwards = mode == Round::kZero || (mode == Round::kDown && !value.negative) ||
                   (mode == Round::kUp && value.negative);
    bits = inwards ? format.largest() : beyond;
  }
  return sign | bits;
}

/// Zero sums are positive, rounding down negative, unless both terms agree.
inline Exact sum(const Exact &a, const Exact &b, Round mode = Round::kNearest) {
  if (a.isNan || b.isNan || (a.isInfinite && b.isInfinite && a.negative != b.negative))
    return Exact::nan();
  if (a.isInfinite || b.isInfinite)
    return a.isInfinite ? a : b;
  if (a.isZero() && b.isZero()) {
    Exact zero = a;
    zero.negative = a.negative == b.negative ? a.negative : mode == Round::kDown;
    return zero;
  }
  if (a.isZero() || b.isZero())
    return a.isZero() ? b : a;
  const Exact *big = &a, *small = &b;
  if (a.magnitude.top() + a.exponent < b.magnitude.top() + b.exponent)
    std::swap(big, small);
  // The larger one moves left until it ends where the smaller one does, but at most 400 places.
  int lead = big->magnitude.top() + big->exponent;
  int gap = lead - (small->magnitude.top() + small->exponent);
  Exact result = *big;
  if (gap > 400) {
    result.magnitude = big->magnitude.shifted(300), result.exponent = big->exponent - 300;
    result.sticky = true;
    if (small->negative != big->negative)
      result.magnitude = result.magnitude.minus(Wide::of(1));
    return result;
  }
  int end = big->exponent < small->exponent ? big->exponent : small->exponent;
  Wide x = big->magnitude.shifted(big->exponent - end);
  Wide y = small->magnitude.shifted(small->exponent - end);
  result.exponent = end;
  if (big->negative == small->negative) {
    result.magnitude = x.plus(y);
  } else if (x.less(y)) {
    result.magnitude = y.minus(x), result.negative = small->negative;
  } else {
    result.magnitude = x.minus(y);
    if (result.magnitude.top() < 0)
      result.negative = mode == Round::kDown;
  }
  return result;
}

inline Exact product(const Exact &a, const Exact &b) {
  if (a.isNan || b.isNan || (a.isInfinite && b.isZero()) || (b.isInfinite && a.isZero()))
    return Exact::nan();
  Exact result;
  result.negative = a.negative != b.negative;
  result.isInfinite = a.isInfinite || b.isInfinite;
  if (result.isInfinite)
    return result;
  result.magnitude =
      Wide::of(static_cast<unsigned __int128>(a.magnitude.word[0]) * b.magnitude.word[0]);
  result.exponent = a.exponent + b.exponent;
  return result;
}

inline Exact quotient(const Exact &a, const Exact &b) {
  if (a.isNan || b.isNan || (a.isInfinite && b.isInfinite) || (a.isZero() && b.isZero()))
    return Exact::nan();
  Exact result;
  result.negative = a.negative != b.negative;
  result.isInfinite = a.isInfinite || b.isZero();
  if (result.isInfinite || a.isZero() || b.isInfinite)
    return result;
  int x = a.magnitude.top(), y = b.magnitude.top();
  auto above = static_cast<unsigned __int128>(a.magnitude.word[0]) << (126 - x);
  uint64_t below = b.magnitude.word[0] << (52 - y);
  result.magnitude = Wide::of(above / below);
  result.sticky = above % below != 0;
  result.exponent = a.exponent - (126 - x) - b.exponent + (52 - y);
  return result;
}

inline Exact root(const Exact &a) {
  if (a.isNan || (a.negative && !a.isZero()))
    return Exact::nan();
  if (a.isInfinite || a.isZero())
    return a;
  int shift = 120 - a.magnitude.top();
  shift += (a.exponent - shift) & 1; // the exponent becomes even
  auto square = static_cast<unsigned __int128>(a.magnitude.word[0]) << shift;
  unsigned __int128 low = 0;
  for (int n = 61; n >= 0; --n) {
    unsigned __int128 trial = low | static_cast<unsigned __int128>(1) << n;
    if (trial * trial <= square)
      low = trial;
  }
  Exact result;
  result.magnitude = Wide::of(low);
  result.sticky = low * low != square;
  result.exponent = (a.exponent - shift) / 2;
  return result;
}

/// To a whole number, as rni (kNearest), rzi, rmi and rpi do.
inline Exact integral(const Exact &a, Round mode) {
  if (a.isNan || a.isInfinite || a.isZero() || a.exponent >= 0)
    return a;
  int cut = -a.exponent;
  Exact result = a;
  result.magnitude = a.magnitude.shifted(-cut);
  result.exponent = 0;
  bool up = roundsAway(mode, a.negative, result.magnitude.bit(0), a.magnitude.bit(cut - 1),
                       a.magnitude.anyBelow(cut - 1));
  if (up)
    result.magnitude = result.magnitude.plus(Wide::of(1));
  return result;
}

} // namespace platen::ptxsim::testing
