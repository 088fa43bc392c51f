// atom and red: read-modify-write of one lane after the other, atomic between host threads.
#include "tools/ptxsim/core/forms_async.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

struct And {
  template <class T> static T of(T a, T b, T) { return a & b; }
};
struct Or {
  template <class T> static T of(T a, T b, T) { return a | b; }
};
struct Xor {
  template <class T> static T of(T a, T b, T) { return a ^ b; }
};
struct Exchange {
  template <class T> static T of(T, T b, T) { return b; }
};
struct Swap {
  template <class T> static T of(T a, T b, T c) { return a == b ? c : a; }
};
struct Increment {
  template <class T> static T of(T a, T b, T) { return a >= b ? 0 : a + 1; }
};
struct Decrement {
  template <class T> static T of(T a, T b, T) { return a == 0 || a > b ? b : a - 1; }
};
struct Add {
  template <class T> static T of(T a, T b, T) {
    if constexpr (isPair<T>)
      return {of(a.lo, b.lo, b.lo), of(a.hi, b.hi, b.hi)};
    else if constexpr (std::is_same_v<T, F16>)
      return toF16(toFloat(a) + toFloat(b));
    else if constexpr (std::is_same_v<T, BF16>)
      return toBF16(toFloat(a) + toFloat(b));
    else if constexpr (std::is_floating_point_v<T>)
      return a + b;
    else
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) +
                            static_cast<std::make_unsigned_t<T>>(b));
  }
};
template <bool kMaximum> struct Extreme {
  template <class T> static T of(T a, T b, T) {
    if constexpr (isPair<T>) {
      return {of(a.lo, b.lo, b.lo), of(a.hi, b.hi, b.hi)};
    } else if constexpr (isHalf<T>) { // a NaN loses against a number; -0 < +0
      float x = toFloat(a), y = toFloat(b);
      if (x != x || y != y)
        return x != x ? (y != y ? T{0x7FFF} : b) : a;
      bool less = x < y || (x == y && std::signbit(x) && !std::signbit(y));
      return less == kMaximum ? b : a;
    } else {
      return (a < b) == kMaximum ? b : a;
    }
  }
};

/// PTX flushes subnormals of atom.add.f32 on global memory, and keeps them on shared memory.
template <class T> T flushed(T value, bool flushes) {
  if constexpr (std::is_same_v<T, float>)
    return flushes ? flush(value) : value;
  else
    return value;
}

template <class T, class F> T update(uint8_t *host, T b, T c, bool flushes) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t,
                                  std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  auto *word = reinterpret_cast<Bits *>(host);
  Bits old = __atomic_load_n(word, __ATOMIC_SEQ_CST), next;
  T before;
  do {
    before = take<T>(static_cast<Lane<T>>(old));
    next = static_cast<Bits>(
        give<T>(flushed(F::of(flushed(before, flushes), flushed(b, flushes), c), flushes)));
  } while (
      !__atomic_compare_exchange_n(word, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return before;
}

/// lists: sources b, then (variant2 & 1) results; r[3] is c of cas. variant2 & 2: add.f32 flushes.
template <class T, class F> void runAtomic(Warp &warp, const Op &op, uint32_t mask) {
  uint64_t address[32];
  addresses(warp, op, 1, address);
  auto strength = static_cast<Strength>(op.variant);
  uint8_t *host[32];
  resolve(warp, op, mask, address, static_cast<uint32_t>(sizeof(T)) * op.count,
          kRead | kWrite | kAtomic, host);
  synchronise(warp, op, mask, address, strength, true, true);
  const uint32_t *list = warp.block->cluster->state->code->lists.data() + op.list;
  for (uint32_t e = 0; e < op.count; ++e) {
    const auto *b = warp.lanes<Lane<T>>(list[e]), *c = warp.lanes<Lane<T>>(op.r[3]);
    Lane<T> *result = op.variant2 & 1 ? warp.lanes<Lane<T>>(list[op.count + e]) : nullptr;
    for (uint32_t l = 0; l < 32; ++l) {
      if (!(mask & 1u << l))
        continue;
      bool flushes = (op.variant2 & 2) && (!op.generic || (address[l] & kWindowMask) == 0);
      T before = update<T, F>(host[l] + e * sizeof(T), take<T>(b[l]), take<T>(c[l]), flushes);
      if (result) {
        // The bits as they were: a NaN's payload is kept.
        if constexpr (std::is_floating_point_v<T>)
          result[l] = std::bit_cast<Lane<T>>(before);
        else
          result[l] = give<T>(before);
      }
    }
  }
}

using Word128 = unsigned __int128;

/// exch and cas (variant2 & 4) of 16 bytes. list: b, then c of cas, then (variant2 & 1) the result;
/// low and high halves each.
void runAtomic128(Warp &warp, const Op &op, uint32_t mask) {
  uint64_t address[32];
  addresses(warp, op, 1, address);
  uint8_t *host[32];
  resolve(warp, op, mask, address, 16, kRead | kWrite | kAtomic, host);
  synchronise(warp, op, mask, address, static_cast<Strength>(op.variant), true, true);
  const uint32_t *list = warp.block->cluster->state->code->lists.data() + op.list;
  auto at = [&](int n, uint32_t l) -> uint64_t & { return warp.lanes<uint64_t>(list[n])[l]; };
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    auto word = [&](int n) { return Word128{at(n + 1, l)} << 64 | at(n, l); };
    auto *target = reinterpret_cast<Word128 *>(host[l]);
    bool isSwap = op.variant2 & 4;
    Word128 expected = isSwap ? word(0) : 0, wanted = isSwap ? word(2) : word(0), old;
    while ((old = __sync_val_compare_and_swap(target, expected, wanted)) != expected && !isSwap)
      expected = old;
    if (op.variant2 & 1) {
      at(4, l) = static_cast<uint64_t>(old);
      at(5, l) = static_cast<uint64_t>(old >> 64);
    }
  }
}

bool lowerAtomic128(Lowering &l, const Instruction &i, bool hasResult) {
  bool isSwap = Lowering::has(i, "cas");
  if (!isSwap && !Lowering::has(i, "exch"))
    return l.refuse("of 128 bits only exch and cas are executed");
  size_t at = hasResult ? 1 : 0, least = at + 2 + (isSwap ? 1 : 0);
  uint32_t slots[6] = {}, halves[2];
  if (!l.operands(i, least, least + 1) || !l.quad(i.operands[at + 1], halves, false))
    return false;
  std::copy(halves, halves + 2, slots);
  if (isSwap && !l.quad(i.operands[at + 2], halves, false))
    return false;
  std::copy(halves, halves + 2, slots + 2);
  if (hasResult && !l.quad(i.operands[0], halves, true))
    return false;
  std::copy(halves, halves + 2, slots + 4);
  Op &op = l.emit(&runAtomic128);
  op.variant = std::max<uint8_t>(strengthOf(i), kRelaxed);
  op.variant2 = static_cast<uint8_t>((hasResult ? 1 : 0) | (isSwap ? 4 : 0));
  op.atomic = true;
  op.bytes = 16;
  op.list = static_cast<uint32_t>(l.code().lists.size());
  op.count = 6;
  l.code().lists.insert(l.code().lists.end(), std::begin(slots), std::end(slots));
  return setSpace(l, i, op) && l.address(i.operands[at], op, 1);
}

template <class T, class F> void reduce(uint8_t *target, const uint8_t *value) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t,
                                  std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  Bits bits;
  std::memcpy(&bits, value, sizeof bits);
  T operand = take<T>(static_cast<Lane<T>>(bits));
  update<T, F>(target, operand, operand, false);
}
template <class T> Reducer reducerOf(const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "add"))
    return &reduce<T, Add>;
  if constexpr (!std::is_floating_point_v<T>) {
    if (L::has(i, "min"))
      return &reduce<T, Extreme<false>>;
    if (L::has(i, "max"))
      return &reduce<T, Extreme<true>>;
  }
  if constexpr (std::is_integral_v<T>) {
    if (L::has(i, "and"))
      return &reduce<T, And>;
    if (L::has(i, "or"))
      return &reduce<T, Or>;
    if (L::has(i, "xor"))
      return &reduce<T, Xor>;
  }
  if constexpr (std::is_same_v<T, uint32_t>) {
    if (L::has(i, "inc"))
      return &reduce<T, Increment>;
    if (L::has(i, "dec"))
      return &reduce<T, Decrement>;
  }
  return nullptr;
}

template <class T> Handler bitwise(const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "and"))
    return &runAtomic<T, And>;
  if (L::has(i, "or"))
    return &runAtomic<T, Or>;
  if (L::has(i, "xor"))
    return &runAtomic<T, Xor>;
  if (L::has(i, "exch"))
    return &runAtomic<T, Exchange>;
  return L::has(i, "cas") ? &runAtomic<T, Swap> : nullptr;
}
template <class T> Handler arithmetic(const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "add"))
    return &runAtomic<T, Add>;
  if constexpr (!std::is_floating_point_v<T>) {
    if (L::has(i, "min"))
      return &runAtomic<T, Extreme<false>>;
    if (L::has(i, "max"))
      return &runAtomic<T, Extreme<true>>;
  }
  if constexpr (std::is_same_v<T, uint32_t>) {
    if (L::has(i, "inc"))
      return &runAtomic<T, Increment>;
    if (L::has(i, "dec"))
      return &runAtomic<T, Decrement>;
  }
  return nullptr;
}

Handler handlerOf(const Instruction &i, Type type) {
  switch (type) {
  case Type::kB16:
    return Lowering::has(i, "cas") ? &runAtomic<uint16_t, Swap> : nullptr;
  case Type::kB32:
    return bitwise<uint32_t>(i);
  case Type::kB64:
    return bitwise<uint64_t>(i);
  case Type::kU32:
    return arithmetic<uint32_t>(i);
  case Type::kS32:
    return arithmetic<int32_t>(i);
  case Type::kU64:
    return arithmetic<uint64_t>(i);
  case Type::kS64:
    return arithmetic<int64_t>(i);
  case Type::kF32:
    return arithmetic<float>(i);
  case Type::kF64:
    return arithmetic<double>(i);
  case Type::kF16:
    return arithmetic<F16>(i);
  case Type::kBF16:
    return arithmetic<BF16>(i);
  case Type::kF16x2:
    return arithmetic<F16x2>(i);
  case Type::kBF16x2:
    return arithmetic<BF16x2>(i);
  default:
    return nullptr;
  }
}

} // namespace

Reducer reducerOf(const Instruction &i, Type type) {
  switch (type) {
  case Type::kB32:
  case Type::kU32:
    return reducerOf<uint32_t>(i);
  case Type::kS32:
    return reducerOf<int32_t>(i);
  case Type::kB64:
  case Type::kU64:
    return reducerOf<uint64_t>(i);
  case Type::kS64:
    return reducerOf<int64_t>(i);
  case Type::kF16:
    return reducerOf<F16>(i);
  case Type::kBF16:
    return reducerOf<BF16>(i);
  case Type::kF32:
    return reducerOf<float>(i);
  case Type::kF64:
    return reducerOf<double>(i);
  default:
    return nullptr;
  }
}

bool lowerAtomic(Lowering &l, const Instruction &i) {
  using L = Lowering;
  if (L::has(i, "async"))
    return lowerStoreAsync(l, i);
  bool hasResult = i.parts[0] == "atom", isSwap = L::has(i, "cas");
  if (!knownQualifiers(
          l, i, {"and", "or", "xor", "cas", "exch", "add", "inc", "dec", "min", "max", "noftz"}))
    return false;
  Type type = L::type(i);
  if (type == Type::kB128)
    return lowerAtomic128(l, i, hasResult);
  Handler handler = handlerOf(i, type);
  if (!handler)
    return l.refuse("this atomic operation is not executed for this type");
  size_t at = hasResult ? 1 : 0, least = at + 2 + (isSwap ? 1 : 0);
  if (!l.operands(i, least, least + 1))
    return false;
  bool wide = ptx::bitsOf(type) == 64;
  auto elementsOf = [](const Operand &operand) {
    return operand.kind == Operand::Kind::kVector ? std::span<const Operand>(operand.elements)
                                                  : std::span<const Operand>(&operand, 1);
  };
  std::vector<uint32_t> offsets;
  Place place, swap;
  for (const Operand &element : elementsOf(i.operands[at + 1])) {
    if (!l.source(element, wide, place, type))
      return false;
    offsets.push_back(place.offset);
  }
  size_t count = offsets.size();
  if (hasResult)
    for (const Operand &element : elementsOf(i.operands[0])) {
      if (!l.destination(element, place, wide))
        return false;
      if (place.wide != wide)
        return l.refuse("the result register has another width");
      offsets.push_back(place.offset);
    }
  if (hasResult && offsets.size() != 2 * count)
    return l.refuse("result and operand have different lengths");
  if (isSwap && !l.source(i.operands[at + 2], wide, swap, type))
    return false;
  Op &op = l.emit(handler);
  op.variant = std::max<uint8_t>(strengthOf(i), kRelaxed);
  op.atomic = true;
  op.r[3] = isSwap ? swap.offset : offsets[0];
  op.list = static_cast<uint32_t>(l.code().lists.size());
  op.count = static_cast<uint32_t>(count);
  l.code().lists.insert(l.code().lists.end(), offsets.begin(), offsets.end());
  if (!setSpace(l, i, op) || !l.address(i.operands[at], op, 1))
    return false;
  bool flushes = type == Type::kF32 && (op.generic || op.space == Space::kGlobal);
  op.variant2 = static_cast<uint8_t>((hasResult ? 1 : 0) | (flushes ? 2 : 0));
  op.bytes = static_cast<uint8_t>(ptx::bitsOf(type) / 8);
  writesShared(l, op, op.bytes);
  return true;
}

} // namespace platen::ptxsim
