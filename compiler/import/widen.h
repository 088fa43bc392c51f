// 16-bit floats as storage: `platen-widen`.
//
// Kernels compute activations in f32, whatever the graph says. So this pass gives every value of
// f16 and bf16 the type f32 and removes the casts between them; a weight keeps its initializer,
// whose type says in which format its bytes lie, and from which a plan may store it unchanged. A
// graph in f16 is then computed with more range and precision than it asks for: what overflows f16
// there does not overflow here. Integer blocks keep their scales' format in the same way. Cost: one
// pass.
#pragma once

#include <memory>

namespace mlir {
class Pass;
} // namespace mlir

namespace platen::compiler {

/// A pass on mlir::ModuleOp; widens every function of it. To be followed by platen-fold, which
/// checks the types anew.
std::unique_ptr<mlir::Pass> createWidenPass();

} // namespace platen::compiler
