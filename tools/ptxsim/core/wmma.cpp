// wmma.load, wmma.mma and wmma.store, as nvcuda::wmma compiles to. Numerics: multiply.h.
//
// The ISA leaves open which lane holds which element. Here the elements of a fragment, row by row,
// go through its registers: element e lies in slot e, where slot s is part s % p of lane s / p % 32
// of register s / (32 p), p elements to a register. f16 multiplicands have twice as many slots as
// elements; the second half repeats the first. Layout qualifiers matter for memory only.
// Executed: f16, bf16, s8 and u8 of m16n16k16, m8n32k16 and m32n8k16, and tf32 of m16n16k8.
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/multiply.h"

#include <bit>
#include <cstring>

namespace platen::ptxsim {
namespace {

/// One of the matrices of an instruction, in eight bytes.
struct Fragment {
  uint8_t rows = 0, columns = 0, registers = 0;
  Element element{};
  bool isColumnMajor = false; // in memory
  uint8_t unused[3] = {};
  uint32_t elements() const { return uint32_t{rows} * columns; }
  uint32_t bits() const { return static_cast<uint32_t>(bitsOf(element)); }
};
static_assert(sizeof(Fragment) == 8);

uint8_t registersOf(const Fragment &f, bool isMultiplicand) {
  uint32_t registers = f.elements() * f.bits() / 1024;
  return static_cast<uint8_t>(f.element == Element::kF16 && isMultiplicand ? 8 : registers);
}

/// `which`: a, b or c (d is like c).
Fragment fragmentOf(const Shape &shape, char which, Element element, bool isColumnMajor) {
  Fragment f;
  f.rows = static_cast<uint8_t>(which == 'b' ? shape.k : shape.m);
  f.columns = static_cast<uint8_t>(which == 'a' ? shape.k : shape.n);
  f.element = element;
  f.isColumnMajor = isColumnMajor;
  f.registers = registersOf(f, which == 'a' || which == 'b');
  return f;
}

/// All elements as 32-bit words, row by row.
void gatherWords(Warp &warp, const uint32_t *slots, const Fragment &f, uint32_t *words) {
  uint32_t bits = f.bits(), per = 32 / bits;
  for (uint32_t e = 0; e < f.elements(); ++e) {
    uint32_t word = warp.lanes<uint32_t>(slots[e / per / 32])[e / per % 32];
    words[e] = bits == 32 ? word : word >> e % per * bits & ((1u << bits) - 1);
  }
}

void scatterWords(Warp &warp, const uint32_t *slots, const Fragment &f, const uint32_t *words) {
  uint32_t bits = f.bits(), per = 32 / bits;
  for (uint32_t s = 0; s < uint32_t{f.registers} * 32 * per; s += per) {
    uint32_t word = 0;
    for (uint32_t part = 0; part < per; ++part)
      word |= words[(s + part) % f.elements()] << part * bits;
    warp.lanes<uint32_t>(slots[s / per / 32])[s / per % 32] = word;
  }
}

// A move's fragment lies behind its registers in the operand list.
void putFragment(const Fragment &f, Code &code) {
  auto bits = std::bit_cast<uint64_t>(f);
  code.lists.push_back(static_cast<uint32_t>(bits));
  code.lists.push_back(static_cast<uint32_t>(bits >> 32));
}
Fragment fragmentIn(const Warp &warp, const Op &op) {
  const uint32_t *words = listOf(warp, op) + op.count;
  return std::bit_cast<Fragment>(uint64_t{words[1]} << 32 | words[0]);
}

/// Calls use(first element's number, host addresses) for 32 elements at a time.
template <class F>
void forEachElement(Warp &warp, const Op &op, const Fragment &f, int access, F use) {
  uint64_t base[32], address[32];
  uint8_t *host[32];
  addresses(warp, op, 1, base);
  const uint32_t *strides = warp.lanes<uint32_t>(op.r[2]);
  for (uint32_t lane = 1; lane < 32; ++lane)
    if (base[lane] != base[0] || strides[lane] != strides[0])
      stop(ViolationKind::kIllegalInstruction, "address or stride is not the same in all lanes",
           lane);
  uint64_t size = f.bits() / 8, stride = strides[0];
  for (uint32_t first = 0; first < f.elements(); first += 32) {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      uint32_t row = (first + lane) / f.columns, column = (first + lane) % f.columns;
      address[lane] =
          base[0] + (f.isColumnMajor ? column * stride + row : row * stride + column) * size;
    }
    resolve(warp, op, ~0u, address, static_cast<uint32_t>(size), access, host);
    use(first, host);
  }
}

void runLoad(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  Fragment f = fragmentIn(warp, op);
  uint32_t words[512] = {};
  forEachElement(warp, op, f, kRead, [&](uint32_t first, uint8_t *const(&host)[32]) {
    for (uint32_t lane = 0; lane < 32; ++lane)
      std::memcpy(&words[first + lane], host[lane], f.bits() / 8);
  });
  scatterWords(warp, listOf(warp, op), f, words);
}

void runStore(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  Fragment f = fragmentIn(warp, op);
  uint32_t words[512] = {};
  gatherWords(warp, listOf(warp, op), f, words);
  forEachElement(warp, op, f, kWrite, [&](uint32_t first, uint8_t *const(&host)[32]) {
    for (uint32_t lane = 0; lane < 32; ++lane)
      std::memcpy(host[lane], &words[first + lane], f.bits() / 8);
  });
}

void decodeWords(Element element, const uint32_t *words, uint32_t count, double *values) {
  for (uint32_t i = 0; i < count; ++i)
    decodeElements(element, &words[i], 1, &values[i]);
}

/// Shape and types of a wmma.mma: bytes of its immediate.
struct Product {
  Fragment a, b, c, d;
  bool saturate;
  const uint32_t *dSlots, *aSlots, *bSlots, *cSlots;
};

Product productOf(const Warp &warp, const Op &op) {
  Shape shape{static_cast<int>(op.immediate & 0xFF), static_cast<int>(op.immediate >> 8 & 0xFF),
              static_cast<int>(op.immediate >> 16 & 0xFF)};
  auto element = [&](int at) { return static_cast<Element>(op.immediate >> at & 0xFF); };
  Product p{fragmentOf(shape, 'a', element(24), false),
            fragmentOf(shape, 'b', element(32), false),
            fragmentOf(shape, 'c', element(40), false),
            fragmentOf(shape, 'c', element(48), false),
            (op.immediate >> 56 & 1) != 0,
            nullptr,
            nullptr,
            nullptr,
            nullptr};
  p.dSlots = listOf(warp, op);
  p.aSlots = p.dSlots + p.d.registers;
  p.bSlots = p.aSlots + p.a.registers;
  p.cSlots = p.bSlots + p.b.registers;
  return p;
}

void runMma(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  requireWholeWarp(mask);
  Product p = productOf(warp, op);
  uint32_t a[512] = {}, b[512] = {}, c[256] = {};
  gatherWords(warp, p.aSlots, p.a, a);
  gatherWords(warp, p.bSlots, p.b, b);
  gatherWords(warp, p.cSlots, p.c, c);
  uint32_t m = p.a.rows, n = p.b.columns, k = p.a.columns;
  countMatrix(warp, uint64_t{m} * n * k);
  if (isIntegerElement(p.a.element)) {
    auto value = [](Element e, uint32_t word) {
      return e == Element::kS8 ? static_cast<int8_t>(word) : static_cast<int32_t>(word & 0xFF);
    };
    for (uint32_t row = 0; row < m; ++row)
      for (uint32_t column = 0; column < n; ++column) {
        int64_t sum = 0;
        for (uint32_t i = 0; i < k; ++i)
          sum += value(p.a.element, a[row * k + i]) * value(p.b.element, b[i * n + column]);
        uint32_t &cell = c[row * n + column];
        cell = static_cast<uint32_t>(addTo(static_cast<int32_t>(cell), sum, p.saturate));
      }
    scatterWords(warp, p.dSlots, p.d, c);
    return;
  }
  double left[512], right[512], tile[256];
  decodeWords(p.a.element, a, m * k, left);
  decodeWords(p.b.element, b, k * n, right);
  decodeWords(p.c.element, c, m * n, tile);
  multiplyTile(tile, left, right, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k));
  for (uint32_t i = 0; i < m * n; ++i)
    c[i] = p.d.element == Element::kF16 ? roundToF16(tile[i])
                                        : give<float>(static_cast<float>(tile[i]));
  scatterWords(warp, p.dSlots, p.d, c);
}

bool shapeOf(Lowering &lowering, const Instruction &i, Shape &shape) {
  for (std::string_view part : i.parts)
    if (parseShape(part, shape))
      return (shape.m == 16 && shape.n == 16 && (shape.k == 16 || shape.k == 8)) ||
             (shape.m == 8 && shape.n == 32 && shape.k == 16) ||
             (shape.m == 32 && shape.n == 8 && shape.k == 16) ||
             lowering.refuse("wmma of this shape is not executed");
  return lowering.refuse("wmma without a shape");
}

/// Whether a multiplicand of this type exists in this shape.
bool fits(const Shape &shape, Element element) {
  switch (element) {
  case Element::kF16:
  case Element::kBF16:
  case Element::kS8:
  case Element::kU8:
    return shape.k == 16;
  case Element::kTF32:
    return shape.k == 8;
  default:
    return false;
  }
}

bool lowerMove(Lowering &lowering, const Instruction &i, bool isStore) {
  Shape shape;
  char which = i.parts.size() > 2 && i.parts[2].size() == 1 ? i.parts[2][0] : ' ';
  Element element = elementFromName(i.parts.back());
  if (!shapeOf(lowering, i, shape) || !lowering.operands(i, 2, 3))
    return false;
  bool isResult = which == 'c' || which == 'd';
  bool known =
      isResult ? element == Element::kF16 || element == Element::kF32 || element == Element::kS32
               : (which == 'a' || which == 'b') && fits(shape, element);
  bool isColumnMajor = Lowering::has(i, "col");
  if (!known || (which == 'd') != isStore || (!isColumnMajor && !Lowering::has(i, "row")))
    return lowering.refuse("wmma has no such matrix of this type and shape");
  Fragment f = fragmentOf(shape, isStore ? 'c' : which, element, isColumnMajor);
  Place stride;
  if (i.operands.size() == 3) {
    if (!lowering.source(i.operands[2], false, stride))
      return false;
  } else {
    stride.offset = lowering.constant(isColumnMajor ? f.rows : f.columns, false);
  }
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!appendRegisters(lowering, i.operands[isStore ? 1 : 0], f.registers, false, !isStore,
                       "the fragment"))
    return false;
  putFragment(f, lowering.code());
  Op &op = lowering.emit(isStore ? &runStore : &runLoad, Pipe::kLsu);
  op.list = list;
  op.count = f.registers;
  op.r[2] = stride.offset;
  op.bytes = static_cast<uint8_t>(f.bits() / 8);
  op.space = Lowering::has(i, "shared") || Lowering::has(i, "shared::cta") ? Space::kShared
                                                                           : Space::kGlobal;
  op.generic = op.space != Space::kShared && !Lowering::has(i, "global");
  return lowering.address(i.operands[isStore ? 0 : 1], op, 1);
}

bool lowerProduct(Lowering &lowering, const Instruction &i) {
  Shape shape;
  Element types[4] = {};
  int count = 0;
  for (std::string_view part : i.parts)
    if (Element e = elementFromName(part); e != Element::kNone && count < 4)
      types[count++] = e;
  if (!shapeOf(lowering, i, shape) || !lowering.operands(i, 4, 4))
    return false;
  if (count == 2) { // f16 multiplicands: only D and C are named
    types[3] = types[1];
    types[1] = types[2] = Element::kF16;
  }
  bool integers = isIntegerElement(types[1]);
  auto accumulates = [&](Element e) {
    return integers ? e == Element::kS32
                    : e == Element::kF32 || (e == Element::kF16 && types[1] == Element::kF16);
  };
  if ((count != 2 && count != 4) || !fits(shape, types[1]) || !fits(shape, types[2]) ||
      (!integers && types[1] != types[2]) || integers != isIntegerElement(types[2]) ||
      !accumulates(types[0]) || !accumulates(types[3]))
    return lowering.refuse("wmma.mma does not multiply these types in this shape");
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  Fragment fragments[4] = {
      fragmentOf(shape, 'c', types[0], false), fragmentOf(shape, 'a', types[1], false),
      fragmentOf(shape, 'b', types[2], false), fragmentOf(shape, 'c', types[3], false)};
  for (size_t n = 0; n < 4; ++n)
    if (!appendRegisters(lowering, i.operands[n], fragments[n].registers, false, n == 0,
                         "a fragment"))
      return false;
  Op &op = lowering.emit(&runMma);
  op.list = list;
  op.count = static_cast<uint32_t>(lowering.code().lists.size()) - list;
  auto at = [](auto value, int bit) { return static_cast<int64_t>(value) << bit; };
  op.immediate = at(shape.m, 0) | at(shape.n, 8) | at(shape.k, 16) | at(types[1], 24) |
                 at(types[2], 32) | at(types[3], 40) | at(types[0], 48) |
                 at(Lowering::has(i, "satfinite"), 56);
  return true;
}

} // namespace

bool lowerWmma(Lowering &lowering, const Instruction &i) {
  std::string_view name = i.parts.size() > 1 ? i.parts[1] : std::string_view();
  if (name == "load" || name == "store")
    return lowerMove(lowering, i, name == "store");
  if (name == "mma")
    return lowerProduct(lowering, i);
  return lowering.refuse("unknown wmma instruction");
}

} // namespace platen::ptxsim
