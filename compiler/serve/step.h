// Writes @step from what was found in the exported graph.
#pragma once

#include "compiler/serve/patterns.h"
#include "compiler/serve/serve.h"

namespace platen::compiler::serve {

/// Appends @step to `module` and fills in `info` (layers, sizes, computed tables). On failure @step
/// and its initializers are removed again.
base::Status writeStep(mlir::ModuleOp module, const Evaluation &evaluation,
                       const Patterns &patterns, const ServeOptions &options, ServeInfo &info);

} // namespace platen::compiler::serve
