// Small questions that fusion patterns and selection ask of ops: by catalog name, so that neither
// depends on the generated op classes. All are pure and O(operands).
#pragma once

#include "mlir/IR/Operation.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/StringRef.h"

#include <optional>

namespace platen::compiler {

/// Whether `op` is platen.<name>. Null is no op.
bool isOp(mlir::Operation *op, llvm::StringRef name);
/// The op that defines `value` if it is platen.<name>, else null.
mlir::Operation *definedBy(mlir::Value value, llvm::StringRef name);
/// The value of a constant with exactly one element.
std::optional<double> scalarConstant(mlir::Value value);
/// Whether `op` maps elements one to one (with broadcasting), all float.
bool isElementwise(mlir::Operation *op);
/// platen.matmul by a weight, or platen.matmul_nbits: what a matmul kernel executes.
bool isWeightMatmul(mlir::Operation *op);
/// Whether `value` is a weight, or a transposed or reshaped one.
bool isWeight(mlir::Value value);
/// Whether `value` lies directly in a function, not in a fused region.
bool isTopLevel(mlir::Operation *op);

} // namespace platen::compiler
