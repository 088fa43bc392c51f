// mov (registers, special registers, addresses, predicates; packing and unpacking) and prmt.
#include "tools/ptxsim/core/scalar_forms.h"

namespace platen::ptxsim {
namespace {

template <class L> void runCopy(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<L>(op.r[1]);
  auto *target = warp.lanes<L>(op.r[0]);
  if (mask == ~0u) {
    std::memcpy(target, a, 32 * sizeof(L));
    return;
  }
  for (int l = 0; l < 32; ++l)
    target[l] = mask >> l & 1 ? a[l] : target[l];
}
void runCopyPredicate(Warp &warp, const Op &op, uint32_t mask) {
  warp.setPredicate(op.r[0], warp.predicate(op.r[1]) ^ op.target, mask);
}

/// One element of `bits` bits at op.immediate of a scalar: target = scalar >> immediate.
template <class L> void runUnpack(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<L>(op.r[1]);
  uint64_t keep = op.bytes >= 8 ? ~uint64_t{0} : (uint64_t{1} << (op.bytes * 8)) - 1;
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  for (int l = 0; l < 32; ++l) {
    auto value = static_cast<uint32_t>((uint64_t{a[l]} >> op.immediate) & keep);
    target[l] = mask >> l & 1 ? value : target[l];
  }
}
/// The elements in the list, op.bytes bytes each, side by side.
template <class L> void runPack(Warp &warp, const Op &op, uint32_t mask) {
  const std::vector<uint32_t> &lists = warp.block->cluster->state->code->lists;
  uint64_t keep = (uint64_t{1} << (op.bytes * 8)) - 1;
  alignas(64) L result[32] = {};
  for (uint32_t n = 0; n < op.count; ++n) {
    const auto *a = warp.lanes<uint32_t>(lists[op.list + n]);
    for (int l = 0; l < 32; ++l)
      result[l] |= static_cast<L>(a[l] & keep) << (n * op.bytes * 8);
  }
  auto *target = warp.lanes<L>(op.r[0]);
  for (int l = 0; l < 32; ++l)
    target[l] = mask >> l & 1 ? result[l] : target[l];
}

/// How many bytes an element of the vector has; 0 where the sizes do not go together.
uint8_t elementBytes(Type type, size_t elements) {
  uint32_t bits =
      type == Type::kB16 || type == Type::kB32 || type == Type::kB64 ? ptx::bitsOf(type) : 0;
  if (elements == 2 && bits != 0)
    return static_cast<uint8_t>(bits / 16);
  return elements == 4 && bits >= 32 ? static_cast<uint8_t>(bits / 32) : 0;
}

bool lowerUnpack(Lowering &l, const Instruction &i, Type type) {
  std::span<const Operand> elements = i.operands[0].elements;
  uint8_t bytes = elementBytes(type, elements.size());
  if (bytes == 0)
    return l.refuse("the vector does not fit the type");
  bool wide = type == Type::kB64;
  Place source;
  if (!l.source(i.operands[1], wide, source))
    return false;
  size_t sinks = 0;
  for (size_t n = 0; n < elements.size(); ++n) {
    if (elements[n].kind == Operand::Kind::kName && elements[n].name == "_") {
      ++sinks;
      continue;
    }
    Place target;
    if (!l.destination(elements[n], target))
      return false;
    if (target.wide || target.isPredicate || target.bits != bytes * 8)
      return l.refuse("an element's register has another width");
    Op &op = l.emit(wide ? &runUnpack<uint64_t> : &runUnpack<uint32_t>);
    op.r[0] = target.offset, op.r[1] = source.offset;
    op.immediate = static_cast<int64_t>(n * bytes * 8);
    op.bytes = bytes;
  }
  return sinks < elements.size() || l.refuse("every element is a sink");
}

bool lowerPack(Lowering &l, const Instruction &i, Type type) {
  std::span<const Operand> elements = i.operands[1].elements;
  uint8_t bytes = elementBytes(type, elements.size());
  if (bytes == 0)
    return l.refuse("the vector does not fit the type");
  bool wide = type == Type::kB64;
  std::vector<uint32_t> offsets;
  for (const Operand &element : elements) {
    Place source;
    if (!l.source(element, false, source))
      return false;
    if (source.bits != 0 && source.bits != bytes * 8)
      return l.refuse("an element's register has another width");
    offsets.push_back(source.offset);
  }
  Place target;
  if (!l.destination(i.operands[0], target, wide))
    return false;
  if (target.wide != wide || target.isPredicate)
    return l.refuse("the result register has another width");
  Op &op = l.emit(wide ? &runPack<uint64_t> : &runPack<uint32_t>);
  op.r[0] = target.offset;
  op.list = static_cast<uint32_t>(l.code().lists.size());
  op.count = static_cast<uint32_t>(offsets.size());
  op.bytes = bytes;
  l.code().lists.insert(l.code().lists.end(), offsets.begin(), offsets.end());
  return true;
}

/// mov.b128: registers of 128 bits among themselves, from and into two of 64.
bool lowerMov128(Lowering &l, const Instruction &i) {
  if (!l.operands(i, 2, 2))
    return false;
  uint32_t halves[2][2];
  for (size_t n : {size_t{0}, size_t{1}}) {
    const Operand &operand = i.operands[n];
    if (operand.kind != Operand::Kind::kVector) {
      if (!l.quad(operand, halves[n], n == 0))
        return false;
      continue;
    }
    if (operand.elements.size() != 2 || i.operands[1 - n].kind == Operand::Kind::kVector)
      return l.refuse("128 bits are two elements of 64");
    for (size_t e : {size_t{0}, size_t{1}}) {
      Place place;
      if (!(n == 0 ? l.destination(operand.elements[e], place, true)
                   : l.source(operand.elements[e], true, place)))
        return false;
      if (!place.wide || place.isPredicate)
        return l.refuse("128 bits are two elements of 64");
      halves[n][e] = place.offset;
    }
  }
  for (size_t e : {size_t{0}, size_t{1}}) {
    Op &op = l.emit(&runCopy<uint64_t>);
    op.r[0] = halves[0][e], op.r[1] = halves[1][e];
  }
  return true;
}

bool lowerMov(Lowering &l, const Instruction &i) {
  Suffixes s(l, i);
  if (s.take("pred")) {
    uint32_t target = 0;
    PredicateSource source;
    if (!s.understood() || !l.operands(i, 2, 2) || !predicateTarget(l, i.operands[0], target) ||
        !predicateSource(l, i.operands[1], source))
      return false;
    Op &op = l.emit(&runCopyPredicate);
    op.r[0] = target, op.r[1] = source.offset, op.target = source.flip;
    return true;
  }
  Type type = s.takeType();
  uint32_t bits = ptx::bitsOf(type);
  if (type == Type::kB128)
    return s.understood() && lowerMov128(l, i);
  bool isFloat = ptx::isFloat(type) && type != Type::kF32 && type != Type::kF64;
  if (bits < 16 || bits > 64 || isFloat || type == Type::kE4M3x2 || type == Type::kE5M2x2 ||
      type == Type::kU8x4 || type == Type::kS8x4)
    return l.refuse("no type that it takes");
  if (!s.understood() || !l.operands(i, 2, 2))
    return false;
  if (i.operands[0].kind == Operand::Kind::kVector)
    return lowerUnpack(l, i, type);
  if (i.operands[1].kind == Operand::Kind::kVector)
    return lowerPack(l, i, type);
  bool wide = bits == 64;
  Place source, target;
  if (!l.source(i.operands[1], wide, source, type == Type::kF32 ? Type::kF32 : Type::kNone) ||
      !l.destination(i.operands[0], target, wide))
    return false;
  if (target.wide != wide || target.isPredicate)
    return l.refuse("the result register has another width");
  Op &op = l.emit(wide ? &runCopy<uint64_t> : &runCopy<uint32_t>);
  op.r[0] = target.offset, op.r[1] = source.offset;
  return true;
}

/// The selectors of prmt's modes: for c & 3 = 0…3 the source bytes of d.b0 … d.b3, four bits each.
struct PermuteMode {
  std::string_view name;
  uint16_t selectors[4];
};
constexpr PermuteMode kPermuteModes[] = {
    {"f4e", {0x3210, 0x4321, 0x5432, 0x6543}}, {"b4e", {0x5670, 0x6701, 0x7012, 0x0123}},
    {"rc8", {0x0000, 0x1111, 0x2222, 0x3333}}, {"ecl", {0x3210, 0x3211, 0x3222, 0x3333}},
    {"ecr", {0x0000, 0x1110, 0x2210, 0x3210}}, {"rc16", {0x1010, 0x3232, 0x1010, 0x3232}},
};
uint32_t permute(uint32_t a, uint32_t b, uint32_t selectors) {
  uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (int n = 0; n < 4; ++n) {
    uint32_t selector = selectors >> (4 * n);
    auto byte = static_cast<uint32_t>(bytes >> (8 * (selector & 7))) & 0xFF;
    uint32_t sign = byte & 0x80 ? 0xFF : 0;
    result |= (selector & 8 ? sign : byte) << (8 * n);
  }
  return result;
}
/// op.variant: 0 generic, else the mode's number plus one.
void runPermuteMode(Warp &warp, const Op &op, uint32_t mask) {
  const auto *a = warp.lanes<uint32_t>(op.r[1]), *b = warp.lanes<uint32_t>(op.r[2]),
             *c = warp.lanes<uint32_t>(op.r[3]);
  auto *target = warp.lanes<uint32_t>(op.r[0]);
  const PermuteMode &mode = kPermuteModes[op.variant];
  for (int l = 0; l < 32; ++l)
    if (mask >> l & 1)
      target[l] = permute(a[l], b[l], mode.selectors[c[l] & 3]);
}
bool lowerPrmt(Lowering &l, const Instruction &i) {
  using W = uint32_t;
  Suffixes s(l, i);
  if (!s.take("b32"))
    return l.refuse("it takes .b32");
  std::string_view mode = s.takeOneOf({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  if (!s.understood() || !l.map<W, W, W, W>(i, [](W a, W b, W c) { return permute(a, b, c); }))
    return false;
  for (size_t n = 0; n < std::size(kPermuteModes); ++n)
    if (kPermuteModes[n].name == mode) {
      l.code().ops.back().run = &runPermuteMode;
      l.code().ops.back().variant = static_cast<uint8_t>(n);
    }
  return true;
}

constexpr Form kMoveForms[] = {
    {"mov", lowerMov, Pipe::kAlu},
    {"prmt", lowerPrmt, Pipe::kAlu},
};

} // namespace

std::span<const Form> moveForms() { return kMoveForms; }

} // namespace platen::ptxsim
