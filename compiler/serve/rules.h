// How each op of the token path is written over [T, features…].
#pragma once

#include "compiler/serve/evaluation.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace platen::compiler::serve {

/// What a rule may ask for. `data` gives the serving form of a token-path value; `fixed` gives a
/// weight or constant as it stands in @step, or Unsupported where a value depends on positions.
struct RuleContext {
  const Evaluation &evaluation;
  mlir::OpBuilder &builder;
  llvm::function_ref<mlir::Value(mlir::Value)> data;
  llvm::function_ref<base::Result<mlir::Value>(mlir::Value)> fixed;
};

/// Creates the serving form of `op`'s results. Unsupported, naming the node, for ops without a rule
/// and for uses that mix tokens with features.
base::Result<llvm::SmallVector<mlir::Value>> rewriteOp(mlir::Operation *op,
                                                       const RuleContext &context);

/// A small constant in @step.
mlir::Value createConstant(mlir::OpBuilder &builder, mlir::Location location,
                           const ops::Tensor &value);
/// x [T, …] with other feature dimensions; x itself if they are those it has.
base::Result<mlir::Value> reshapeFeatures(mlir::OpBuilder &builder, mlir::Location location,
                                          mlir::Value x, llvm::ArrayRef<int64_t> features);
/// createOp with one result.
base::Result<mlir::Value> createValue(mlir::OpBuilder &builder, mlir::Location location,
                                      std::string_view name, mlir::ValueRange operands,
                                      const ops::Attributes &attributes = {});

} // namespace platen::compiler::serve
