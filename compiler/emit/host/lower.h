// Lowering of kernel modules: func/scf/arith/math/vector -> LLVM dialect -> LLVM IR -> an object
// file in memory.
//
// A Lowerer owns one MLIRContext and one TargetMachine and is used by one thread at a time. Code
// generation runs without LLVM's middle end: builders emit the shape they want, and it is three
// times cheaper.
#pragma once

#include "compiler/emit/host/flat_link.h"
#include "kernels/host/target.h"

#include <memory>

namespace mlir {
class MLIRContext;
class ModuleOp;
} // namespace mlir

namespace platen::compiler {

class Lowerer {
public:
  explicit Lowerer(const kernels::HostTarget &target);
  ~Lowerer();
  Lowerer(const Lowerer &) = delete;
  Lowerer &operator=(const Lowerer &) = delete;

  /// With the dialects loaded that kernels use.
  mlir::MLIRContext &context();
  /// Consumes the module's content. `origin` names it in messages.
  base::Result<ObjectFile> toObject(mlir::ModuleOp module, const std::string &origin);
  /// The same as assembly text, for tests and for reading.
  base::Result<std::string> toAssembly(mlir::ModuleOp module, const std::string &origin);

private:
  base::Result<std::vector<char>> generate(mlir::ModuleOp module, const std::string &origin,
                                           bool assembly);
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace platen::compiler
