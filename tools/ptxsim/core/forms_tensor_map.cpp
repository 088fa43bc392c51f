// tensormap.replace and tensormap.cp_fenceproxy: tensor maps that kernels make themselves.
#include "tools/ptxsim/core/forms_async.h"
#include "tools/ptxsim/core/tensor_map.h"

#include <cstring>

namespace platen::ptxsim {
namespace {

struct FieldRow {
  std::string_view name;
  TensorField field;
  bool hasOrdinal;
};
constexpr FieldRow kFields[] = {
    {"global_address", TensorField::kAddress, false},
    {"rank", TensorField::kRank, false},
    {"box_dim", TensorField::kBox, true},
    {"global_dim", TensorField::kExtent, true},
    {"global_stride", TensorField::kStride, true},
    {"element_stride", TensorField::kElementStride, true},
    {"elemtype", TensorField::kType, false},
    {"interleave_layout", TensorField::kInterleave, false},
    {"swizzle_mode", TensorField::kSwizzle, false},
    {"swizzle_atomicity", TensorField::kAtomicity, false},
    {"fill_mode", TensorField::kFill, false},
};

/// Arguments: the map, the new value. op.variant: the field; variant2: the ordinal; op.space.
void runReplace(Warp &warp, const Op &op, uint32_t mask) {
  for (uint32_t l = 0; l < 32; ++l) {
    if (!(mask & 1u << l))
      continue;
    uint64_t address = argument(warp, op, 0).at(warp, l), value = argument(warp, op, 1).at(warp, l);
    bool isShared = op.space == Space::kShared || (op.generic && (address & kWindowMask) != 0);
    uint8_t *bytes = isShared
                         ? resolveShared(warp, address, kTensorMapBytes, kRead | kWrite, l, 64)
                         : resolveGlobal(warp, address, kTensorMapBytes, kRead | kWrite, l, 64);
    base::Status status = replaceField(std::span<std::byte, kTensorMapBytes>(
                                           reinterpret_cast<std::byte *>(bytes), kTensorMapBytes),
                                       static_cast<TensorField>(op.variant), op.variant2, value);
    if (!status.isOk())
      stop(ViolationKind::kIllegalInstruction,
           "the tensor map at " + hexOf(address) + ": " + std::string(status.message()), l,
           address);
  }
}

/// Arguments: target in global memory, source in shared memory. The warp copies one map together.
void runCopyMap(Warp &warp, const Op &op, uint32_t mask) {
  if (!gather(warp, op, mask, ~0u))
    return;
  uint64_t to = argument(warp, op, 0).at(warp, 0), from = argument(warp, op, 1).at(warp, 0);
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l &&
        (argument(warp, op, 0).at(warp, l) != to || argument(warp, op, 1).at(warp, l) != from))
      stop(ViolationKind::kIllegalInstruction, "the lanes name different tensor maps", l);
  const uint8_t *source = resolveShared(warp, from, kTensorMapBytes, kRead, 0, 128);
  std::memcpy(resolveGlobal(warp, to, kTensorMapBytes, kWrite, 0, 128), source, kTensorMapBytes);
  releaseFence(warp);
}

bool lowerReplace(Lowering &l, const Instruction &i) {
  const FieldRow *field = nullptr;
  for (const FieldRow &row : kFields)
    if (Lowering::has(i, row.name))
      field = &row;
  if (!field || !Lowering::has(i, "tile") || !Lowering::has(i, "b1024"))
    return l.refuse("an unknown form of tensormap.replace");
  size_t count = field->hasOrdinal ? 3 : 2;
  if (!l.operands(i, count, count))
    return false;
  const Operand &ordinal = i.operands[1];
  if (field->hasOrdinal && (ordinal.kind != Operand::Kind::kInteger || ordinal.bits > 4))
    return l.refuse("the ordinal of a dimension is a number from 0 to 4");
  bool wide = Lowering::has(i, "b64");
  bool isWide = field->field == TensorField::kAddress || field->field == TensorField::kStride;
  if (wide != isWide || (!wide && !Lowering::has(i, "b32")))
    return l.refuse("the field has another width");
  Arguments arguments(l);
  if (!arguments.address(i.operands[0]) || !arguments.value(i.operands[count - 1], wide))
    return false;
  Op &op = l.emit(&runReplace);
  op.variant = static_cast<uint8_t>(field->field);
  op.variant2 = static_cast<uint8_t>(field->hasOrdinal ? ordinal.bits : 0);
  arguments.put(op);
  return setSpace(l, i, op);
}

} // namespace

bool lowerTensormap(Lowering &l, const Instruction &i) {
  if (Lowering::has(i, "replace"))
    return lowerReplace(l, i);
  if (!Lowering::has(i, "cp_fenceproxy") || !Lowering::has(i, "global") ||
      !Lowering::has(i, "shared::cta") || !Lowering::has(i, "sync"))
    return l.refuse("an unknown tensormap operation");
  Arguments arguments(l);
  if (!l.operands(i, 3, 3) || !arguments.address(i.operands[0]) ||
      !arguments.address(i.operands[1]))
    return false;
  if (i.operands[2].kind != Operand::Kind::kInteger || i.operands[2].bits != kTensorMapBytes)
    return l.refuse("tensormap.cp_fenceproxy copies 128 bytes");
  arguments.put(l.emit(&runCopyMap));
  return true;
}

} // namespace platen::ptxsim
