// cvt between scalar types, and the table of conversions. Packed formats: forms_convert_packed.cpp.
//
// A source register may be wider than its type (its low bits count), a destination too (it is
// sign- or zero-extended by the type). Conversions that kernels do much of (integers, f32 to and
// from the halves) are per-lane lambdas that vectorise; all others pass through f64, which holds
// every value of fewer bits, and are rounded once from there.
#include "tools/ptxsim/core/rounding.h"
#include "tools/ptxsim/core/scalar_forms.h"

#include <limits>

namespace platen::ptxsim {

bool lowerConvertPacked(Lowering &l, const Instruction &i); // forms_convert_packed.cpp
bool lowerConvertPack(Lowering &l, const Instruction &i);

namespace {

constexpr Format kF32Format{8, 23, true, true, 0x7FFFFFFF};

/// What the suffixes say. rounding: 0 rn, 1 rz, 2 rm, 3 rp; integral: the same for rni…, or -1.
struct Conversion {
  Type to = Type::kNone, from = Type::kNone;
  int rounding = 0, integral = -1;
  bool ftz = false, sat = false, relu = false, satfinite = false;
};

template <class F> bool withAnyInteger(Lowering &l, Type type, F f) {
  if (type == Type::kU8)
    return f(uint8_t{});
  if (type == Type::kS8)
    return f(int8_t{});
  return withInteger(l, type, f);
}
template <class F> bool withFloat(Lowering &l, Type type, F f) {
  switch (type) {
  case Type::kF16:
    return f(F16{});
  case Type::kBF16:
    return f(BF16{});
  case Type::kF32:
    return f(float{});
  case Type::kF64:
    return f(double{});
  default:
    return l.refuse("no type that it takes");
  }
}
bool isInteger(Type type) { return !ptx::isFloat(type); }

/// Conversions with .bf16 take registers of the very size of the types.
bool isExact(const Conversion &c) { return c.to == Type::kBF16 || c.from == Type::kBF16; }

/// Slot of the source, as wide as the type.
bool placeSource(Lowering &l, const Operand &operand, const Conversion &c, uint32_t &offset) {
  Type type = c.from;
  bool wide = ptx::bitsOf(type) == 64;
  Place place;
  if (l.isRegister(operand, place) && place.bits > ptx::bitsOf(type) && isExact(c))
    return l.refuse("with .bf16 the source register may not be wider than its type");
  if (l.isRegister(operand, place) && place.wide && !wide && !place.isPredicate) {
    offset = l.scratch(false);
    emitMapped<uint32_t, uint64_t>(l, [](uint64_t a) { return static_cast<uint32_t>(a); }, offset,
                                   {place.offset});
    return true;
  }
  if (!l.source(operand, wide, place, type == Type::kF32 ? Type::kF32 : Type::kNone))
    return false;
  if (place.bits != 0 && place.bits < ptx::bitsOf(type))
    return l.refuse("the source register is narrower than its type");
  offset = place.offset;
  return true;
}

/// Where the result goes: `offset` has the type's lanes; widen() then fills a wider register.
struct Result {
  Place place;
  uint32_t offset = 0;
  bool isScratch = false;
  bool place_(Lowering &l, const Operand &operand, const Conversion &c) {
    Type type = c.to;
    bool wide = ptx::bitsOf(type) == 64;
    if (!l.destination(operand, place, wide))
      return false;
    if (place.isPredicate || (place.bits != 0 && place.bits < ptx::bitsOf(type)))
      return l.refuse("the result register is narrower than its type");
    if (place.bits > ptx::bitsOf(type) && isExact(c))
      return l.refuse("with .bf16 the result register may not be wider than its type");
    isScratch = place.wide && !wide;
    offset = isScratch ? l.scratch(false) : place.offset;
    return true;
  }
  bool widen(Lowering &l, Type type) const {
    if (isScratch && ptx::isSigned(type))
      emitMapped<int64_t, int32_t>(l, [](int32_t a) { return int64_t{a}; }, place.offset, {offset});
    else if (isScratch)
      emitMapped<uint64_t, uint32_t>(l, [](uint32_t a) { return uint64_t{a}; }, place.offset,
                                     {offset});
    return true;
  }
};

template <class S, class D> D saturateTo(S a) {
  using Limits = std::numeric_limits<D>;
  return std::cmp_less(a, Limits::min())      ? Limits::min()
         : std::cmp_greater(a, Limits::max()) ? Limits::max()
                                              : static_cast<D>(a);
}
bool lowerIntegers(Lowering &l, const Instruction &i, const Conversion &c) {
  uint32_t source = 0;
  Place target;
  if (!placeSource(l, i.operands[1], c, source) ||
      !l.destination(i.operands[0], target, ptx::bitsOf(c.to) == 64))
    return false;
  if (target.isPredicate || (target.bits != 0 && target.bits < ptx::bitsOf(c.to)))
    return l.refuse("the result register is narrower than its type");
  return withAnyInteger(l, c.from, [&](auto s) {
    return withAnyInteger(l, c.to, [&](auto d) {
      using S = decltype(s);
      using D = decltype(d);
      auto emit = [&]<class R>(R) {
        if (c.sat)
          emitMapped<R, S>(l, [](S a) { return static_cast<R>(saturateTo<S, D>(a)); },
                           target.offset, {source});
        else
          emitMapped<R, S>(l, [](S a) { return static_cast<R>(static_cast<D>(a)); }, target.offset,
                           {source});
        return true;
      };
      return target.wide                             ? emit(uint64_t{})
             : target.bits == 16 || target.bits == 8 ? emit(uint16_t{})
                                                     : emit(uint32_t{});
    });
  });
}

template <class S> double toDouble(Lane<S> bits, bool ftz) {
  if constexpr (isHalf<S>)
    return toFloat(take<S>(bits));
  else if constexpr (std::is_same_v<S, float>)
    return ftz ? flush(take<float>(bits)) : take<float>(bits);
  else
    return take<S>(bits);
}
double toIntegral(double value, int mode) {
  switch (mode) {
  case 0:
    return std::nearbyint(value);
  case 1:
    return std::trunc(value);
  case 2:
    return std::floor(value);
  case 3:
    return std::ceil(value);
  default:
    return value;
  }
}

/// op.variant: rounding to an integer; variant2: .ftz; immediate: what NaN gives; wide: 64-bit
/// result; bytes: of the integer type; count: the bits of the register.
template <class S> void runToInteger(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<Lane<S>>(op.r[1]);
  int bits = op.bytes * 8;
  double low = op.isSigned ? -std::ldexp(1.0, bits - 1) : 0.0;
  double beyond = std::ldexp(1.0, op.isSigned ? bits - 1 : bits); // the first that is too large
  uint64_t largest = ~uint64_t{0} >> (64 - bits + op.isSigned);
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1))
      continue;
    double v = toIntegral(toDouble<S>(a[l], op.variant2), op.variant);
    uint64_t result = v != v        ? static_cast<uint64_t>(op.immediate)
                      : v >= beyond ? largest
                      : v <= low    ? (op.isSigned ? ~largest : 0)
                      : op.isSigned ? static_cast<uint64_t>(static_cast<int64_t>(v))
                                    : static_cast<uint64_t>(v);
    if (op.wide)
      warp.lanes<uint64_t>(op.r[0])[l] = result;
    else
      warp.lanes<uint32_t>(op.r[0])[l] =
          static_cast<uint32_t>(op.count == 16 || op.count == 8 ? result & 0xFFFF : result);
  }
}
/// f32 to s32: what quantisation does.
template <bool kNearest> struct ToInt {
  int32_t operator()(float a) const {
    float v = kNearest ? std::nearbyint(a) : a; // the conversion itself truncates
    float inside = v >= -0x1p31f && v < 0x1p31f ? v : 0.0f;
    int32_t result = static_cast<int32_t>(inside);
    return v >= 0x1p31f ? INT32_MAX : v < -0x1p31f ? INT32_MIN : result;
  }
};
bool lowerToInteger(Lowering &l, const Instruction &i, const Conversion &c) {
  uint32_t source = 0;
  Result result;
  if (!placeSource(l, i.operands[1], c, source) || !result.place_(l, i.operands[0], c))
    return false;
  if (c.from == Type::kF32 && c.to == Type::kS32 && c.integral < 2 && !c.ftz) {
    if (c.integral == 0)
      emitMapped<int32_t, float>(l, ToInt<true>{}, result.offset, {source});
    else
      emitMapped<int32_t, float>(l, ToInt<false>{}, result.offset, {source});
    return result.widen(l, c.to);
  }
  bool lowered = withFloat(l, c.from, [&](auto s) {
    uint32_t bits = ptx::bitsOf(c.to);
    Op &op = l.emit(&runToInteger<decltype(s)>);
    op.r[0] = result.offset, op.r[1] = source;
    op.variant = static_cast<uint8_t>(c.integral), op.variant2 = c.ftz;
    op.bytes = static_cast<uint8_t>(bits / 8), op.isSigned = ptx::isSigned(c.to);
    op.wide = bits == 64, op.count = result.place.bits;
    bool isZero = c.from != Type::kF64 && bits != 64;
    uint64_t nan = isZero ? 0 : uint64_t{1} << (bits - 1);
    op.immediate = static_cast<int64_t>(op.isSigned && !isZero ? 0 - nan : nan);
    return true;
  });
  return lowered && result.widen(l, c.to);
}

uint64_t encodeAs(Type to, double value, int mode, bool satfinite) {
  switch (to) {
  case Type::kF16:
    return encode(value, kF16Format, mode, satfinite);
  case Type::kBF16:
    return encode(value, kBF16Format, mode, satfinite);
  case Type::kF32:
    return encode(value, kF32Format, mode, satfinite);
  default:
    return std::bit_cast<uint64_t>(value);
  }
}
double saturateDouble(double v) { return v > 0 ? (v < 1 ? v : 1) : 0; }

/// An integer as a double that any later rounding to 51 bits or fewer takes for it.
template <class T> double oddDouble(T value) {
  bool negative = value < 0;
  uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  int excess = std::max(0, 11 - std::countl_zero(magnitude)); // bits beyond 53
  uint64_t kept = magnitude >> excess;
  kept |= (kept << excess) != magnitude;
  double result = std::ldexp(static_cast<double>(kept), excess);
  return negative ? -result : result;
}
/// Integer to half: variant is the rounding mode, variant2 .sat.
template <class S, class H> void runIntegerToHalf(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<Lane<S>>(op.r[1]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  const Format &format = std::is_same_v<H, F16> ? kF16Format : kBF16Format;
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1) {
      double v = oddDouble(take<S>(a[l]));
      target[l] = encode(op.variant2 ? saturateDouble(v) : v, format, op.variant, false);
    }
}
bool lowerFromInteger(Lowering &l, const Instruction &i, const Conversion &c) {
  uint32_t source = 0;
  Result result;
  if (!placeSource(l, i.operands[1], c, source) || !result.place_(l, i.operands[0], c))
    return false;
  bool lowered = withAnyInteger(l, c.from, [&](auto s) {
    using S = decltype(s);
    if (c.to == Type::kF32) {
      if (c.sat)
        emitMapped<float, S>(
            l, [](S a) { return saturate(static_cast<float>(a)); }, result.offset, {source},
            c.rounding);
      else
        emitMapped<float, S>(
            l, [](S a) { return static_cast<float>(a); }, result.offset, {source}, c.rounding);
      return true;
    }
    if (c.to == Type::kF64) {
      if (c.sat)
        emitMapped<double, S>(l, [](S a) { return a > 0 ? 1.0 : 0.0; }, result.offset, {source});
      else
        emitMapped<double, S>(
            l, [](S a) { return static_cast<double>(a); }, result.offset, {source}, c.rounding);
      return true;
    }
    Op &op = l.emit(c.to == Type::kF16 ? &runIntegerToHalf<S, F16> : &runIntegerToHalf<S, BF16>);
    op.r[0] = result.offset, op.r[1] = source;
    op.variant = static_cast<uint8_t>(c.rounding), op.variant2 = c.sat;
    return true;
  });
  return lowered && result.widen(l, c.to);
}

enum FloatFlags : uint8_t { kFtzIn = 1, kFtzOut = 2, kSat = 4, kRelu = 8, kSatfinite = 16 };
/// variant: rounding mode | integral mode + 1 << 4; variant2: FloatFlags; count: the target type.
template <class S> void runFloatToFloat(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<Lane<S>>(op.r[1]);
  auto to = static_cast<Type>(op.count);
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1))
      continue;
    double v = toDouble<S>(a[l], op.variant2 & kFtzIn);
    v = toIntegral(v, (op.variant >> 4) - 1);
    if (op.variant2 & kSat)
      v = saturateDouble(v);
    if (op.variant2 & kRelu)
      v = v <= 0 ? 0 : v;
    uint64_t bits = encodeAs(to, v, op.variant & 15, op.variant2 & kSatfinite);
    if (op.variant2 & kFtzOut && (bits & 0x7F800000) == 0)
      bits &= 0x80000000u;
    if (to == Type::kF64)
      warp.lanes<uint64_t>(op.r[0])[l] = bits;
    else
      warp.lanes<uint32_t>(op.r[0])[l] = static_cast<uint32_t>(bits);
  }
}
/// The conversions without flags that kernels do in their inner loops.
bool emitPlain(Lowering &l, const Conversion &c, uint32_t target, uint32_t source) {
  if (c.integral >= 0 || c.ftz || c.sat || c.relu || c.satfinite || c.rounding != 0)
    return false;
  if (c.from == Type::kF32 && c.to == Type::kF16)
    emitMapped<F16, float>(l, [](float a) { return narrow<F16>(a); }, target, {source});
  else if (c.from == Type::kF32 && c.to == Type::kBF16)
    emitMapped<BF16, float>(l, [](float a) { return narrow<BF16>(a); }, target, {source});
  else if (c.from == Type::kF16 && c.to == Type::kF32)
    emitMapped<float, F16>(l, [](F16 a) { return widen(a); }, target, {source});
  else if (c.from == Type::kBF16 && c.to == Type::kF32)
    emitMapped<float, BF16>(l, [](BF16 a) { return widen(a); }, target, {source});
  else if (c.from == Type::kF32 && c.to == Type::kF64)
    emitMapped<double, float>(l, [](float a) { return double{a}; }, target, {source});
  else if (c.from == Type::kF64 && c.to == Type::kF32)
    emitMapped<float, double>(l, [](double a) { return static_cast<float>(a); }, target, {source});
  else
    return false;
  return true;
}
bool lowerFloats(Lowering &l, const Instruction &i, const Conversion &c) {
  uint32_t source = 0;
  Result result;
  if (!placeSource(l, i.operands[1], c, source) || !result.place_(l, i.operands[0], c))
    return false;
  if (emitPlain(l, c, result.offset, source))
    return result.widen(l, c.to);
  bool lowered = withFloat(l, c.from, [&](auto s) {
    Op &op = l.emit(&runFloatToFloat<decltype(s)>);
    op.r[0] = result.offset, op.r[1] = source;
    op.variant = static_cast<uint8_t>(c.rounding | (c.integral + 1) << 4);
    op.variant2 = static_cast<uint8_t>(
        (c.ftz ? kFtzIn : 0) | (c.ftz && c.to == Type::kF32 ? kFtzOut : 0) | (c.sat ? kSat : 0) |
        (c.relu ? kRelu : 0) | (c.satfinite ? kSatfinite : 0));
    op.count = static_cast<uint32_t>(c.to);
    return true;
  });
  return lowered && result.widen(l, c.to);
}

/// Bits of precision: how much a float type keeps.
int precision(Type type) {
  return type == Type::kBF16 ? 8 : type == Type::kF16 ? 11 : type == Type::kF32 ? 24 : 53;
}
/// Whether every value of `inner` is one of `outer` (integers).
bool isSuperset(Type outer, Type inner) {
  uint32_t a = ptx::bitsOf(outer), b = ptx::bitsOf(inner);
  if (ptx::isSigned(outer) == ptx::isSigned(inner))
    return a >= b;
  return ptx::isSigned(outer) && a > b;
}

/// Takes the rounding suffix that the types ask for, and refuses the one they forbid.
bool readRounding(Lowering &l, Suffixes &s, Conversion &c) {
  std::string_view integral = s.takeOneOf({"rni", "rzi", "rmi", "rpi"});
  c.integral = integral == "rni"   ? 0
               : integral == "rzi" ? 1
               : integral == "rmi" ? 2
               : integral == "rpi" ? 3
                                   : -1;
  c.rounding = s.takeRounding(false);
  bool toInteger = isInteger(c.to), fromInteger = isInteger(c.from);
  bool needsIntegral = toInteger && !fromInteger, mayIntegral = c.to == c.from && !toInteger;
  if (needsIntegral != (c.integral >= 0) && !mayIntegral)
    return l.refuse(needsIntegral ? "it needs an integer rounding mode such as .rzi"
                                  : "an integer rounding mode does not fit here");
  bool isHalves = (c.to == Type::kF16 && c.from == Type::kBF16) ||
                  (c.to == Type::kBF16 && c.from == Type::kF16);
  bool needsFloat = !toInteger && (fromInteger || precision(c.to) < precision(c.from));
  bool mayFloat = isHalves || (c.from == Type::kBF16 && !toInteger && c.to != c.from);
  if (needsFloat != s.hasRounding && !mayFloat)
    return l.refuse(needsFloat ? "it needs a rounding mode such as .rn"
                               : "a rounding mode does not fit here");
  return true;
}

bool lowerCvt(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (l.has(i, "pack"))
    return lowerConvertPack(l, i);
  Conversion c;
  c.to = s.takeType(), c.from = s.takeType();
  auto isScalar = [](Type type) {
    return type == Type::kU8 || type == Type::kS8 || type == Type::kU16 || type == Type::kS16 ||
           type == Type::kU32 || type == Type::kS32 || type == Type::kU64 || type == Type::kS64 ||
           type == Type::kF16 || type == Type::kBF16 || type == Type::kF32 || type == Type::kF64;
  };
  if (!isScalar(c.to) || !isScalar(c.from))
    return lowerConvertPacked(l, i);
  if (!readRounding(l, s, c))
    return false;
  bool toInteger = isInteger(c.to), fromInteger = isInteger(c.from);
  bool mayFlush = c.to == Type::kF32 || c.from == Type::kF32;
  c.ftz = mayFlush && s.take("ftz");
  bool maySaturate = toInteger && fromInteger ? !isSuperset(c.to, c.from) : !isExact(c);
  c.sat = maySaturate && s.take("sat");
  if (c.from == Type::kF32 && (c.to == Type::kF16 || c.to == Type::kBF16) && c.rounding < 2)
    c.relu = s.take("relu"), c.satfinite = s.take("satfinite");
  if (!s.understood() || !l.operands(i, 2, 2))
    return false;
  if (c.sat && (c.relu || c.satfinite))
    return l.refuse("'.sat' does not go with '.relu' and '.satfinite'");
  return toInteger && fromInteger ? lowerIntegers(l, i, c)
         : toInteger              ? lowerToInteger(l, i, c)
         : fromInteger            ? lowerFromInteger(l, i, c)
                                  : lowerFloats(l, i, c);
}

constexpr Form kConvertForms[] = {{"cvt", lowerCvt, Pipe::kAlu}};

} // namespace

std::span<const Form> convertForms() {
  static const std::vector<Form> all = [] {
    std::vector<Form> forms(std::begin(kConvertForms), std::end(kConvertForms));
    forms.insert(forms.end(), moveForms().begin(), moveForms().end());
    return forms;
  }();
  return all;
}

} // namespace platen::ptxsim
