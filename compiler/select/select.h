// Selection: the fused serving form becomes launches of kernels over buffers, weights and caches.
//
// Every top-level op of `func @step` is matched against the kernel families of
// kernels/host/specs.h. There is no silent fallback: an op for which no kernel exists is refused,
// naming the ONNX node it came from, its shapes and what would fit.
#pragma once

#include "compiler/select/draft.h"
#include "runtime/base/status.h"

#include "mlir/IR/BuiltinOps.h"

namespace platen::compiler {

/// How weights of matmuls and embedding tables are stored. Norms and tables of positions stay f32;
/// weights that the graph already holds in integer blocks keep them.
enum class WeightFormat : uint8_t { kF32, kBF16, kInt8, kInt4 };

std::string_view weightFormatName(WeightFormat format); ///< "f32", "bf16", "int8", "int4"
base::Result<WeightFormat> parseWeightFormat(std::string_view name);

struct SelectOptions {
  WeightFormat format = WeightFormat::kF32;
  plan::Limits limits;
};

/// `module` holds `func @step` after fusion.
base::Result<PlanDraft> selectKernels(mlir::ModuleOp module, const SelectOptions &options);

} // namespace platen::compiler
