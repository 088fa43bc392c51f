// mma.sync.aligned: lowering. A table says which shapes a type may have.
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/mma.h"

namespace platen::ptxsim {
namespace {

struct ShapeRow {
  Element a; // stands for its family
  int m, k;
};
constexpr ShapeRow kShapes[] = {
    {Element::kF16, 16, 8},     {Element::kF16, 16, 16},  {Element::kBF16, 16, 8},
    {Element::kBF16, 16, 16},   {Element::kTF32, 16, 4},  {Element::kTF32, 16, 8},
    {Element::kE4M3, 16, 16},   {Element::kE4M3, 16, 32}, {Element::kE2M1, 16, 32},
    {Element::kE2M1x2, 16, 64}, {Element::kF64, 8, 4},    {Element::kF64, 16, 4},
    {Element::kF64, 16, 8},     {Element::kF64, 16, 16},  {Element::kS8, 8, 16},
    {Element::kS8, 16, 16},     {Element::kS8, 16, 32},   {Element::kS4, 8, 32},
    {Element::kS4, 16, 32},     {Element::kS4, 16, 64},   {Element::kB1, 8, 128},
    {Element::kB1, 16, 128},    {Element::kB1, 16, 256},
};

/// The type that stands for those that may be mixed with `element`.
Element family(Element element, bool anyNarrow) {
  switch (element) {
  case Element::kE4M3:
  case Element::kE5M2:
    return anyNarrow ? Element::kE2M1 : Element::kE4M3;
  case Element::kE3M2:
  case Element::kE2M3:
  case Element::kE2M1:
    return Element::kE2M1;
  case Element::kU8:
    return Element::kS8;
  case Element::kU4:
    return Element::kS4;
  default:
    return element;
  }
}

/// Types of D, A, B, C and of the scales, as far as the opcode has them.
bool typesOf(Lowering &lowering, const Instruction &i, MmaPlan &plan) {
  Element types[5] = {};
  int count = 0;
  for (size_t p = 6; p < i.parts.size() && count < 5; ++p)
    if (Element e = elementFromName(i.parts[p]); e != Element::kNone)
      types[count++] = e;
  plan.d = types[0], plan.a = types[1], plan.b = types[2], plan.scale = types[4];
  if (count != (Lowering::has(i, "block_scale") ? 5 : 4) || types[0] != types[3])
    return lowering.refuse("mma needs the types of D, A, B and C, those of D and C the same");
  if (!Lowering::has(i, "kind::mxf4") && !Lowering::has(i, "kind::mxf4nvf4"))
    return true;
  if (plan.a != Element::kE2M1 || plan.b != Element::kE2M1)
    return lowering.refuse("this kind multiplies e2m1");
  plan.a = plan.b = Element::kE2M1x2;
  return true;
}

bool combinationOf(Lowering &lowering, const Instruction &i, const Shape &shape, MmaPlan &plan) {
  bool anyNarrow = Lowering::has(i, "kind::f8f6f4") || Lowering::has(i, "kind::mxf8f6f4");
  Element kin = family(plan.a, anyNarrow);
  if (kin != family(plan.b, anyNarrow) || (kin == Element::kE2M1 && !anyNarrow))
    return lowering.refuse("mma does not multiply these two types");
  bool known = false, sparse = plan.isSparse();
  for (const ShapeRow &row : kShapes) // a sparse A has as many registers as a dense one of half k
    known |= row.a == kin && row.m == shape.m && row.k * (sparse ? 2 : 1) == shape.k;
  if (sparse && (shape.m != 16 || bitsOf(plan.a) > 32 || bitsOf(plan.a) < 8 || anyNarrow ||
                 (kin == Element::kE4M3 && shape.k != 64)))
    known = false;
  if (!known)
    return lowering.refuse("mma has no such shape for this type");
  bool half = kin == Element::kF16 || kin == Element::kE4M3 ||
              (kin == Element::kE2M1 && plan.scale == Element::kNone);
  Element wanted = kin == Element::kF64              ? Element::kF64
                   : isIntegerElement(kin)           ? Element::kS32
                   : half && plan.d == Element::kF16 ? Element::kF16
                                                     : Element::kF32;
  if (plan.d != wanted)
    return lowering.refuse("mma has no such accumulator for this type");
  if (kin != Element::kB1)
    return true;
  bool isAnd = Lowering::has(i, "and");
  if (!Lowering::has(i, "popc") || isAnd == Lowering::has(i, "xor"))
    return lowering.refuse("mma of .b1 needs .and.popc or .xor.popc");
  plan.flags |= isAnd ? MmaPlan::kAnd : 0;
  return true;
}

bool scalesOf(Lowering &lowering, const Instruction &i, MmaPlan &plan) {
  bool isMx4 = Lowering::has(i, "kind::mxf4"), isNv4 = Lowering::has(i, "kind::mxf4nvf4");
  bool isMx8 = Lowering::has(i, "kind::mxf8f6f4");
  if (plan.scale == Element::kNone)
    return !(isMx4 || isNv4 || isMx8) || lowering.refuse("this kind needs .block_scale");
  plan.scales = Lowering::has(i, "scale_vec::1X")   ? 1
                : Lowering::has(i, "scale_vec::2X") ? 2
                : Lowering::has(i, "scale_vec::4X") ? 4
                : isMx4                             ? 2
                : isNv4                             ? 0
                                                    : 1;
  bool ue8 = plan.scale == Element::kUE8M0, ue4 = plan.scale == Element::kUE4M3;
  bool legal = isMx4   ? plan.scales == 2 && ue8
               : isNv4 ? (plan.scales == 4 && (ue4 || ue8)) || (plan.scales == 2 && ue8)
                       : isMx8 && plan.scales == 1 && ue8;
  return legal || lowering.refuse("no such .scale_vec and scale type for this kind");
}

/// Reads the opcode into a plan; refuses what the ISA does not have.
bool planOf(Lowering &lowering, const Instruction &i, MmaPlan &plan) {
  Shape shape;
  if (i.parts.size() < 9 || i.parts[1] != "sync" || i.parts[2] != "aligned" ||
      !parseShape(i.parts[3], shape) || shape.n != 8)
    return lowering.refuse(
        "mma of this form is not executed (known: mma.sync.aligned.m…n8k….row.col…)");
  if (i.parts[4] != "row" || i.parts[5] != "col")
    return lowering.refuse("mma takes A as .row and B as .col");
  if (!typesOf(lowering, i, plan) || !combinationOf(lowering, i, shape, plan))
    return false;
  plan.m = static_cast<uint8_t>(shape.m);
  plan.words = static_cast<uint8_t>(shape.k * bitsOf(plan.a) / plan.bitsOfWord() /
                                    (plan.isSparse() ? 2 : 1));
  plan.flags |= Lowering::has(i, "satfinite") ? MmaPlan::kSaturate : 0;
  return scalesOf(lowering, i, plan);
}

bool appendScale(Lowering &lowering, const Operand &data, const Operand &selectors) {
  if (!appendRegisters(lowering, data, 1, false, false, "scale data"))
    return false;
  return appendRegisters(lowering, selectors, 2, false, false, "{byte-id, thread-id}");
}

/// The registers of D, A, B and C.
bool appendTiles(Lowering &lowering, const Instruction &i, const MmaPlan &plan) {
  bool wide = plan.d == Element::kF64;
  auto a = static_cast<size_t>(plan.registersOfA()), b = static_cast<size_t>(plan.registersOfB()),
       c = static_cast<size_t>(plan.registersOfC());
  return appendRegisters(lowering, i.operands[0], c, wide, true, "D") &&
         appendRegisters(lowering, i.operands[1], a, wide, false, "A") &&
         appendRegisters(lowering, i.operands[2], b, wide, false, "B") &&
         appendRegisters(lowering, i.operands[3], c, wide, false, "C");
}

/// mma.sp: as mma of the same name without it, and two operands more.
bool lowerSparse(Lowering &lowering, const Instruction &i) {
  Instruction dense = i;
  dense.parts.erase(dense.parts.begin() + 1);
  MmaPlan plan;
  plan.flags = MmaPlan::kSparse;
  plan.flags |= i.parts[1] == "sp::ordered_metadata" ? MmaPlan::kOrdered : 0;
  if (Lowering::has(i, "block_scale"))
    return lowering.refuse("mma.sp with block scales is not executed");
  if (!planOf(lowering, dense, plan) || !lowering.operands(i, 6, 6))
    return false;
  // How many groups of lanes a selector may choose among: 4 single lanes, 2 pairs, 1 whole quad.
  int metadataBits = plan.k() / 2 * (bitsOf(plan.a) == 32 ? 4 : 2) * 2; // of a quad's two rows
  const Operand &selector = i.operands[5];
  if (selector.kind != Operand::Kind::kInteger ||
      selector.bits >= static_cast<uint64_t>(128 / metadataBits))
    return lowering.refuse("the sparsity selector is no number that this shape allows");
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  if (!appendTiles(lowering, i, plan) ||
      !appendRegisters(lowering, i.operands[4], 1, false, false, "the metadata"))
    return false;
  Op &op = lowering.emit(mmaHandler(plan));
  op.list = list;
  op.count = static_cast<uint32_t>(lowering.code().lists.size()) - list;
  op.immediate = plan.encode();
  op.variant2 = static_cast<uint8_t>(selector.bits);
  return true;
}

} // namespace

bool lowerMma(Lowering &lowering, const Instruction &i) {
  if (i.parts.size() > 1 && (i.parts[1] == "sp" || i.parts[1] == "sp::ordered_metadata"))
    return lowerSparse(lowering, i);
  if (Lowering::has(i, "m8n8k4") && !Lowering::has(i, "f64"))
    return lowerMmaQuads(lowering, i);
  MmaPlan plan;
  if (!planOf(lowering, i, plan))
    return false;
  size_t count = plan.scale == Element::kNone ? 4 : 8;
  if (!lowering.operands(i, count, count))
    return false;
  auto list = static_cast<uint32_t>(lowering.code().lists.size());
  bool wide = plan.d == Element::kF64;
  if (!appendTiles(lowering, i, plan))
    return false;
  if (count == 8 && (!appendScale(lowering, i.operands[4], i.operands[5]) ||
                     !appendScale(lowering, i.operands[6], i.operands[7])))
    return false;
  Op &op = lowering.emit(mmaHandler(plan));
  op.list = list;
  op.count = static_cast<uint32_t>(lowering.code().lists.size()) - list;
  op.immediate = plan.encode();
  if (uint8_t mode = wide ? roundingOf(i) : 0; mode != 0) {
    op.inner = op.run;
    op.run = &runRounded;
    op.variant = mode;
  }
  return true;
}
} // namespace platen::ptxsim
