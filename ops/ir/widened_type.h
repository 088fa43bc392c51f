// The type in which values of 16-bit floats are computed. Header-only.
#pragma once

#include "mlir/IR/BuiltinTypes.h"

namespace platen::ir {

/// `type` with elements of f32 where it has f16 or bf16; any other as it is.
inline mlir::Type widenedType(mlir::Type type) {
  auto tensor = mlir::dyn_cast<mlir::RankedTensorType>(type);
  if (!tensor || !(tensor.getElementType().isF16() || tensor.getElementType().isBF16()))
    return type;
  return tensor.clone(mlir::Float32Type::get(type.getContext()));
}

} // namespace platen::ir
