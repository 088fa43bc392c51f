// Arithmetic of f32, f64, f32x2 and mixed precision: add sub mul fma mad abs neg min max copysign.
//
// Rounding modes other than to nearest run under the host's rounding mode; the handlers are the
// same. f32 results that are NaN are the canonical NaN; f64 keeps payloads as the host does. `.ftz`
// flushes what is subnormal before and after the operation, after rounding.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

struct Add {
  template <class T> T operator()(T a, T b) const { return a + b; }
};
struct Sub {
  template <class T> T operator()(T a, T b) const { return a - b; }
};
struct Mul {
  template <class T> T operator()(T a, T b) const { return a * b; }
};
struct Fma {
  float operator()(float a, float b, float c) const { return __builtin_fmaf(a, b, c); }
  double operator()(double a, double b, double c) const { return __builtin_fma(a, b, c); }
};

template <class F, bool kFtz, bool kSat> struct Single {
  template <class... A> float operator()(A... a) const {
    if constexpr (!kFtz && !kSat)
      return F{}(a...);
    float result = F{}(kFtz ? flush(a) : a...);
    result = kFtz ? flush(result) : result;
    return kSat ? saturate(result) : result;
  }
};
/// A NaN result is the first operand that is one, made quiet; the host's where there is none.
template <class F> struct WithPayload {
  template <class... A> double operator()(A... a) const {
    double result = F{}(a...), nan = result;
    auto bits = [](double v) { return std::bit_cast<uint64_t>(v) | uint64_t{1} << 51; };
    bool found = false;
    ((nan = !found && a != a ? std::bit_cast<double>(bits(a)) : nan, found |= a != a), ...);
    return result != result ? nan : result;
  }
};
/// Both halves of 64-bit operands.
template <class F> struct Packed {
  template <class... A> uint64_t operator()(A... a) const {
    auto part = [](uint64_t v, int shift) {
      return std::bit_cast<float>(static_cast<uint32_t>(v >> shift));
    };
    return give<float>(F{}(part(a, 0)...)) | uint64_t{give<float>(F{}(part(a, 32)...))} << 32;
  }
};
/// The first operand, or the first two, are halves.
template <class H, class F, bool kSat> struct Mixed {
  float operator()(H a, float c) const { return finish(F{}(toFloat(a), c)); }
  float operator()(H a, H b, float c) const { return finish(F{}(toFloat(a), toFloat(b), c)); }
  static float finish(float f) { return kSat ? saturate(f) : f; }
};

bool onFmaPipe(Lowering &l, bool lowered) {
  if (lowered)
    l.code().ops.back().pipe = Pipe::kFma;
  return lowered;
}

/// Calls f with two std::bool_constant.
template <class F> bool withFlags(bool a, bool b, F f) {
  using True = std::true_type;
  using False = std::false_type;
  return a ? (b ? f(True{}, True{}) : f(True{}, False{}))
           : (b ? f(False{}, True{}) : f(False{}, False{}));
}

/// What follows the rounding mode: which width, and the flags that it allows.
struct FloatSuffixes {
  std::string_view type, mixed;
  bool ftz = false, sat = false;
  bool read(Lowering &l, Suffixes &s, bool roundingNeeded, bool mayMix) {
    int mode = s.takeRounding(roundingNeeded);
    type = s.takeOneOf({"f32", "f64", "f32x2"});
    if (type == "f32" && mayMix)
      mixed = s.takeOneOf({"f16", "bf16"});
    ftz = type != "f64" && mixed.empty() && s.take("ftz");
    sat = type == "f32" && s.take("sat");
    if (type.empty())
      return l.refuse("no type that it takes");
    if (mode < 0)
      return l.refuse("it needs a rounding mode such as .rn");
    return s.understood();
  }
};

template <class F, class H>
bool emitMixed(Lowering &l, const Instruction &i, bool sat, bool isFma) {
  if constexpr (std::is_same_v<F, Fma>)
    return sat ? l.map<float, H, H, float>(i, Mixed<H, F, true>{}, isFma)
               : l.map<float, H, H, float>(i, Mixed<H, F, false>{}, isFma);
  else
    return sat ? l.map<float, H, float>(i, Mixed<H, F, true>{}, true)
               : l.map<float, H, float>(i, Mixed<H, F, false>{}, true);
}

template <class F, class... A>
bool emitArithmetic(Lowering &l, const Instruction &i, const FloatSuffixes &s) {
  if (s.mixed == "f16")
    return emitMixed<F, F16>(l, i, s.sat, true);
  if (s.mixed == "bf16")
    return emitMixed<F, BF16>(l, i, s.sat, true);
  constexpr bool isFma = std::is_same_v<F, Fma>;
  if (s.type == "f64") {
    if constexpr (isFma)
      return l.map<double, double, double, double>(i, WithPayload<F>{}, true);
    else
      return l.map<double, double, double>(i, WithPayload<F>{}, true);
  }
  return withFlags(s.ftz, s.sat, [&](auto ftz, auto sat) {
    using S = Single<F, ftz.value, sat.value>;
    if (s.type == "f32") {
      if constexpr (isFma)
        return l.map<float, float, float, float>(i, S{}, true);
      else
        return l.map<float, float, float>(i, S{}, true);
    }
    using W = uint64_t;
    if constexpr (sat.value)
      return l.refuse("suffix '.sat' does not fit the type");
    else if constexpr (isFma)
      return l.map<W, W, W, W>(i, Packed<S>{}, true);
    else
      return l.map<W, W, W>(i, Packed<S>{}, true);
  });
}

/// What min and max do to two values; T is float or double.
template <bool kMin, bool kNan, class T> T extreme(T a, T b) {
  using U = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  U x = std::bit_cast<U>(a), y = std::bit_cast<U>(b);
  T chosen = kMin ? (a < b ? a : b) : (a > b ? a : b);
  // Equal values differ at most in the sign of zero: -0 is the smaller one.
  chosen = a == b ? std::bit_cast<T>(kMin ? x | y : x & y) : chosen;
  if (kNan)
    return a != a ? a : chosen; // a NaN in b was chosen already
  return b != b ? a : chosen;
}
template <bool kMin, bool kNan, bool kAbs, bool kXor, bool kFtz> struct Extreme {
  float operator()(float a, float b) const {
    if (kFtz)
      a = flush(a), b = flush(b);
    uint32_t sign = (std::bit_cast<uint32_t>(a) ^ std::bit_cast<uint32_t>(b)) & 0x80000000u;
    if (kAbs)
      a = std::fabs(a), b = std::fabs(b);
    float result = extreme<kMin, kNan>(a, b);
    // give() makes every NaN canonical, so its sign may be set here.
    return kXor ? std::bit_cast<float>(std::bit_cast<uint32_t>(result) | sign) : result;
  }
  float operator()(float a, float b, float c) const {
    if (kFtz)
      a = flush(a), b = flush(b), c = flush(c);
    if (kAbs)
      a = std::fabs(a), b = std::fabs(b), c = std::fabs(c);
    return extreme<kMin, kNan>(extreme<kMin, kNan>(a, b), c);
  }
};
template <bool kMin> bool emitExtreme(Lowering &l, const Instruction &i, Suffixes &s) {
  if (s.take("f64"))
    return s.understood() && l.map<double, double, double>(
                                 i, [](double a, double b) { return extreme<kMin, false>(a, b); });
  if (!s.take("f32"))
    return l.refuse("no type that it takes");
  bool isNan = s.take("NaN"), isFtz = s.take("ftz"), isXor = s.take("xorsign"),
       isAbs = s.take("abs");
  bool three = i.operands.size() == 4;
  if (!s.understood())
    return false;
  if (isXor && (three || !isAbs))
    return l.refuse("'.xorsign' needs '.abs' and two inputs");
  if (isAbs && !isXor && !three)
    return l.refuse("'.abs' alone needs three inputs");
  return withFlags(isNan, isFtz, [&](auto nan, auto ftz) {
    if (three)
      return isAbs ? l.map<float, float, float, float>(
                         i, Extreme<kMin, nan.value, true, false, ftz.value>{})
                   : l.map<float, float, float, float>(
                         i, Extreme<kMin, nan.value, false, false, ftz.value>{});
    return isXor
               ? l.map<float, float, float>(i, Extreme<kMin, nan.value, true, true, ftz.value>{})
               : l.map<float, float, float>(i, Extreme<kMin, nan.value, false, false, ftz.value>{});
  });
}

bool lowerCopysign(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  if (!s.understood())
    return false;
  using W = uint32_t;
  using D = uint64_t;
  if (type == Type::kF32)
    return l.map<W, W, W>(i, [](W a, W b) { return (a & 0x80000000u) | (b & 0x7FFFFFFFu); });
  if (type == Type::kF64)
    return l.map<D, D, D>(i, [](D a, D b) { return (a & ~(~D{0} >> 1)) | (b & ~D{0} >> 1); });
  return l.refuse("it takes .f32 and .f64");
}

bool lowerFmaForm(Lowering &l, const Instruction &i) { return lowerFma(l, i); }

constexpr Form kFloatForms[] = {
    {"fma", lowerFmaForm, Pipe::kFma},
    {"copysign", lowerCopysign, Pipe::kAlu},
};

bool isHalfForm(const Instruction &i) {
  for (std::string_view part : i.parts)
    if (part == "f32" || part == "f64" || part == "f32x2")
      return false;
  return true;
}

} // namespace

bool lowerFloatBinary(Lowering &l, const Instruction &i) {
  if (isHalfForm(i))
    return onFmaPipe(l, lowerHalfBinary(l, i));
  Suffixes s(l, i);
  FloatSuffixes suffixes;
  if (!suffixes.read(l, s, false, i.parts[0] != "mul"))
    return false;
  return onFmaPipe(l, i.parts[0] == "add"   ? emitArithmetic<Add>(l, i, suffixes)
                      : i.parts[0] == "sub" ? emitArithmetic<Sub>(l, i, suffixes)
                                            : emitArithmetic<Mul>(l, i, suffixes));
}

/// fma and the floating-point mad, which is the same.
bool lowerFma(Lowering &l, const Instruction &i) {
  bool isMad = i.parts[0] == "mad";
  if (isHalfForm(i))
    return isMad ? l.refuse("it takes .f32 and .f64") : lowerHalfFma(l, i);
  Suffixes s(l, i);
  FloatSuffixes suffixes;
  if (!suffixes.read(l, s, true, !isMad))
    return false;
  if (isMad && suffixes.type == "f32x2")
    return l.refuse("it takes .f32 and .f64");
  return emitArithmetic<Fma>(l, i, suffixes);
}

bool lowerFloatSign(Lowering &l, const Instruction &i) {
  if (isHalfForm(i))
    return lowerHalfUnary(l, i);
  Suffixes s(l, i);
  bool isAbs = i.parts[0] == "abs";
  Type type = s.takeType();
  bool ftz = type == Type::kF32 && s.take("ftz");
  if (!s.understood())
    return false;
  using D = uint64_t;
  if (type == Type::kF64) // payloads and all
    return isAbs ? l.map<D, D>(i, [](D a) { return a & ~D{0} >> 1; })
                 : l.map<D, D>(i, [](D a) { return a ^ D { 1 } << 63; });
  if (type != Type::kF32)
    return l.refuse("no type that it takes");
  if (isAbs)
    return ftz ? l.map<float, float>(i, [](float a) { return std::fabs(flush(a)); })
               : l.map<float, float>(i, [](float a) { return std::fabs(a); });
  return ftz ? l.map<float, float>(i, [](float a) { return -flush(a); })
             : l.map<float, float>(i, [](float a) { return -a; });
}

bool lowerFloatExtreme(Lowering &l, const Instruction &i) {
  if (isHalfForm(i))
    return lowerHalfExtreme(l, i);
  Suffixes s(l, i);
  return i.parts[0] == "min" ? emitExtreme<true>(l, i, s) : emitExtreme<false>(l, i, s);
}

std::span<const Form> floatForms() {
  static const std::vector<Form> all = [] {
    std::vector<Form> forms(std::begin(kFloatForms), std::end(kFloatForms));
    forms.insert(forms.end(), approximateForms().begin(), approximateForms().end());
    return forms;
  }();
  return all;
}

} // namespace platen::ptxsim
