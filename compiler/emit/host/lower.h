// Lowering of kernel modules: func/scf/arith/math/vector -> LLVM dialect -> LLVM IR -> an object
// file in memory.
//
// A Lowerer owns one MLIRContext and one TargetMachine and is used by one thread at a time. Code
// generation runs without LLVM's middle end where builders emit the shape they want, which is three
// times cheaper; loops of graphs need it.
#pragma once

#include "compiler/emit/host/flat_link.h"
#include "kernels/host/target.h"

#include <memory>

namespace mlir {
class MLIRContext;
class ModuleOp;
} // namespace mlir

namespace platen::compiler {

enum class MiddleEnd { kNone, kLoops };

class Lowerer {
public:
  explicit Lowerer(const kernels::HostTarget &target);
  ~Lowerer();
  Lowerer(const Lowerer &) = delete;
  Lowerer &operator=(const Lowerer &) = delete;

  /// With the dialects loaded that kernels use.
  mlir::MLIRContext &context();
  /// Consumes the module's content. `origin` names it in messages.
  base::Result<ObjectFile> toObject(mlir::ModuleOp module, const std::string &origin,
                                    MiddleEnd middleEnd = MiddleEnd::kNone);
  /// The same as assembly text, for tests and for reading.
  base::Result<std::string> toAssembly(mlir::ModuleOp module, const std::string &origin,
                                       MiddleEnd middleEnd = MiddleEnd::kNone);

private:
  base::Result<std::vector<char>> generate(mlir::ModuleOp module, const std::string &origin,
                                           MiddleEnd middleEnd, bool assembly);
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace platen::compiler
