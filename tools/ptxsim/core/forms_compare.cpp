// Comparison and selection: setp and set for every type, selp, slct, testp.
//
// A comparison of 32 lanes is three masks (less, equal, unordered) and a table that says which of
// less, equal, greater and unordered count as true; so one handler serves all operators of a type.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

enum Outcome : uint8_t { kLess = 1, kEqual = 2, kGreater = 4, kUnordered = 8 };
struct Relation {
  std::string_view name;
  uint8_t outcomes;
  bool forUnsigned, forSigned, forFloat, forBits;
};
constexpr Relation kRelations[] = {
    {"eq", kEqual, true, true, true, true},
    {"ne", kLess | kGreater, true, true, true, true},
    {"lt", kLess, true, true, true, false},
    {"le", kLess | kEqual, true, true, true, false},
    {"gt", kGreater, true, true, true, false},
    {"ge", kGreater | kEqual, true, true, true, false},
    {"lo", kLess, true, false, false, false},
    {"ls", kLess | kEqual, true, false, false, false},
    {"hi", kGreater, true, false, false, false},
    {"hs", kGreater | kEqual, true, false, false, false},
    {"equ", kEqual | kUnordered, false, false, true, false},
    {"neu", kLess | kGreater | kUnordered, false, false, true, false},
    {"ltu", kLess | kUnordered, false, false, true, false},
    {"leu", kLess | kEqual | kUnordered, false, false, true, false},
    {"gtu", kGreater | kUnordered, false, false, true, false},
    {"geu", kGreater | kEqual | kUnordered, false, false, true, false},
    {"num", kLess | kEqual | kGreater, false, false, true, false},
    {"nan", kUnordered, false, false, true, false},
};

/// How a lane's bits become what is compared: T, flushed if kFlush; half 1 of a pair if kHigh.
template <class T, bool kFlush = false, bool kHigh = false> struct Comparand {
  using Value = T;
  static auto of(Lane<T> bits) {
    if constexpr (isHalf<T>) {
      uint32_t h = kHigh ? bits >> 16 : bits & 0xFFFF;
      if (kFlush && (h & 0x7C00) == 0)
        h &= 0x8000;
      return toFloat(T{static_cast<uint16_t>(h)});
    } else if constexpr (std::is_same_v<T, float>) {
      return kFlush ? flush(take<float>(bits)) : take<float>(bits);
    } else {
      return take<T>(bits);
    }
  }
};

template <class C> uint32_t compare(Warp &warp, const Op &op) {
  using L = Lane<typename C::Value>;
  const auto *a = warp.lanes<L>(op.r[1]), *b = warp.lanes<L>(op.r[2]);
  alignas(64) uint32_t less[32], equal[32], unordered[32];
  for (int l = 0; l < 32; ++l) {
    auto x = C::of(a[l]), y = C::of(b[l]);
    less[l] = x < y ? ~0u : 0;
    equal[l] = x == y ? ~0u : 0;
    if constexpr (std::is_floating_point_v<decltype(x)>)
      unordered[l] = ((x != x) | (y != y)) ? ~0u : 0;
  }
  uint32_t lt = packMask(less), eq = packMask(equal), un = 0;
  if constexpr (std::is_floating_point_v<decltype(C::of(0))>)
    un = packMask(unordered);
  auto if_ = [&](Outcome outcome, uint32_t bits) { return op.variant & outcome ? bits : 0; };
  return if_(kLess, lt) | if_(kEqual, eq) | if_(kUnordered, un) | if_(kGreater, ~(lt | eq | un));
}

/// variant2: 0 alone, 1 and, 2 or, 3 xor with the predicate r[4] (flipped by `target`).
uint32_t combine(Warp &warp, const Op &op, uint32_t bits) {
  if (op.variant2 == 0)
    return bits;
  uint32_t c = warp.predicate(op.r[4]) ^ op.target;
  return op.variant2 == 1 ? bits & c : op.variant2 == 2 ? bits | c : bits ^ c;
}

/// r[0] p; r[3] q where op.wide.
template <class C> void runSetp(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t bits = compare<C>(warp, op);
  uint32_t p = combine(warp, op, bits), q = op.wide ? combine(warp, op, ~bits) : 0;
  warp.setPredicate(op.r[0], p, mask);
  if (op.wide)
    warp.setPredicate(op.r[3], q, mask);
}
template <class Low, class High> void runSetpPair(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t p = combine(warp, op, compare<Low>(warp, op));
  uint32_t q = combine(warp, op, compare<High>(warp, op));
  warp.setPredicate(op.r[0], p, mask);
  warp.setPredicate(op.r[3], q, mask);
}
/// r[0]: op.immediate where true (its halves by both comparisons of a pair), else 0.
template <class C> void runSet(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t bits = combine(warp, op, compare<C>(warp, op));
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1)
      target[l] = bits >> l & 1 ? static_cast<uint32_t>(op.immediate) : 0;
}
template <class Low, class High> void runSetPair(Warp &warp, const Op &op, uint32_t mask) {
  uint32_t low = combine(warp, op, compare<Low>(warp, op));
  uint32_t high = combine(warp, op, compare<High>(warp, op));
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  auto value = static_cast<uint32_t>(op.immediate);
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1)
      target[l] = (low >> l & 1 ? value & 0xFFFF : 0) | (high >> l & 1 ? value & 0xFFFF0000u : 0);
}

struct Handlers {
  Handler setp = nullptr, set = nullptr;
  bool wide = false, isPair = false;
};
template <class C> Handlers handlersOf() {
  return {&runSetp<C>, &runSet<C>, sizeof(Lane<typename C::Value>) == 8, false};
}
template <class H, bool kFlush> Handlers pairHandlersOf() {
  using Low = Comparand<H, kFlush, false>;
  using High = Comparand<H, kFlush, true>;
  return {&runSetpPair<Low, High>, &runSetPair<Low, High>, false, true};
}
Handlers handlersOf(Type type, bool ftz) {
  switch (type) {
  case Type::kB16:
  case Type::kU16:
    return handlersOf<Comparand<uint16_t>>();
  case Type::kS16:
    return handlersOf<Comparand<int16_t>>();
  case Type::kB32:
  case Type::kU32:
    return handlersOf<Comparand<uint32_t>>();
  case Type::kS32:
    return handlersOf<Comparand<int32_t>>();
  case Type::kB64:
  case Type::kU64:
    return handlersOf<Comparand<uint64_t>>();
  case Type::kS64:
    return handlersOf<Comparand<int64_t>>();
  case Type::kF32:
    return ftz ? handlersOf<Comparand<float, true>>() : handlersOf<Comparand<float>>();
  case Type::kF64:
    return handlersOf<Comparand<double>>();
  case Type::kF16:
    return ftz ? handlersOf<Comparand<F16, true>>() : handlersOf<Comparand<F16>>();
  case Type::kBF16:
    return handlersOf<Comparand<BF16>>();
  case Type::kF16x2:
    return ftz ? pairHandlersOf<F16, true>() : pairHandlersOf<F16, false>();
  case Type::kBF16x2:
    return pairHandlersOf<BF16, false>();
  default:
    return {};
  }
}

/// What the suffixes and the operands after the first of setp and set say.
struct Comparison {
  uint8_t outcomes = 0, boolean = 0;
  Handlers handlers;
  uint32_t a = 0, b = 0;
  PredicateSource c;
  bool read(Lowering &l, const Instruction &i, Suffixes &s, bool ftz, Type type);
};
const Relation *takeRelation(Suffixes &s) {
  for (const Relation &relation : kRelations)
    if (s.take(relation.name))
      return &relation;
  return nullptr;
}
bool isBits(Type type) { return type == Type::kB16 || type == Type::kB32 || type == Type::kB64; }

bool Comparison::read(Lowering &l, const Instruction &i, Suffixes &s, bool ftz, Type type) {
  const Relation *relation = takeRelation(s);
  if (!relation)
    return l.refuse("it needs a comparison such as .lt");
  std::string_view combined = s.takeOneOf({"and", "or", "xor"});
  if (!s.understood())
    return false;
  bool fits = ptx::isFloat(type)    ? relation->forFloat
              : isBits(type)        ? relation->forBits
              : ptx::isSigned(type) ? relation->forSigned
                                    : relation->forUnsigned;
  handlers = handlersOf(type, ftz);
  if (!handlers.setp || !fits)
    return l.refuse("." + std::string(relation->name) + " does not fit the type");
  bool flushes = type == Type::kF32 || type == Type::kF16 || type == Type::kF16x2;
  if (ftz && !flushes)
    return l.refuse("suffix '.ftz' does not fit the type");
  outcomes = relation->outcomes;
  boolean = combined == "and" ? 1 : combined == "or" ? 2 : combined == "xor" ? 3 : 0;
  size_t count = boolean ? 4 : 3;
  Place x, y;
  Type immediate = type == Type::kF32 ? Type::kF32 : Type::kNone;
  if (!l.operands(i, count, count) || !l.source(i.operands[1], handlers.wide, x, immediate) ||
      !l.source(i.operands[2], handlers.wide, y, immediate))
    return false;
  a = x.offset, b = y.offset;
  return !boolean || predicateSource(l, i.operands[3], c);
}
void fill(Op &op, const Comparison &comparison) {
  op.r[1] = comparison.a, op.r[2] = comparison.b, op.r[4] = comparison.c.offset;
  op.target = comparison.c.flip;
  op.variant = comparison.outcomes, op.variant2 = comparison.boolean;
}

bool lowerSetp(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool ftz = s.take("ftz");
  Type type = s.takeType();
  Comparison comparison;
  uint32_t p = 0, q = 0;
  if (!comparison.read(l, i, s, ftz, type))
    return false;
  bool isPair = i.operands[0].kind == Operand::Kind::kPair;
  if (comparison.handlers.isPair && !isPair)
    return l.refuse("packed types need two predicate results p|q");
  if (isPair && (type == Type::kF16 || type == Type::kBF16))
    return l.refuse("a single half type has one predicate result");
  if (!predicateTarget(l, isPair ? i.operands[0].elements[0] : i.operands[0], p) ||
      (isPair && !predicateTarget(l, i.operands[0].elements[1], q)))
    return false;
  Op &op = l.emit(comparison.handlers.setp);
  fill(op, comparison);
  op.r[0] = p, op.r[3] = q, op.wide = isPair;
  return true;
}

/// What `true` is in the destination of set; 0 where the types do not go together.
uint32_t trueValue(Type target, Type source) {
  bool isPair = source == Type::kF16x2 || source == Type::kBF16x2;
  bool isHalf = source == Type::kF16 || source == Type::kBF16;
  switch (target) {
  case Type::kU32:
  case Type::kS32:
    return ~0u;
  case Type::kF32:
    return isPair || isHalf ? 0 : 0x3F800000u;
  case Type::kU16:
  case Type::kS16:
    return isHalf ? 0xFFFFu : 0;
  case Type::kF16:
    return isPair || source == Type::kBF16 ? 0 : 0x3C00u;
  case Type::kBF16:
    return isPair || source == Type::kF16 ? 0 : 0x3F80u;
  case Type::kF16x2:
    return source == Type::kF16x2 ? 0x3C003C00u : 0;
  case Type::kBF16x2:
    return source == Type::kBF16x2 ? 0x3F803F80u : 0;
  default:
    return 0;
  }
}
bool lowerSet(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool ftz = s.take("ftz");
  Type to = s.takeType(), from = s.takeType();
  Comparison comparison;
  if (!comparison.read(l, i, s, ftz, from))
    return false;
  uint32_t value = trueValue(to, from);
  if (value == 0)
    return l.refuse("the types do not go together");
  Place target;
  if (!l.destination(i.operands[0], target))
    return false;
  if (target.wide || target.isPredicate)
    return l.refuse("the result register has another width");
  Op &op = l.emit(comparison.handlers.set);
  fill(op, comparison);
  op.r[0] = target.offset;
  op.immediate = value;
  return true;
}

/// d = predicate ? a : b.
template <class L> void runSelect(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<L>(op.r[1]), *b = warp.lanes<L>(op.r[2]);
  auto *target = warp.lanes<L>(op.r[0]);
  uint32_t bits = warp.predicate(op.r[3]) ^ op.target;
  if (mask == ~0u) {
#ifndef __clang__ // which does not know it
#pragma GCC ivdep
#endif
    for (int l = 0; l < 32; ++l)
      target[l] = bits >> l & 1 ? a[l] : b[l];
    return;
  }
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1)
      target[l] = bits >> l & 1 ? a[l] : b[l];
}
bool isSelectable(Type type) {
  return isBits(type) || type == Type::kU16 || type == Type::kU32 || type == Type::kU64 ||
         type == Type::kS16 || type == Type::kS32 || type == Type::kS64 || type == Type::kF32 ||
         type == Type::kF64;
}
bool lowerSelp(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  Type type = s.takeType();
  if (!isSelectable(type))
    return l.refuse("no type that it takes");
  bool wide = ptx::bitsOf(type) == 64;
  Place a, b, target;
  PredicateSource c;
  Type immediate = type == Type::kF32 ? Type::kF32 : Type::kNone;
  if (!s.understood() || !l.operands(i, 4, 4) || !l.source(i.operands[1], wide, a, immediate) ||
      !l.source(i.operands[2], wide, b, immediate) || !predicateSource(l, i.operands[3], c) ||
      !l.destination(i.operands[0], target, wide))
    return false;
  if (target.wide != wide || target.isPredicate)
    return l.refuse("the result register has another width");
  Op &op = l.emit(wide ? &runSelect<uint64_t> : &runSelect<uint32_t>);
  op.r[0] = target.offset, op.r[1] = a.offset, op.r[2] = b.offset, op.r[3] = c.offset;
  op.target = c.flip;
  return true;
}

template <class L> bool emitSlct(Lowering &l, const Instruction &i, Type by, bool ftz) {
  if (by == Type::kS32)
    return l.map<L, L, L, int32_t>(i, [](L a, L b, int32_t c) { return c >= 0 ? a : b; });
  return ftz ? l.map<L, L, L, float>(i, [](L a, L b, float c) { return flush(c) >= 0 ? a : b; })
             : l.map<L, L, L, float>(i, [](L a, L b, float c) { return c >= 0 ? a : b; });
}
bool lowerSlct(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  bool ftz = s.take("ftz");
  Type type = s.takeType(), by = s.takeType();
  if (!isSelectable(type) || (by != Type::kS32 && by != Type::kF32) || (ftz && by != Type::kF32))
    return l.refuse("it selects by .s32 or .f32, .ftz only by .f32");
  return s.understood() && (ptx::bitsOf(type) == 64 ? emitSlct<uint64_t>(l, i, by, ftz)
                                                    : emitSlct<uint32_t>(l, i, by, ftz));
}

/// variant: which classes count: 1 normal or zero, 2 subnormal, 4 infinite, 8 NaN.
template <class U, int kMantissa> void runTestp(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<U>(op.r[1]);
  constexpr U kFraction = (U{1} << kMantissa) - 1, kInfinity = (~U{0} >> 1) & ~kFraction;
  uint32_t bits = 0;
  for (int l = 0; l < 32; ++l) {
    U magnitude = a[l] & (~U{0} >> 1);
    int kind = magnitude > kInfinity                      ? 8
               : magnitude == kInfinity                   ? 4
               : magnitude != 0 && magnitude <= kFraction ? 2
                                                          : 1;
    bits |= uint32_t{(op.variant & kind) != 0} << l;
  }
  warp.setPredicate(op.r[0], bits, mask);
}
bool lowerTestp(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  std::string_view what =
      s.takeOneOf({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  Type type = s.takeType();
  if (what.empty() || (type != Type::kF32 && type != Type::kF64))
    return l.refuse("it needs a property such as .finite, and .f32 or .f64");
  bool wide = type == Type::kF64;
  Place a;
  uint32_t target = 0;
  if (!s.understood() || !l.operands(i, 2, 2) ||
      !l.source(i.operands[1], wide, a, wide ? Type::kNone : Type::kF32) ||
      !predicateTarget(l, i.operands[0], target))
    return false;
  Op &op = l.emit(wide ? &runTestp<uint64_t, 52> : &runTestp<uint32_t, 23>);
  op.r[0] = target, op.r[1] = a.offset;
  op.variant = what == "finite"       ? 3
               : what == "infinite"   ? 4
               : what == "number"     ? 7
               : what == "notanumber" ? 8
               : what == "normal"     ? 1
                                      : 2;
  return true;
}

constexpr Form kComparisonForms[] = {
    {"setp", lowerSetp, Pipe::kAlu},   {"set", lowerSet, Pipe::kAlu},
    {"selp", lowerSelp, Pipe::kAlu},   {"slct", lowerSlct, Pipe::kAlu},
    {"testp", lowerTestp, Pipe::kAlu},
};

} // namespace

std::span<const Form> comparisonForms() { return kComparisonForms; }

} // namespace platen::ptxsim
