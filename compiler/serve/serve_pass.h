// The serving form as a pass, for platen-opt and its tests: `platen-serve{max-context=N}`.
#pragma once

#include <memory>

namespace mlir {
class Pass;
} // namespace mlir

namespace platen::compiler {

/// convertToServingForm without access to weights; computed tables keep their initializers only.
std::unique_ptr<mlir::Pass> createServePass();

} // namespace platen::compiler
