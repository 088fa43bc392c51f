// Selection: the fused serving form becomes launches of kernels over buffers, weights and caches.
//
// Every top-level op of `func @step` is matched against the kernel families of
// kernels/specs.h. There is no silent fallback: an op for which no kernel exists is refused,
// naming the ONNX node it came from, its shapes and what would fit.
#pragma once

#include "compiler/select/draft.h"
#include "runtime/base/status.h"

#include "mlir/IR/BuiltinOps.h"

namespace platen::compiler {

struct SelectOptions {
  plan::Limits limits;
};

/// `module` holds `func @step` after fusion, with packings assigned (quantize.h).
base::Result<PlanDraft> selectKernels(mlir::ModuleOp module, const SelectOptions &options);

} // namespace platen::compiler
