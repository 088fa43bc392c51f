// Constant and shape folding: `platen-fold`.
//
// Exporters compute shapes with graphs of Shape, Gather, Concat, Equal and Where. This pass
// evaluates every op whose operands are constants (through its catalog reference), follows the
// elements of shape vectors that are known although others are not, refines result types by what it
// learnt, and removes what became dead or double (CSE), unused initializers included. Cost: one
// pass over each function, results up to kFoldLimitBytes.
#pragma once

#include <cstdint>
#include <memory>

namespace mlir {
class Pass;
} // namespace mlir

namespace platen::compiler {

/// A result larger than this stays an op: bytes of weights never enter the IR.
inline constexpr int64_t kFoldLimitBytes = 64 * 1024;

/// A pass on mlir::ModuleOp; folds every function of it. Fails where a shape rule fails on refined
/// types, which means that the model contradicts itself.
std::unique_ptr<mlir::Pass> createFoldPass();

} // namespace platen::compiler
