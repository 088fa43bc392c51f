// Selection: the fused serving form becomes launches of kernels over buffers, weights and caches.
//
// Every top-level op of `func @step` becomes a request of kernels/specs.h; a KernelSource gives the
// kernels that fulfil it. There is no silent fallback: an op for which no kernel exists is refused,
// naming the ONNX node it came from, its shapes and what would fit.
#pragma once

#include "compiler/select/draft.h"
#include "compiler/select/kernel_source.h"
#include "runtime/base/status.h"

#include "mlir/IR/BuiltinOps.h"

namespace platen::compiler {

/// Adds to `draft` the program that executes `module` with kernels of `source`. `module` holds
/// `func @step` after fusion, with packings assigned (quantize.h). draft.manifest.limits are set;
/// programs of one module share the weights of the draft.
base::Status selectProgram(mlir::ModuleOp module, KernelSource &source, PlanDraft &draft);

} // namespace platen::compiler
