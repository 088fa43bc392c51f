// What is known of the elements of small int64 tensors when only some are known: shapes under
// construction.
//
// Every element is a number or a tag. A tag names an unknown: the same tag twice is the same
// number. Operators that only move elements (gather, slice, concat, where …) run through their
// catalog reference on tagged tensors, so that no second implementation of them exists here; sums
// and products give new tags. Used by platen-fold; cost: the references of tensors of at most
// kMaxElements elements.
#pragma once

#include "ops/ir/adaptor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

#include <map>
#include <set>

namespace platen::compiler {

class ShapeValues {
public:
  /// Reads the arguments' dimension names (`platen.dims`): equal names are equal sizes.
  explicit ShapeValues(mlir::func::FuncOp function);

  /// Learns what `op` computes, from what its operands are known to hold. Call in program order.
  base::Status visit(mlir::Operation &op, const ops::OpSpec &spec);

  /// The single result's value if visit() found every element.
  std::optional<ops::Tensor> asConstant(mlir::ValueRange results) const;
  /// An operand of the result's type that holds the same elements, or null.
  mlir::Value sameOperand(mlir::Operation &op) const;
  /// The dimensions that the shape operand of reshape, expand or constant_of_shape implies, where
  /// it implies some.
  std::optional<std::vector<int64_t>> resultDims(mlir::Operation &op);

private:
  using Elements = std::vector<int64_t>; ///< row-major; numbers or tags
  static constexpr int64_t kMaxElements = 64;

  int64_t newTag(bool isSize);
  int64_t dimensionTag(mlir::Value value, size_t axis);
  bool isNonNegative(int64_t element) const;
  /// Null unless `value` is a small static int64 tensor. Unknown elements get tags.
  const Elements *elementsOf(mlir::Value value);
  std::optional<Elements> ofShape(mlir::Operation &op, const ops::OpSpec &spec);
  base::Result<std::optional<Elements>> ofMovement(mlir::Operation &op, const ops::OpSpec &spec,
                                                   std::span<const size_t> moved);
  std::optional<Elements> ofArithmetic(mlir::Operation &op, const ops::OpSpec &spec);
  std::optional<Elements> ofEqual(mlir::Operation &op);

  mlir::func::FuncOp function_;
  llvm::DenseMap<mlir::Value, Elements> known_;
  std::map<std::string, int64_t> byName_;
  std::map<std::pair<const void *, size_t>, int64_t> byDimension_;
  std::set<int64_t> sizes_; ///< tags that are dimensions, hence not negative
  int64_t nextTag_;
};

} // namespace platen::compiler
