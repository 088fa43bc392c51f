// Arithmetic of f16, bf16 and their pairs: add sub mul fma abs neg min max tanh ex2.
//
// Each result is rounded once: sums of halves are rounded right through f32 (24 >= 2p + 2 bits),
// and their products are exact in it; fma passes through f32 rounded to odd. Products of bf16 that
// f32 cannot hold take the way through f64, rounded to odd as well.
#include "tools/ptxsim/core/rounding.h"
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

struct Add {
  template <class H> [[gnu::always_inline]] static H of(H a, H b) {
    return narrow<H>(widen(a) + widen(b));
  }
};
struct Sub {
  template <class H> [[gnu::always_inline]] static H of(H a, H b) {
    return narrow<H>(widen(a) - widen(b));
  }
};
/// Exact before it is narrowed, unless f32 is too small for a product of bf16.
struct MulInFloat {
  template <class H> [[gnu::always_inline]] static H of(H a, H b) {
    return narrow<H>(widen(a) * widen(b));
  }
};
struct FmaInFloat {
  template <class H> [[gnu::always_inline]] static H of(H a, H b, H c) {
    return narrow<H>(oddSum(widen(a) * widen(b), widen(c)));
  }
};
struct Mul {
  using Fast = MulInFloat;
  template <class H> [[gnu::always_inline]] static H of(H a, H b) {
    if constexpr (std::is_same_v<H, F16>)
      return Fast::of(a, b);
    return narrow<H>(oddFloat(double{widen(a)} * widen(b)));
  }
};
struct Fma {
  using Fast = FmaInFloat;
  template <class H> [[gnu::always_inline]] static H of(H a, H b, H c) {
    if constexpr (std::is_same_v<H, F16>)
      return Fast::of(a, b, c);
    return narrow<H>(oddFloat(oddSum(double{widen(a)} * widen(b), double{widen(c)})));
  }
};
struct Abs {
  template <class H> [[gnu::always_inline]] static H of(H a) {
    return narrow<H>(std::fabs(widen(a)));
  }
};
struct Neg {
  template <class H> [[gnu::always_inline]] static H of(H a) { return narrow<H>(-widen(a)); }
};
struct Tanh {
  template <class H> [[gnu::always_inline]] static H of(H a) {
    return narrow<H>(oddFloat(std::tanh(double{widen(a)})));
  }
};
struct Exp2 {
  template <class H> [[gnu::always_inline]] static H of(H a) {
    return narrow<H>(oddFloat(std::exp2(double{widen(a)})));
  }
};
template <bool kMin, bool kNan, bool kXor> struct Extreme {
  template <class H> [[gnu::always_inline]] static H of(H a, H b) {
    uint32_t sign = (a.bits ^ b.bits) & 0x8000u;
    float x = widen(a), y = widen(b);
    if (kXor)
      x = std::fabs(x), y = std::fabs(y);
    uint32_t u = std::bit_cast<uint32_t>(x), v = std::bit_cast<uint32_t>(y);
    float chosen = kMin ? (x < y ? x : y) : (x > y ? x : y);
    chosen = x == y ? std::bit_cast<float>(kMin ? u | v : u & v) : chosen; // -0 < +0
    chosen = kNan ? (x != x ? x : chosen) : (y != y ? x : chosen);
    H result = narrow<H>(chosen);
    bool isNan = chosen != chosen;
    return H{static_cast<uint16_t>(kXor && !isNan ? result.bits | sign : result.bits)};
  }
};

enum Clamp { kNone, kSat, kRelu };
template <Clamp kClamp, class H> [[gnu::always_inline]] inline H clampTo(H h) {
  uint32_t bits = h.bits;
  if (kClamp == kRelu) // a NaN is canonical by now, and positive
    return H{static_cast<uint16_t>(bits & 0x8000 ? 0 : bits)};
  if (kClamp == kSat) {
    uint32_t top = bits > kOneBits<H> ? kOneBits<H> : bits;
    return H{static_cast<uint16_t>(bits > kExponentMask<H> ? 0 : top)}; // NaN and negative: 0
  }
  return h;
}

template <class F, bool kFtz, Clamp kClamp> struct Scalar {
  template <class H, class... A> [[gnu::always_inline]] H operator()(H first, A... rest) const {
    if constexpr (kFtz)
      return clampTo<kClamp>(flushHalf(F::of(flushHalf(first), flushHalf(rest)...)));
    return clampTo<kClamp>(F::of(first, rest...));
  }
};
template <class S> struct Paired {
  template <class H, class... A>
  [[gnu::always_inline]] Pair<H> operator()(Pair<H> first, A... rest) const {
    return {S{}(first.lo, rest.lo...), S{}(first.hi, rest.hi...)};
  }
};

/// Whether f32 holds the product of two bf16 exactly, with room for an addend.
bool fitsFloat(uint32_t a, uint32_t b) {
  float product = std::bit_cast<float>(a << 16) * std::bit_cast<float>(b << 16);
  uint32_t magnitude = std::bit_cast<uint32_t>(product) & 0x7FFFFFFFu;
  bool isZero = (a & 0x7FFF) == 0 || (b & 0x7FFF) == 0;
  return isZero || (magnitude >= 0x00010000u && magnitude < 0x7F000000u);
}
/// Through f32 where every lane's product of bf16 allows it, else through f64, which is slower.
template <class V, class Fast, class Slow, class... A>
void runGuarded(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<uint32_t>(op.r[1]), *b = warp.lanes<uint32_t>(op.r[2]);
  uint32_t misfits = 0;
  for (int l = 0; l < 32; ++l) {
    misfits |= !fitsFloat(a[l] & 0xFFFF, b[l] & 0xFFFF);
    misfits |= isPair<V> && !fitsFloat(a[l] >> 16, b[l] >> 16);
  }
  if (misfits)
    Mapped<Slow, V, A...>::run(warp, op, mask);
  else
    Mapped<Fast, V, A...>::run(warp, op, mask);
}
template <class F>
concept HasFast = requires { typename F::Fast; };

template <class F, bool kFtz, Clamp kClamp, size_t... n>
bool emitTyped(Lowering &l, const Instruction &i, Type type, std::index_sequence<n...>) {
  using S = Scalar<F, kFtz, kClamp>;
  auto emit = [&]<class V, class Op>(V, Op op) {
    return l.map<V, std::enable_if_t<(n >= 0), V>...>(i, op);
  };
  if (type == Type::kF16)
    return emit(F16{}, S{});
  if (type == Type::kF16x2)
    return emit(F16x2{}, Paired<S>{});
  if constexpr (!kFtz || std::is_same_v<F, Exp2>) {
    if (type != Type::kBF16 && type != Type::kBF16x2)
      return l.refuse("no type that it takes");
    if (!(type == Type::kBF16 ? emit(BF16{}, S{}) : emit(BF16x2{}, Paired<S>{})))
      return false;
    if constexpr (HasFast<F>) {
      using Fast = Scalar<typename F::Fast, kFtz, kClamp>;
      l.code().ops.back().run =
          type == Type::kBF16
              ? &runGuarded<BF16, Fast, S, std::enable_if_t<(n >= 0), BF16>...>
              : &runGuarded<BF16x2, Paired<Fast>, Paired<S>, std::enable_if_t<(n >= 0), BF16x2>...>;
    }
    return true;
  }
  return l.refuse("no type that it takes");
}
template <class F, size_t kSources, Clamp kClamp = kNone>
bool emitHalf(Lowering &l, const Instruction &i, Type type, bool ftz) {
  std::make_index_sequence<kSources> sources;
  return ftz ? emitTyped<F, true, kClamp>(l, i, type, sources)
             : emitTyped<F, false, kClamp>(l, i, type, sources);
}

bool isF16(Type type) { return type == Type::kF16 || type == Type::kF16x2; }

template <class F>
bool emitBinary(Lowering &l, const Instruction &i, Type type, bool ftz, bool sat) {
  return sat ? emitHalf<F, 2, kSat>(l, i, type, ftz) : emitHalf<F, 2>(l, i, type, ftz);
}
template <bool kMin>
bool emitExtreme(Lowering &l, const Instruction &i, Type type, bool ftz, bool isNan, bool isXor) {
  if (isNan)
    return isXor ? emitHalf<Extreme<kMin, true, true>, 2>(l, i, type, ftz)
                 : emitHalf<Extreme<kMin, true, false>, 2>(l, i, type, ftz);
  return isXor ? emitHalf<Extreme<kMin, false, true>, 2>(l, i, type, ftz)
               : emitHalf<Extreme<kMin, false, false>, 2>(l, i, type, ftz);
}

} // namespace

bool lowerHalfBinary(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  s.take("rn");
  Type type = s.takeType();
  bool ftz = isF16(type) && s.take("ftz"), sat = isF16(type) && s.take("sat");
  if (!s.understood())
    return false;
  return i.parts[0] == "add"   ? emitBinary<Add>(l, i, type, ftz, sat)
         : i.parts[0] == "sub" ? emitBinary<Sub>(l, i, type, ftz, sat)
                               : emitBinary<Mul>(l, i, type, ftz, sat);
}

bool lowerHalfFma(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (!s.take("rn"))
    return l.refuse("it needs the rounding mode .rn");
  Type type = s.takeType();
  bool ftz = isF16(type) && s.take("ftz"), sat = isF16(type) && s.take("sat");
  bool relu = !sat && s.take("relu");
  if (!s.understood()) // .oob among them
    return false;
  return sat    ? emitHalf<Fma, 3, kSat>(l, i, type, ftz)
         : relu ? emitHalf<Fma, 3, kRelu>(l, i, type, ftz)
                : emitHalf<Fma, 3>(l, i, type, ftz);
}

bool lowerHalfUnary(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view name = i.parts[0];
  Type type = s.takeType();
  bool isApproximate = name == "tanh" || name == "ex2";
  if (isApproximate && !s.take("approx"))
    return l.refuse("it needs .approx");
  bool isBf16 = !isF16(type);
  bool ftz = (name == "ex2" ? isBf16 : name != "tanh" && !isBf16) && s.take("ftz");
  if (!s.understood())
    return false;
  if (name == "ex2" && isBf16 && !ftz)
    return l.refuse("the bf16 forms need .ftz");
  return name == "abs"    ? emitHalf<Abs, 1>(l, i, type, ftz)
         : name == "neg"  ? emitHalf<Neg, 1>(l, i, type, ftz)
         : name == "tanh" ? emitHalf<Tanh, 1>(l, i, type, false)
                          : emitHalf<Exp2, 1>(l, i, type, ftz);
}

bool lowerHalfExtreme(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  bool ftz = isF16(type) && s.take("ftz"), isNan = s.take("NaN");
  bool isXor = s.take("xorsign"), isAbs = s.take("abs");
  if (!s.understood())
    return false;
  if (isXor != isAbs)
    return l.refuse("'.xorsign' and '.abs' go together");
  return i.parts[0] == "min" ? emitExtreme<true>(l, i, type, ftz, isNan, isXor)
                             : emitExtreme<false>(l, i, type, ftz, isNan, isXor);
}

} // namespace platen::ptxsim
