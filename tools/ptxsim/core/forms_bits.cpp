// Logic, shifts and bit fields: and or xor not cnot lop3 shf shl shr, popc clz bfind brev bfe bfi
// bmsk szext fns. Shift amounts beyond the width are clamped to it, never wrapped unless `.wrap`.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

/// Calls f for uint16_t, uint32_t or uint64_t, by a bit-size type.
template <class F> bool withBits(Lowering &l, Type type, F f) {
  switch (type) {
  case Type::kB16:
    return f(uint16_t{});
  case Type::kB32:
    return f(uint32_t{});
  case Type::kB64:
    return f(uint64_t{});
  default:
    return l.refuse("it takes bit-size types");
  }
}
template <class F> bool withBits32(Lowering &l, Type type, F f) {
  return type == Type::kB16 ? l.refuse("it takes .b32 and .b64") : withBits(l, type, f);
}

/// p = a op b on predicates. variant: 0 and, 1 or, 2 xor; immediate: flips of a and b.
void runPredicateLogic(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t a = warp.predicate(op.r[1]) ^ static_cast<uint32_t>(op.immediate);
  uint32_t b = warp.predicate(op.r[2]) ^ static_cast<uint32_t>(op.immediate >> 32);
  warp.setPredicate(op.r[0], op.variant == 0 ? a & b : op.variant == 1 ? a | b : a ^ b, mask);
}
bool lowerPredicateLogic(Lowering &l, const Instruction &i, uint8_t variant, bool isNot) {
  size_t sources = isNot ? 1 : 2;
  PredicateSource a, b;
  uint32_t target = 0;
  if (!l.operands(i, sources + 1, sources + 1) || !predicateTarget(l, i.operands[0], target) ||
      !predicateSource(l, i.operands[1], a) || (!isNot && !predicateSource(l, i.operands[2], b)))
    return false;
  if (isNot)
    b = {l.constant(~0u, false), 0};
  Op &op = l.emit(&runPredicateLogic);
  op.r[0] = target, op.r[1] = a.offset, op.r[2] = b.offset;
  op.immediate = static_cast<int64_t>(a.flip | uint64_t{b.flip} << 32);
  op.variant = variant;
  return true;
}

bool lowerAnd(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (s.take("pred"))
    return s.understood() && lowerPredicateLogic(l, i, 0, false);
  Type type = s.takeType();
  return s.understood() && withBits(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T>(i, [](T a, T b) { return static_cast<T>(a & b); });
         });
}
bool lowerOr(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (s.take("pred"))
    return s.understood() && lowerPredicateLogic(l, i, 1, false);
  Type type = s.takeType();
  return s.understood() && withBits(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T>(i, [](T a, T b) { return static_cast<T>(a | b); });
         });
}
bool lowerXor(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (s.take("pred"))
    return s.understood() && lowerPredicateLogic(l, i, 2, false);
  Type type = s.takeType();
  return s.understood() && withBits(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T>(i, [](T a, T b) { return static_cast<T>(a ^ b); });
         });
}
bool lowerNot(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (s.take("pred"))
    return s.understood() && lowerPredicateLogic(l, i, 2, true);
  Type type = s.takeType();
  return s.understood() && withBits(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T>(i, [](T a) { return static_cast<T>(~a); });
         });
}
bool lowerCnot(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withBits(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T>(i, [](T a) { return static_cast<T>(a == 0); });
         });
}

/// d = table(a, b, c) bit by bit; op.immediate: the table. With op.count, p = (d != 0) op q too:
/// r[4] is p, r[5] is q, variant 1 `or`, 2 `and`, target flips q.
void runLop3(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<uint32_t>(op.r[1]), *b = warp.lanes<uint32_t>(op.r[2]),
             *c = warp.lanes<uint32_t>(op.r[3]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  uint32_t m[8];
  for (int n = 0; n < 8; ++n)
    m[n] = op.immediate >> n & 1 ? ~0u : 0;
  alignas(64) uint32_t result[32];
  for (int l = 0; l < 32; ++l) {
    auto pick = [](uint32_t s, uint32_t x, uint32_t y) { return (s & x) | (~s & y); };
    uint32_t low = pick(b[l], pick(c[l], m[3], m[2]), pick(c[l], m[1], m[0]));
    uint32_t high = pick(b[l], pick(c[l], m[7], m[6]), pick(c[l], m[5], m[4]));
    result[l] = pick(a[l], high, low);
  }
  if (op.count != 0) {
    alignas(64) uint32_t isSet[32];
    for (int l = 0; l < 32; ++l)
      isSet[l] = result[l] != 0 ? ~0u : 0;
    uint32_t bits = packMask(isSet), q = warp.predicate(op.r[5]) ^ op.target;
    warp.setPredicate(op.r[4], op.variant == 1 ? bits | q : bits & q, mask);
  }
  for (int l = 0; l < 32; ++l)
    target[l] = mask >> l & 1 ? result[l] : target[l];
}
bool lowerLop3(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view combine = s.takeOneOf({"or", "and"});
  if (!s.take("b32"))
    return l.refuse("it takes .b32");
  size_t count = combine.empty() ? 5 : 6;
  if (!s.understood() || !l.operands(i, count, count))
    return false;
  const Operand &table = i.operands[4];
  if (table.kind != Operand::Kind::kInteger || table.bits > 255)
    return l.refuse("the table is no number from 0 to 255");
  bool isPair = i.operands[0].kind == Operand::Kind::kPair;
  if (isPair == combine.empty())
    return l.refuse("a predicate result needs .or or .and, and the other way round");
  Place target, places[3];
  for (size_t n = 0; n < 3; ++n)
    if (!l.source(i.operands[n + 1], false, places[n]))
      return false;
  const Operand &first = isPair ? i.operands[0].elements[0] : i.operands[0];
  if (!l.destination(first, target))
    return false;
  if (target.wide || target.isPredicate)
    return l.refuse("the result register has another width");
  uint32_t p = 0;
  PredicateSource q;
  if (isPair &&
      (!predicateTarget(l, i.operands[0].elements[1], p) || !predicateSource(l, i.operands[5], q)))
    return false;
  Op &op = l.emit(&runLop3);
  op.r[0] = target.offset;
  for (size_t n = 0; n < 3; ++n)
    op.r[n + 1] = places[n].offset;
  op.immediate = static_cast<int64_t>(table.bits);
  op.count = isPair, op.r[4] = p, op.r[5] = q.offset, op.target = q.flip;
  op.variant = combine == "or" ? 1 : 2;
  return true;
}

bool lowerShl(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withBits(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, uint32_t>(i, [](T a, uint32_t n) {
             return n < sizeof(T) * 8 ? static_cast<T>(a << n) : T{0};
           });
         });
}
bool lowerShr(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withInteger(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, uint32_t>(i, [](T a, uint32_t n) {
             constexpr uint32_t kBits = sizeof(T) * 8;
             if (std::is_signed_v<T>)
               return static_cast<T>(a >> std::min(n, kBits - 1));
             return n < kBits ? static_cast<T>(a >> n) : T{0};
           });
         });
}

uint32_t funnelLeft(uint32_t a, uint32_t b, uint32_t n) {
  return static_cast<uint32_t>(((uint64_t{b} << 32 | a) << n) >> 32); // n <= 32
}
uint32_t funnelRight(uint32_t a, uint32_t b, uint32_t n) {
  return static_cast<uint32_t>((uint64_t{b} << 32 | a) >> n);
}
bool lowerShf(Lowering &l, const Instruction &i) {
  using W = uint32_t;
  Suffixes s(l, i);
  std::string_view direction = s.takeOneOf({"l", "r"}), mode = s.takeOneOf({"clamp", "wrap"});
  if (direction.empty() || mode.empty() || !s.take("b32"))
    return l.refuse("it needs .l or .r, .clamp or .wrap, and .b32");
  if (!s.understood())
    return false;
  if (direction == "l")
    return mode == "wrap"
               ? l.map<W, W, W, W>(i, [](W a, W b, W n) { return funnelLeft(a, b, n & 31); })
               : l.map<W, W, W, W>(
                     i, [](W a, W b, W n) { return funnelLeft(a, b, std::min(n, 32u)); });
  return mode == "wrap"
             ? l.map<W, W, W, W>(i, [](W a, W b, W n) { return funnelRight(a, b, n & 31); })
             : l.map<W, W, W, W>(i,
                                 [](W a, W b, W n) { return funnelRight(a, b, std::min(n, 32u)); });
}

bool lowerPopc(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withBits32(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<uint32_t, T>(i,
                                     [](T a) { return static_cast<uint32_t>(std::popcount(a)); });
         });
}
bool lowerClz(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withBits32(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<uint32_t, T>(
               i, [](T a) { return static_cast<uint32_t>(std::countl_zero(a)); });
         });
}
template <class T> T reverse(T a) {
  if constexpr (sizeof(T) == 8)
    return static_cast<T>(reverse(static_cast<uint32_t>(a))) << 32 |
           reverse(static_cast<uint32_t>(a >> 32));
  a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
  a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
  a = (a >> 4 & 0x0F0F0F0Fu) | (a & 0x0F0F0F0Fu) << 4;
  a = (a >> 8 & 0x00FF00FFu) | (a & 0x00FF00FFu) << 8;
  return a >> 16 | a << 16;
}
bool lowerBrev(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withBits32(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T>(i, [](T a) { return reverse<T>(a); });
         });
}

template <class T, bool kShift> struct FindBit {
  uint32_t operator()(T a) const {
    using U = std::make_unsigned_t<T>;
    U u = static_cast<U>(std::is_signed_v<T> && a < 0 ? ~a : a);
    auto zeros = static_cast<uint32_t>(std::countl_zero(u));
    return u == 0 ? ~0u : kShift ? zeros : static_cast<uint32_t>(sizeof(T) * 8 - 1) - zeros;
  }
};
bool lowerBfind(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool shift = s.take("shiftamt");
  Type type = s.takeType();
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           return shift ? l.map<uint32_t, T>(i, FindBit<T, true>{})
                        : l.map<uint32_t, T>(i, FindBit<T, false>{});
         });
}

/// The field of `length` bits from `start`, extended; bits beyond the top are the sign.
template <class T> T extract(T a, uint32_t start, uint32_t length) {
  constexpr uint32_t kBits = sizeof(T) * 8;
  using U = std::make_unsigned_t<T>;
  start &= 0xFF, length &= 0xFF;
  if (length == 0)
    return 0;
  T shifted = std::is_signed_v<T> ? static_cast<T>(a >> std::min(start, kBits - 1))
              : start < kBits     ? static_cast<T>(a >> start)
                                  : T{0};
  if (length >= kBits || start >= kBits)
    return shifted;
  uint32_t rest = kBits - length;
  return static_cast<T>(static_cast<T>(static_cast<U>(shifted) << rest) >> rest);
}
bool lowerBfe(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, uint32_t, uint32_t>(i, [](T a, uint32_t start, uint32_t length) {
             return extract<T>(a, start, length);
           });
         });
}
template <class T> T insert(T a, T b, uint32_t start, uint32_t length) {
  constexpr uint32_t kBits = sizeof(T) * 8;
  start &= 0xFF, length &= 0xFF;
  if (start >= kBits || length == 0)
    return b;
  T field = length >= kBits ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << length) - 1);
  return static_cast<T>((b & ~(field << start)) | (a & field) << start);
}
bool lowerBfi(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  return s.understood() && withBits32(l, type, [&](auto t) {
           using T = decltype(t);
           return l.map<T, T, T, uint32_t, uint32_t>(i,
                                                     [](T a, T b, uint32_t start, uint32_t length) {
                                                       return insert<T>(a, b, start, length);
                                                     });
         });
}

/// `width` ones from bit `start`; what lies beyond bit 31 is lost.
uint32_t ones(uint32_t start, uint32_t width) {
  uint64_t field = (uint64_t{1} << width) - 1; // width <= 32
  return static_cast<uint32_t>(field << start);
}
bool lowerBmsk(Lowering &l, const Instruction &i) {
  using W = uint32_t;
  Suffixes s(l, i);
  std::string_view mode = s.takeOneOf({"clamp", "wrap"});
  if (mode.empty() || !s.take("b32"))
    return l.refuse("it needs .clamp or .wrap, and .b32");
  if (!s.understood())
    return false;
  if (mode == "wrap")
    return l.map<W, W, W>(i, [](W a, W b) { return ones(a & 31, b & 31); });
  return l.map<W, W, W>(i, [](W a, W b) { return a >= 32 ? 0 : ones(a, std::min(b, 32u)); });
}

/// The low `bits` bits (0 to 32), sign- or zero-extended.
template <class T> T lowBits(T a, uint32_t bits) {
  if (bits == 0)
    return 0;
  uint32_t rest = 32 - bits;
  return static_cast<T>(static_cast<uint32_t>(a) << rest) >> rest;
}
bool lowerSzext(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view mode = s.takeOneOf({"clamp", "wrap"});
  Type type = s.takeType();
  if (mode.empty() || (type != Type::kU32 && type != Type::kS32))
    return l.refuse("it needs .clamp or .wrap, and .u32 or .s32");
  return s.understood() && withWord(l, type, [&](auto t) {
           using T = decltype(t);
           if constexpr (sizeof(T) == 8)
             return false;
           else if (mode == "wrap")
             return l.map<T, T, uint32_t>(i, [](T a, uint32_t n) { return lowBits<T>(a, n & 31); });
           else
             return l.map<T, T, uint32_t>(
                 i, [](T a, uint32_t n) { return lowBits<T>(a, std::min(n, 32u)); });
         });
}

uint32_t findNthSet(uint32_t mask, uint32_t base, int32_t offset) {
  if (offset == 0)
    return base < 32 && mask >> base & 1 ? base : ~0u;
  int64_t count = std::abs(int64_t{offset}) - 1;
  for (int64_t at = base; at >= 0 && at < 32; at += offset > 0 ? 1 : -1)
    if (mask >> at & 1 && count-- == 0)
      return static_cast<uint32_t>(at);
  return ~0u;
}
bool lowerFns(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (!s.take("b32"))
    return l.refuse("it takes .b32");
  return s.understood() &&
         l.map<uint32_t, uint32_t, uint32_t, int32_t>(
             i, [](uint32_t m, uint32_t b, int32_t n) { return findNthSet(m, b, n); });
}

constexpr Form kBitForms[] = {
    {"and", lowerAnd, Pipe::kAlu},     {"or", lowerOr, Pipe::kAlu},
    {"xor", lowerXor, Pipe::kAlu},     {"not", lowerNot, Pipe::kAlu},
    {"cnot", lowerCnot, Pipe::kAlu},   {"lop3", lowerLop3, Pipe::kAlu},
    {"shl", lowerShl, Pipe::kAlu},     {"shr", lowerShr, Pipe::kAlu},
    {"shf", lowerShf, Pipe::kAlu},     {"popc", lowerPopc, Pipe::kSfu},
    {"clz", lowerClz, Pipe::kSfu},     {"bfind", lowerBfind, Pipe::kSfu},
    {"brev", lowerBrev, Pipe::kSfu},   {"bfe", lowerBfe, Pipe::kAlu},
    {"bfi", lowerBfi, Pipe::kAlu},     {"bmsk", lowerBmsk, Pipe::kAlu},
    {"szext", lowerSzext, Pipe::kAlu}, {"fns", lowerFns, Pipe::kAlu},
};

} // namespace

std::span<const Form> bitForms() { return kBitForms; }

} // namespace platen::ptxsim
