// Between the dialect and the plain catalog: types, attributes and constants converted both ways,
// and the shape inference and verifier that every catalog op shares. Thread-safe as far as the
// MLIRContext is.
#pragma once

#include "ops/op.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Operation.h"
#include "mlir/IR/Value.h"

#include <optional>

namespace platen::ir {

/// f32, bf16, …; signless iN are signed dtypes, uiN unsigned ones, i1 is bool.
mlir::Type toMlirType(mlir::MLIRContext *context, ops::DType dtype);
mlir::RankedTensorType toMlirType(mlir::MLIRContext *context, const ops::TensorType &type);
/// Nullopt for what is no ranked tensor of a known dtype.
std::optional<ops::DType> toDType(mlir::Type type);
std::optional<ops::TensorType> toTensorType(mlir::Type type);

mlir::DenseElementsAttr toMlirConstant(mlir::MLIRContext *context, const ops::Tensor &tensor);
std::optional<ops::Tensor> toTensor(mlir::ElementsAttr attribute);

mlir::Attribute toMlirAttribute(mlir::MLIRContext *context, const ops::Attribute &attribute);
/// The op's attributes that the catalog knows (others, like `platen.origin`, are annotations and
/// skipped).
ops::Attributes toAttributes(const ops::OpSpec &op, mlir::DictionaryAttr attributes);

/// The compile-time value of `value`, if a platen.constant defines it.
std::optional<ops::Tensor> constantValue(mlir::Value value);

/// Creates catalog op `name` (results inferred). On failure returns why; nothing is created.
/// A null operand value becomes platen.absent.
base::Result<mlir::Operation *> createOp(mlir::OpBuilder &builder, mlir::Location location,
                                         std::string_view name, mlir::ValueRange operands,
                                         const ops::Attributes &attributes);

// --- used by the generated op classes
// ---------------------------------------------------------------------

mlir::LogicalResult inferCatalogTypes(std::string_view name, mlir::MLIRContext *context,
                                      std::optional<mlir::Location> location,
                                      mlir::ValueRange operands, mlir::DictionaryAttr attributes,
                                      llvm::SmallVectorImpl<mlir::Type> &inferred);
/// Types that may refine each other: equal dtype and rank, dimensions equal or dynamic.
bool compatibleTypes(mlir::TypeRange left, mlir::TypeRange right);

} // namespace platen::ir
