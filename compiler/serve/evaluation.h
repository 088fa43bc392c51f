// Concrete evaluation of an exported decoder: what its values are, as far as they depend on sizes,
// attention_mask and position_ids alone.
//
// The interpreter runs the graph with unknown tokens, caches and weights; shapes, masks and
// position tables come out known. Nothing here reads a large weight: only weights that meet
// position-only values (cached cosines) are read.
#pragma once

#include "compiler/serve/layout.h"
#include "compiler/serve/roles.h"
#include "ops/ir/interpreter.h"

#include <optional>

namespace platen::compiler::serve {

/// What a value depends on.
enum class Kind {
  kConstant, ///< nothing
  kWeight,   ///< weights and constants
  kPosition, ///< sizes, attention_mask, position_ids (and possibly weights)
  kData,     ///< the tokens or the caches
};

/// Error origin: the ONNX node's name and the op's.
std::string originOf(mlir::Operation *op);

/// One run of the decoder; the attention mask is all ones unless given.
struct RunInput {
  Sizes sizes;
  std::optional<ops::Tensor> attentionMask; ///< i64[b, p+s]
};

class Evaluation {
public:
  static base::Result<Evaluation> create(mlir::func::FuncOp function, const Roles &roles,
                                         const ir::WeightReader &reader);

  Kind kind(mlir::Value value) const { return kinds_.lookup(value); }
  bool isData(mlir::Value value) const { return kind(value) == Kind::kData; }
  /// Dimensions in the runs of kSizes.
  Extents extents(mlir::Value value) const;
  /// The value in run `run` of kSizes, or null if it is not known.
  const ops::Tensor *valueAt(size_t run, mlir::Value value) const;
  /// The value, if it is known and the same in all runs of kSizes; else null.
  const ops::Tensor *constant(mlir::Value value) const;
  /// The only element of such a constant, as double.
  std::optional<double> scalar(mlir::Value value) const;
  /// "platen.matmul(f32[b,s,128], f32[128,320])".
  std::string describe(mlir::Operation *op) const;

  base::Result<std::vector<ir::Knowledge>> arguments(const RunInput &input) const;
  const ir::Interpreter &interpreter() const { return interpreter_; }
  mlir::func::FuncOp function() const { return function_; }
  const Roles &roles() const { return roles_; }

private:
  Evaluation(mlir::func::FuncOp function, const Roles &roles)
      : function_(function), roles_(roles) {}
  void classify();
  base::Status resolveCacheTypes();
  ir::WeightReader positionalReader(const ir::WeightReader &reader) const;

  mlir::func::FuncOp function_;
  Roles roles_;
  llvm::DenseMap<mlir::Value, Kind> kinds_;
  std::vector<ops::TensorType> argumentTypes_;
  std::map<unsigned, int64_t> cacheRows_; ///< caches whose length is not the past's
  ir::Interpreter interpreter_;
  std::vector<llvm::DenseMap<mlir::Value, ir::Knowledge>> runs_;
};

/// Evaluates some values of the decoder at other sizes, without the rest of the graph.
class Probe {
public:
  Probe(const Evaluation &evaluation, llvm::ArrayRef<mlir::Value> values);
  ~Probe();
  Probe(const Probe &) = delete;
  Probe &operator=(const Probe &) = delete;

  /// The values, in order; Unsupported if one of them is not known from sizes alone.
  base::Result<std::vector<std::shared_ptr<const ops::Tensor>>> at(const RunInput &input) const;

private:
  const Evaluation &evaluation_;
  mlir::func::FuncOp slice_; ///< detached; returns the values
};

} // namespace platen::compiler::serve
