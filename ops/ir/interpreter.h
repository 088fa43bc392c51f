// Evaluates functions of the dialect with the operators' references: the oracle of every compiler
// pass, and the means by which the compiler evaluates masks, shapes and position tables on concrete
// sizes.
//
// It works with partial knowledge: a value is known (type and bytes) or only its static type is. An
// op whose operands are all known is evaluated; else its result types are inferred from the
// concrete operand types and known values. Cost: the references', which are slow on purpose; do not
// run large matmuls through it.
#pragma once

#include "ops/op.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"

#include <functional>
#include <memory>

namespace platen::ir {

struct Knowledge {
  ops::TensorType type;
  std::shared_ptr<const ops::Tensor> value; ///< null: only the type is known
  static Knowledge of(ops::Tensor tensor) {
    auto shared = std::make_shared<const ops::Tensor>(std::move(tensor));
    return {shared->type(), shared};
  }
};

/// Reads an initializer's bytes; may return null to leave the weight unknown.
using WeightReader =
    std::function<base::Result<std::shared_ptr<const ops::Tensor>>(llvm::StringRef initializer)>;

class Interpreter {
public:
  /// Without a reader all weights stay unknown.
  explicit Interpreter(WeightReader reader = nullptr) : reader_(std::move(reader)) {}

  /// What is known of every value of `function`, given its arguments (in order). Fails where a
  /// shape rule or a reference fails, naming the op's location.
  base::Result<llvm::DenseMap<mlir::Value, Knowledge>>
  propagate(mlir::func::FuncOp function, std::span<const Knowledge> arguments) const;

  /// The function's results; all must come out known.
  base::Result<std::vector<ops::Tensor>> run(mlir::func::FuncOp function,
                                             std::span<const ops::Tensor> arguments) const;

private:
  base::Status evaluateBlock(mlir::Block &block,
                             llvm::DenseMap<mlir::Value, Knowledge> &known) const;
  base::Status evaluateOp(mlir::Operation &op, llvm::DenseMap<mlir::Value, Knowledge> &known) const;
  base::Status evaluateCatalogOp(mlir::Operation &op,
                                 llvm::DenseMap<mlir::Value, Knowledge> &known) const;
  base::Status evaluateFused(mlir::Operation &op,
                             llvm::DenseMap<mlir::Value, Knowledge> &known) const;

  WeightReader reader_;
};

} // namespace platen::ir
