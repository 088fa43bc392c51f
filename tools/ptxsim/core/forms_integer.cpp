// Integer arithmetic: add sub mul mad mul24 mad24 sad div rem abs neg min max dp4a dp2a, and the
// extended-precision forms that pass a carry. Opcodes that floats share go on to their files.
//
// What the ISA leaves open: dividing by zero gives all ones, as quotient and as remainder; the
// remainder has the sign of the dividend.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

/// The unsigned type in which T wraps around (never promoted to a signed one).
template <class T> using Unsigned = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T>
using Double = std::conditional_t<
    sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
    std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                       std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>>>;

template <class T> T add(T a, T b) { return static_cast<T>(Unsigned<T>(a) + Unsigned<T>(b)); }
template <class T> T sub(T a, T b) { return static_cast<T>(Unsigned<T>(a) - Unsigned<T>(b)); }
template <class T> T multiplyLow(T a, T b) {
  return static_cast<T>(Unsigned<T>(a) * Unsigned<T>(b));
}
template <class T> T multiplyHigh(T a, T b) {
  return static_cast<T>((Double<T>(a) * Double<T>(b)) >> (sizeof(T) * 8));
}
int32_t clampToInt(int64_t value) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, INT32_MIN, INT32_MAX));
}
/// The half words of both operands, by f, side by side.
template <class F> uint32_t halves(uint32_t a, uint32_t b, F f) {
  uint32_t low = static_cast<uint16_t>(f(static_cast<uint16_t>(a), static_cast<uint16_t>(b)));
  return low |
         static_cast<uint32_t>(f(static_cast<uint16_t>(a >> 16), static_cast<uint16_t>(b >> 16)))
             << 16;
}

/// As withInteger, without the bit-size types.
template <class F> bool withNumber(Lowering &l, Type type, F f) {
  if (type == Type::kB16 || type == Type::kB32 || type == Type::kB64)
    return l.refuse("it takes no bit-size type");
  return withInteger(l, type, f);
}

/// d = f(a, b, c, carry); f also says what the carry becomes. op.r[4]: the carry flag.
template <class U, class F, int kSources, bool kIn, bool kOut>
void runCarry(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<Lane<U>>(op.r[1]), *b = warp.lanes<Lane<U>>(op.r[2]);
  const auto *c = kSources == 3 ? warp.lanes<Lane<U>>(op.r[3]) : b;
  auto *target = warp.lanes<Lane<U>>(op.r[0]);
  uint32_t in = kIn ? warp.predicate(op.r[4]) : 0, out = 0;
  for (int l = 0; l < 32; ++l) {
    bool carry = false;
    U result = F{}(a[l], b[l], c[l], in >> l & 1, carry);
    out |= uint32_t{carry} << l;
    if (mask >> l & 1)
      target[l] = result;
  }
  if (kOut)
    warp.setPredicate(op.r[4], out, mask);
}

template <class T> struct AddCarry {
  using U = Unsigned<T>;
  U operator()(U a, U b, U, U in, bool &out) const {
    U sum = a + b, all = sum + in;
    out = sum < a || all < sum;
    return all;
  }
};
template <class T> struct SubBorrow {
  using U = Unsigned<T>;
  U operator()(U a, U b, U, U in, bool &out) const {
    out = a < b || a - b < in;
    return a - b - in;
  }
};
template <class T, bool kHigh> struct MadCarry {
  using U = Unsigned<T>;
  U operator()(U a, U b, U c, U in, bool &out) const {
    U product = kHigh ? static_cast<U>(multiplyHigh(static_cast<T>(a), static_cast<T>(b))) : a * b;
    return AddCarry<T>{}(product, c, c, in, out);
  }
};

template <class T, class F, int kSources>
bool emitCarry(Lowering &l, const Instruction &i, bool in, bool out) {
  constexpr bool wide = sizeof(T) == 8;
  using U = Unsigned<T>;
  if (!l.operands(i, kSources + 1, kSources + 1))
    return false;
  Place places[kSources], target;
  for (int n = 0; n < kSources; ++n)
    if (!l.source(i.operands[n + 1], wide, places[n]))
      return false;
  if (!l.destination(i.operands[0], target, wide))
    return false;
  if (target.wide != wide || target.isPredicate)
    return l.refuse("the result register has another width");
  Op &op = l.emit(
      in ? (out ? &runCarry<U, F, kSources, true, true> : &runCarry<U, F, kSources, true, false>)
         : &runCarry<U, F, kSources, false, true>);
  op.r[0] = target.offset;
  for (int n = 0; n < kSources; ++n)
    op.r[n + 1] = places[n].offset;
  op.r[4] = l.carry();
  return true;
}

/// add, addc, sub, subc with a carry in or out.
bool lowerCarry(Lowering &l, const Instruction &i, Suffixes &s, bool isAdd, bool in) {
  bool out = s.take("cc");
  Type type = s.takeType();
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           return isAdd ? emitCarry<T, AddCarry<T>, 2>(l, i, in, out)
                        : emitCarry<T, SubBorrow<T>, 2>(l, i, in, out);
         });
}
bool lowerMadCarry(Lowering &l, const Instruction &i, Suffixes &s, bool in) {
  bool out = s.take("cc");
  std::string_view half = s.takeOneOf({"hi", "lo"});
  Type type = s.takeType();
  if (half.empty())
    return l.refuse("it needs .hi or .lo");
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           return half == "hi" ? emitCarry<T, MadCarry<T, true>, 3>(l, i, in, out)
                               : emitCarry<T, MadCarry<T, false>, 3>(l, i, in, out);
         });
}

bool lowerAddSub(Lowering &l, const Instruction &i, bool isAdd) {
  if (hasFloatType(i))
    return lowerFloatBinary(l, i);
  Suffixes s(l, i);
  if (l.has(i, "cc"))
    return lowerCarry(l, i, s, isAdd, false);
  if (isAdd && !s.takeOneOf({"u16x2", "s16x2"}).empty())
    return s.understood() && l.map<uint32_t, uint32_t, uint32_t>(i, [](uint32_t a, uint32_t b) {
      return halves(a, b, [](uint32_t x, uint32_t y) { return x + y; });
    });
  Type type = s.takeType();
  bool saturates = type == Type::kS32 && s.take("sat");
  if (!s.understood())
    return false;
  if (saturates && isAdd)
    return l.map<int32_t, int32_t, int32_t>(
        i, [](int32_t a, int32_t b) { return clampToInt(int64_t{a} + b); });
  if (saturates)
    return l.map<int32_t, int32_t, int32_t>(
        i, [](int32_t a, int32_t b) { return clampToInt(int64_t{a} - b); });
  return withNumber(l, type, [&](auto t) {
    using T = decltype(t);
    return isAdd ? l.map<T, T, T>(i, [](T a, T b) { return add(a, b); })
                 : l.map<T, T, T>(i, [](T a, T b) { return sub(a, b); });
  });
}
bool lowerAdd(Lowering &l, const Instruction &i) { return lowerAddSub(l, i, true); }
bool lowerSub(Lowering &l, const Instruction &i) { return lowerAddSub(l, i, false); }
bool lowerAddc(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  return lowerCarry(l, i, s, true, true);
}
bool lowerSubc(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  return lowerCarry(l, i, s, false, true);
}

bool lowerMul(Lowering &l, const Instruction &i) {
  if (hasFloatType(i))
    return lowerFloatBinary(l, i);
  Suffixes s(l, i);
  std::string_view part = s.takeOneOf({"hi", "lo", "wide"});
  Type type = s.takeType();
  if (part.empty())
    return l.refuse("it needs .hi, .lo or .wide");
  return s.understood() && withNumber(l, type, [&](auto t) {
           using T = decltype(t);
           if (part == "hi")
             return l.map<T, T, T>(i, [](T a, T b) { return multiplyHigh(a, b); });
           if (part == "lo")
             return l.map<T, T, T>(i, [](T a, T b) { return multiplyLow(a, b); });
           if constexpr (sizeof(T) < 8)
             return l.map<Double<T>, T, T>(i,
                                           [](T a, T b) -> Double<T> { return Double<T>(a) * b; });
           return l.refuse(".wide takes 16- and 32-bit types");
         });
}

bool lowerMad(Lowering &l, const Instruction &i) {
  if (hasFloatType(i))
    return lowerFma(l, i);
  Suffixes s(l, i);
  if (l.has(i, "cc"))
    return lowerMadCarry(l, i, s, false);
  std::string_view part = s.takeOneOf({"hi", "lo", "wide"});
  Type type = s.takeType();
  bool saturates = part == "hi" && type == Type::kS32 && s.take("sat");
  if (part.empty())
    return l.refuse("it needs .hi, .lo or .wide");
  if (saturates)
    return s.understood() &&
           l.map<int32_t, int32_t, int32_t, int32_t>(i, [](int32_t a, int32_t b, int32_t c) {
             return clampToInt(int64_t{multiplyHigh(a, b)} + c);
           });
  return s.understood() && withNumber(l, type, [&](auto t) {
           using T = decltype(t);
           if (part == "hi")
             return l.map<T, T, T, T>(i, [](T a, T b, T c) { return add(multiplyHigh(a, b), c); });
           if (part == "lo")
             return l.map<T, T, T, T>(i, [](T a, T b, T c) { return add(multiplyLow(a, b), c); });
           if constexpr (sizeof(T) < 8) {
             using D = Double<T>;
             return l.map<D, T, T, D>(i, [](T a, T b, D c) { return add<D>(D(a) * b, c); });
           }
           return l.refuse(".wide takes 16- and 32-bit types");
         });
}
bool lowerMadc(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  return lowerMadCarry(l, i, s, true);
}

/// The product of the low 24 bits, sign- or zero-extended by T.
template <class T> int64_t product24(T a, T b) {
  auto low = [](T x) -> int64_t {
    return std::is_signed_v<T> ? int64_t{static_cast<int32_t>(static_cast<uint32_t>(x) << 8) >> 8}
                               : int64_t{static_cast<uint32_t>(x) & 0xFFFFFFu};
  };
  return low(a) * low(b);
}

bool lowerMul24(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view part = s.takeOneOf({"hi", "lo"});
  Type type = s.takeType();
  if (part.empty() || (type != Type::kU32 && type != Type::kS32))
    return l.refuse("it needs .hi or .lo, and .u32 or .s32");
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           if (part == "hi")
             return l.map<T, T, T>(i,
                                   [](T a, T b) { return static_cast<T>(product24(a, b) >> 16); });
           return l.map<T, T, T>(i, [](T a, T b) { return static_cast<T>(product24(a, b)); });
         });
}

bool lowerMad24(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view part = s.takeOneOf({"hi", "lo"});
  Type type = s.takeType();
  bool saturates = part == "hi" && type == Type::kS32 && s.take("sat");
  if (part.empty() || (type != Type::kU32 && type != Type::kS32))
    return l.refuse("it needs .hi or .lo, and .u32 or .s32");
  if (saturates)
    return s.understood() &&
           l.map<int32_t, int32_t, int32_t, int32_t>(i, [](int32_t a, int32_t b, int32_t c) {
             return clampToInt(int64_t{static_cast<int32_t>(product24(a, b) >> 16)} + c);
           });
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           if (part == "hi")
             return l.map<T, T, T, T>(
                 i, [](T a, T b, T c) { return add(static_cast<T>(product24(a, b) >> 16), c); });
           return l.map<T, T, T, T>(
               i, [](T a, T b, T c) { return add(static_cast<T>(product24(a, b)), c); });
         });
}

bool lowerSad(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withNumber(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T, T>(
               i, [](T a, T b, T c) { return add(c, a < b ? sub(b, a) : sub(a, b)); });
         });
}

template <class T> T quotient(T a, T b) {
  if (b == 0)
    return static_cast<T>(~T{0});
  if (std::is_signed_v<T> && b == static_cast<T>(-1))
    return sub<T>(0, a); // the smallest value stays itself
  return static_cast<T>(a / b);
}
template <class T> T remainder(T a, T b) {
  if (b == 0)
    return static_cast<T>(~T{0});
  if (std::is_signed_v<T> && b == static_cast<T>(-1))
    return 0;
  return static_cast<T>(a % b);
}
bool lowerDiv(Lowering &l, const Instruction &i) {
  if (hasFloatType(i))
    return lowerFloatDivide(l, i);
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withNumber(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T>(i, [](T a, T b) { return quotient(a, b); });
         });
}
bool lowerRem(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withNumber(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T>(i, [](T a, T b) { return remainder(a, b); });
         });
}

bool lowerSign(Lowering &l, const Instruction &i, bool isAbs) {
  if (hasFloatType(i))
    return lowerFloatSign(l, i);
  Suffixes s(l, i);
  Type type = s.takeType();
  if (!ptx::isSigned(type))
    return l.refuse("it takes signed types");
  return s.understood() && withNumber(l, type, [&](auto t) {
           using T = decltype(t);
           return isAbs ? l.map<T, T>(i, [](T a) { return a < 0 ? sub<T>(0, a) : a; })
                        : l.map<T, T>(i, [](T a) { return sub<T>(0, a); });
         });
}
bool lowerAbs(Lowering &l, const Instruction &i) { return lowerSign(l, i, true); }
bool lowerNeg(Lowering &l, const Instruction &i) { return lowerSign(l, i, false); }

/// min and max of half words; H: int16_t or uint16_t.
template <class H> bool lowerHalfWords(Lowering &l, const Instruction &i, bool isMin, bool relu) {
  using W = uint32_t;
  if (relu)
    return isMin
               ? l.map<W, W, W>(i,
                                [](W a, W b) {
                                  return halves(a, b, [](W x, W y) {
                                    return std::max<H>(std::min<H>(x, y), 0);
                                  });
                                })
               : l.map<W, W, W>(i, [](W a, W b) {
                   return halves(a, b, [](W x, W y) { return std::max<H>(std::max<H>(x, y), 0); });
                 });
  return isMin ? l.map<W, W, W>(i,
                                [](W a, W b) {
                                  return halves(a, b, [](W x, W y) { return std::min<H>(x, y); });
                                })
               : l.map<W, W, W>(i, [](W a, W b) {
                   return halves(a, b, [](W x, W y) { return std::max<H>(x, y); });
                 });
}
bool lowerExtreme(Lowering &l, const Instruction &i, bool isMin) {
  if (hasFloatType(i))
    return lowerFloatExtreme(l, i);
  Suffixes s(l, i);
  if (std::string_view half = s.takeOneOf({"u16x2", "s16x2"}); !half.empty()) {
    bool relu = half == "s16x2" && s.take("relu");
    return s.understood() && (half == "s16x2" ? lowerHalfWords<int16_t>(l, i, isMin, relu)
                                              : lowerHalfWords<uint16_t>(l, i, isMin, relu));
  }
  Type type = s.takeType();
  bool relu = type == Type::kS32 && s.take("relu");
  if (!s.understood())
    return false;
  using I = int32_t;
  if (relu)
    return isMin ? l.map<I, I, I>(i, [](I a, I b) { return std::max(std::min(a, b), 0); })
                 : l.map<I, I, I>(i, [](I a, I b) { return std::max(std::max(a, b), 0); });
  return withNumber(l, type, [&](auto t) {
    using T = decltype(t);
    return isMin ? l.map<T, T, T>(i, [](T a, T b) { return a < b ? a : b; })
                 : l.map<T, T, T>(i, [](T a, T b) { return a > b ? a : b; });
  });
}
bool lowerMin(Lowering &l, const Instruction &i) { return lowerExtreme(l, i, true); }
bool lowerMax(Lowering &l, const Instruction &i) { return lowerExtreme(l, i, false); }

/// Byte or half word n of `word`, extended to 32 bits by kSigned.
template <bool kSigned> uint32_t byteOf(uint32_t word, int n) {
  uint32_t top = word << (24 - 8 * n);
  return kSigned ? static_cast<uint32_t>(static_cast<int32_t>(top) >> 24) : top >> 24;
}
template <bool kSigned> uint32_t halfOf(uint32_t word, int n) {
  uint32_t top = word << (16 - 16 * n);
  return kSigned ? static_cast<uint32_t>(static_cast<int32_t>(top) >> 16) : top >> 16;
}
template <bool kA, bool kB> struct Dot4 {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    return c + byteOf<kA>(a, 0) * byteOf<kB>(b, 0) + byteOf<kA>(a, 1) * byteOf<kB>(b, 1) +
           byteOf<kA>(a, 2) * byteOf<kB>(b, 2) + byteOf<kA>(a, 3) * byteOf<kB>(b, 3);
  }
};
template <bool kA, bool kB, int kFirst> struct Dot2 {
  uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    return c + halfOf<kA>(a, 0) * byteOf<kB>(b, kFirst) +
           halfOf<kA>(a, 1) * byteOf<kB>(b, kFirst + 1);
  }
};
template <bool kA, bool kB> bool emitDot(Lowering &l, const Instruction &i, std::string_view half) {
  using W = uint32_t;
  return half.empty()   ? l.map<W, W, W, W>(i, Dot4<kA, kB>{})
         : half == "lo" ? l.map<W, W, W, W>(i, Dot2<kA, kB, 0>{})
                        : l.map<W, W, W, W>(i, Dot2<kA, kB, 2>{});
}
bool lowerDot(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool isTwo = i.parts[0] == "dp2a";
  std::string_view half = isTwo ? s.takeOneOf({"lo", "hi"}) : std::string_view();
  Type a = s.takeType(), b = s.takeType();
  auto fits = [](Type type) { return type == Type::kU32 || type == Type::kS32; };
  if (!fits(a) || !fits(b) || (isTwo && half.empty()))
    return l.refuse("it needs two types of .u32 and .s32, dp2a also .lo or .hi");
  if (!s.understood())
    return false;
  bool sa = a == Type::kS32, sb = b == Type::kS32;
  return sa ? (sb ? emitDot<true, true>(l, i, half) : emitDot<true, false>(l, i, half))
            : (sb ? emitDot<false, true>(l, i, half) : emitDot<false, false>(l, i, half));
}

bool refuseVideo(Lowering &l, const Instruction &i) {
  return l.refuse("video instruction '" + std::string(i.parts[0]) + "' is not executed");
}

constexpr Form kIntegerForms[] = {
    {"add", lowerAdd, Pipe::kAlu},     {"sub", lowerSub, Pipe::kAlu},
    {"mul", lowerMul, Pipe::kFma},     {"mad", lowerMad, Pipe::kFma},
    {"addc", lowerAddc, Pipe::kAlu},   {"subc", lowerSubc, Pipe::kAlu},
    {"madc", lowerMadc, Pipe::kFma},   {"mul24", lowerMul24, Pipe::kFma},
    {"mad24", lowerMad24, Pipe::kFma}, {"sad", lowerSad, Pipe::kAlu},
    {"div", lowerDiv, Pipe::kAlu},     {"rem", lowerRem, Pipe::kAlu},
    {"abs", lowerAbs, Pipe::kAlu},     {"neg", lowerNeg, Pipe::kAlu},
    {"min", lowerMin, Pipe::kAlu},     {"max", lowerMax, Pipe::kAlu},
    {"dp4a", lowerDot, Pipe::kFma},    {"dp2a", lowerDot, Pipe::kFma},
};
constexpr std::string_view kVideo[] = {"vadd",  "vsub",  "vabsdiff",  "vmin",  "vmax",  "vshl",
                                       "vshr",  "vmad",  "vset",      "vadd2", "vsub2", "vabsdiff2",
                                       "vmin2", "vmax2", "vavrg2",    "vset2", "vadd4", "vsub4",
                                       "vmin4", "vmax4", "vabsdiff4", "vset4", "vavrg4"};

} // namespace

bool hasFloatType(const Instruction &i) {
  for (std::string_view part : i.parts)
    if (part == "f32" || part == "f64" || part == "f16" || part == "bf16" || part == "f16x2" ||
        part == "bf16x2" || part == "f32x2")
      return true;
  return false;
}

std::span<const Form> integerForms() {
  static const std::vector<Form> all = [] {
    std::vector<Form> forms(std::begin(kIntegerForms), std::end(kIntegerForms));
    for (std::span<const Form> table : {bitForms(), comparisonForms()})
      forms.insert(forms.end(), table.begin(), table.end());
    for (std::string_view name : kVideo)
      forms.push_back({name, refuseVideo, Pipe::kAlu});
    return forms;
  }();
  return all;
}

} // namespace platen::ptxsim
