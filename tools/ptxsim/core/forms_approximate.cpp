// Division and the functions that hardware approximates: div rcp sqrt rsqrt sin cos lg2 ex2 tanh.
//
// The exactly rounded forms are the host's. The approximate ones are computed in f64 and rounded to
// f32: better than the bounds of the ISA, hence not bit for bit what a GPU gives; the special
// values are the documented ones.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

constexpr uint64_t kHighWord = 0xFFFFFFFF00000000u, kSign64 = uint64_t{1} << 63;

template <class F, bool kFtz> struct Function {
  template <class... A> float operator()(A... a) const {
    if constexpr (kFtz)
      return flush(F{}(flush(a)...));
    return F{}(a...);
  }
};

struct Divide {
  float operator()(float a, float b) const { return a / b; }
};
/// a * (1 / b): where 1 / b would be subnormal it counts as zero.
struct DivideApproximately {
  float operator()(float a, float b) const {
    float magnitude = std::fabs(b), result = a / b;
    bool isHuge = magnitude > 0x1p126f && magnitude < HUGE_VALF;
    return isHuge ? a * std::copysign(0.0f, b) : result; // infinity or NaN times zero: NaN
  }
};
struct Reciprocal {
  float operator()(float a) const { return 1.0f / a; }
};
struct SquareRoot {
  float operator()(float a) const { return std::sqrt(a); }
};
struct ReciprocalRoot {
  float operator()(float a) const { return static_cast<float>(1.0 / std::sqrt(double{a})); }
};
struct Sine {
  float operator()(float a) const { return static_cast<float>(std::sin(double{a})); }
};
struct Cosine {
  float operator()(float a) const { return static_cast<float>(std::cos(double{a})); }
};
struct Log2 {
  float operator()(float a) const { return static_cast<float>(std::log2(double{a})); }
};
struct Tanh {
  float operator()(float a) const { return static_cast<float>(std::tanh(double{a})); }
};
/// 2^a = 2^n 2^f with n whole and |f| <= 1/2; the series of e^(f ln 2) up to the tenth power, whose
/// error is below 2^-42. Written so that the compiler vectorises it.
struct Exp2 {
  float operator()(float a) const {
    double x = a;
    x = x < -1000 ? -1000 : x > 1000 ? 1000 : x;
    double shifted = x + 0x1.8p52, n = shifted - 0x1.8p52; // the bits of `shifted` end in n
    double f = (x - n) * 0.693147180559945309417;
    double sum = 1.0 / 3628800;
    sum = sum * f + 1.0 / 362880;
    sum = sum * f + 1.0 / 40320;
    sum = sum * f + 1.0 / 5040;
    sum = sum * f + 1.0 / 720;
    sum = sum * f + 1.0 / 120;
    sum = sum * f + 1.0 / 24;
    sum = sum * f + 1.0 / 6;
    sum = sum * f + 0.5;
    sum = sum * f + 1.0;
    sum = sum * f + 1.0;
    double scale = std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023) << 52);
    return static_cast<float>(sum * scale);
  }
};

/// f32 function: refuses what understood() has left; `ftz` was taken before.
template <class F>
bool emitUnary(Lowering &l, const Instruction &i, bool ftz, bool rounded = false) {
  return ftz ? l.map<float, float>(i, Function<F, true>{}, rounded)
             : l.map<float, float>(i, Function<F, false>{}, rounded);
}
template <class F>
bool emitBinary(Lowering &l, const Instruction &i, bool ftz, bool rounded = false) {
  return ftz ? l.map<float, float, float>(i, Function<F, true>{}, rounded)
             : l.map<float, float, float>(i, Function<F, false>{}, rounded);
}

/// `.approx` or a rounding mode, exactly one of them; approximate: which.
bool takePrecision(Lowering &l, Suffixes &s, bool &approximate) {
  approximate = s.take("approx");
  if (!approximate && s.takeRounding(true) < 0)
    return l.refuse("it needs .approx or a rounding mode such as .rn");
  return true;
}

/// f(a) where a counts only with its upper word and so does the result; subnormals are zero.
template <bool kRoot> double highWordReciprocal(double a) {
  uint64_t bits = std::bit_cast<uint64_t>(a) & kHighWord;
  if ((bits & ~kSign64) > 0x7FF0000000000000u)
    return std::bit_cast<double>(uint64_t{0x7FFFFFFF00000000u});
  if ((bits & 0x7FF0000000000000u) == 0)
    bits &= kSign64;
  double x = std::bit_cast<double>(bits);
  if (kRoot && x < 0)
    return std::bit_cast<double>(uint64_t{0x7FFFFFFF00000000u});
  double result = kRoot ? 1.0 / std::sqrt(x) : 1.0 / x;
  uint64_t out = (std::bit_cast<uint64_t>(result) + 0x80000000u) & kHighWord;
  if ((out & 0x7FF0000000000000u) == 0)
    out &= kSign64;
  return std::bit_cast<double>(out);
}

bool lowerRcp(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool approximate = false;
  Type type = s.takeType();
  if (!takePrecision(l, s, approximate))
    return false;
  bool ftz = (type == Type::kF32 || approximate) && s.take("ftz");
  if (!s.understood())
    return false;
  if (type == Type::kF32)
    return emitUnary<Reciprocal>(l, i, ftz, !approximate);
  if (type != Type::kF64)
    return l.refuse("it takes .f32 and .f64");
  if (!approximate)
    return l.map<double, double>(i, [](double a) { return 1.0 / a; }, true);
  if (!ftz)
    return l.refuse("the approximate f64 form needs .ftz");
  return l.map<double, double>(i, [](double a) { return highWordReciprocal<false>(a); });
}

bool lowerSqrt(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool approximate = false;
  Type type = s.takeType();
  if (!takePrecision(l, s, approximate))
    return false;
  bool ftz = type == Type::kF32 && s.take("ftz");
  if (!s.understood())
    return false;
  if (type == Type::kF32)
    return emitUnary<SquareRoot>(l, i, ftz, !approximate);
  if (type != Type::kF64 || approximate)
    return l.refuse("it takes .f32, and .f64 with a rounding mode");
  return l.map<double, double>(i, [](double a) { return std::sqrt(a); }, true);
}

bool lowerRsqrt(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  if (!s.take("approx"))
    return l.refuse("it needs .approx");
  bool ftz = s.take("ftz");
  if (!s.understood())
    return false;
  if (type == Type::kF32)
    return emitUnary<ReciprocalRoot>(l, i, ftz);
  if (type != Type::kF64)
    return l.refuse("it takes .f32 and .f64");
  if (ftz)
    return l.map<double, double>(i, [](double a) { return highWordReciprocal<true>(a); });
  return l.map<double, double>(
      i, [](double a) { return static_cast<double>(1.0L / sqrtl(static_cast<long double>(a))); });
}

/// A function with only an approximate form: sin cos lg2 ex2 tanh.
template <class F> bool lowerFunction(Lowering &l, const Instruction &i, bool mayFlush) {
  Suffixes s(l, i);
  if (s.takeType() != Type::kF32 || !s.take("approx"))
    return l.refuse("it needs .approx and .f32");
  bool ftz = mayFlush && s.take("ftz");
  return s.understood() && emitUnary<F>(l, i, ftz);
}
bool lowerSin(Lowering &l, const Instruction &i) { return lowerFunction<Sine>(l, i, true); }
bool lowerCos(Lowering &l, const Instruction &i) { return lowerFunction<Cosine>(l, i, true); }
bool lowerLg2(Lowering &l, const Instruction &i) { return lowerFunction<Log2>(l, i, true); }
bool lowerEx2(Lowering &l, const Instruction &i) {
  return l.has(i, "f32") ? lowerFunction<Exp2>(l, i, true) : lowerHalfUnary(l, i);
}
bool lowerTanh(Lowering &l, const Instruction &i) {
  return l.has(i, "f32") ? lowerFunction<Tanh>(l, i, false) : lowerHalfUnary(l, i);
}

constexpr Form kApproximateForms[] = {
    {"rcp", lowerRcp, Pipe::kSfu},     {"sqrt", lowerSqrt, Pipe::kSfu},
    {"rsqrt", lowerRsqrt, Pipe::kSfu}, {"sin", lowerSin, Pipe::kSfu},
    {"cos", lowerCos, Pipe::kSfu},     {"lg2", lowerLg2, Pipe::kSfu},
    {"ex2", lowerEx2, Pipe::kSfu},     {"tanh", lowerTanh, Pipe::kSfu},
};

} // namespace

bool lowerFloatDivide(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  bool isFull = s.take("full"), approximate = false;
  if (!isFull && !takePrecision(l, s, approximate))
    return false;
  bool ftz = type == Type::kF32 && s.take("ftz");
  if (!s.understood())
    return false;
  bool lowered = false;
  if (type == Type::kF32)
    lowered = approximate ? emitBinary<DivideApproximately>(l, i, ftz)
                          : emitBinary<Divide>(l, i, ftz, !isFull);
  else if (type == Type::kF64 && !isFull && !approximate)
    lowered = l.map<double, double, double>(i, [](double a, double b) { return a / b; }, true);
  else
    return l.refuse("it takes .f32, and .f64 with a rounding mode");
  if (lowered)
    l.code().ops.back().pipe = Pipe::kSfu;
  return lowered;
}

std::span<const Form> approximateForms() { return kApproximateForms; }

} // namespace platen::ptxsim
