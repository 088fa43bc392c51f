// Rotary tables as initializers of the module: evaluated ones, shared by content, and the model's
// own, cut to length.
#pragma once

#include "compiler/serve/rope.h"
#include "compiler/serve/serve.h"

#include "mlir/IR/Builders.h"

namespace platen::compiler::serve {

struct TablePair {
  mlir::Value cos, sin; ///< f32[positions, r/2] in @step
};

class Tables {
public:
  /// Computed tables go to info.computed.
  Tables(mlir::ModuleOp module, const Evaluation &evaluation, int64_t positions, ServeInfo &info)
      : module_(module), evaluation_(evaluation), positions_(positions), info_(info) {}

  /// The tables of a rotary embedding that the graph computes; evaluated once for equal embeddings.
  base::Result<TablePair> evaluated(mlir::Operation *op, const Rope &rope,
                                    mlir::OpBuilder &builder);
  /// A table that the model stores, [rows, r/2], cut to its first `positions` rows without reading
  /// it.
  base::Result<mlir::Value> stored(mlir::Operation *op, mlir::Value table,
                                   mlir::OpBuilder &builder);
  /// Removes the initializers made here.
  void discard();

private:
  struct Evaluated {
    mlir::Value cos, sin;
    bool interleaved;
    double sinSign;
    std::string cosName, sinName;
  };
  base::Result<Evaluated> evaluate(mlir::Operation *op, const Rope &rope);
  std::string add(ops::Tensor table, llvm::StringRef stem);
  mlir::Value weight(mlir::OpBuilder &builder, mlir::Location location, llvm::StringRef name);

  mlir::ModuleOp module_;
  const Evaluation &evaluation_;
  int64_t positions_;
  ServeInfo &info_;
  std::vector<Evaluated> evaluated_;
  llvm::SmallVector<mlir::Operation *> made_;
  llvm::DenseMap<mlir::Value, mlir::Value> weights_;
};

} // namespace platen::compiler::serve
