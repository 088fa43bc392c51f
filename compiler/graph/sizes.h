// Dimensions of every value of a graph as polynomials of what only a run knows.
//
// A symbol is a dimension of an input that the graph leaves open: equal names of dimensions are one
// symbol, an expression of names ("past + sequence") is written out, a nameless dimension is a
// symbol of its own. All other sizes are found by evaluation, not by rules: the interpreter runs
// the graph's shapes at several values of the symbols, and a polynomial is fitted to what comes out
// and checked at further values. So every way in which exporters compute shapes is taken, as long
// as sizes are polynomials; others are refused, naming the node.
#pragma once

#include "ops/ir/interpreter.h"
#include "runtime/base/size.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

#include <optional>
#include <string>
#include <vector>

namespace platen::compiler {

class GraphSizes {
public:
  /// Errors: kUnsupported for sizes that are no polynomials, or depend on the data (the node is
  /// named); those of shape rules.
  static base::Result<GraphSizes> of(mlir::func::FuncOp function, const ir::WeightReader &reader);

  const std::vector<std::string> &symbols() const { return symbols_; } ///< their names
  const std::vector<base::Size> &dims(mlir::Value value) const { return dims_.find(value)->second; }
  /// The value's elements, if it is a small integer tensor that sizes decide.
  std::optional<std::vector<base::Size>> elements(mlir::Value value) const;
  /// The value, if it is known whatever the sizes are; else null.
  const ops::Tensor *constant(mlir::Value value) const;

private:
  using Run = llvm::DenseMap<mlir::Value, ir::Knowledge>;
  base::Status nameSymbols(mlir::func::FuncOp function);
  base::Status evaluate(mlir::func::FuncOp function, const ir::WeightReader &reader);
  base::Status fit(mlir::Value value);
  std::optional<base::Size> fitOne(const std::vector<int64_t> &values) const;

  std::vector<std::string> symbols_;
  std::vector<std::vector<base::Size>> arguments_; ///< dims of each
  std::vector<std::vector<int64_t>> samples_;      ///< of each run: values of the symbols
  std::vector<Run> runs_;
  std::vector<std::vector<uint32_t>> monomials_; ///< that polynomials are made of
  llvm::DenseMap<mlir::Value, std::vector<base::Size>> dims_;
  llvm::DenseMap<mlir::Value, std::vector<base::Size>> elements_;
};

} // namespace platen::compiler
