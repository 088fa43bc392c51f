// Small questions that fusion patterns and selection ask of ops: by catalog name, so that neither
// depends on the generated op classes. All are pure and O(operands).
#pragma once

#include "ops/ir/dialect.h"

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
/// The platen.weight behind `value`, seen through transposes and reshapes; null if there is none.
ir::WeightOp weightOf(mlir::Value value);
/// Whether `value` is a weight, or a transposed or reshaped one.
inline bool isWeight(mlir::Value value) { return weightOf(value) != nullptr; }
/// An argument of a fused region as the value outside; any other value as it is.
mlir::Value outerValue(mlir::Value value);
/// Whether `op` has operand `index` and it is not platen.absent.
bool hasOperand(mlir::Operation *op, unsigned index);
/// Attribute `name` of a catalog op; where it is not set, the catalog's default.
int64_t intAttributeOf(mlir::Operation *op, llvm::StringRef name);
double floatAttributeOf(mlir::Operation *op, llvm::StringRef name);
/// "node 'name'", by the ONNX node that `op` came from, for messages.
std::string nodeName(mlir::Operation *op);
/// Whether `value` lies directly in a function, not in a fused region.
bool isTopLevel(mlir::Operation *op);

} // namespace platen::compiler
