// Quantisation as a decision: every weight of a matmul and every embedding table gets the packing
// in which the plan stores it, as attribute `platen.packing` of the op that reads it. Only
// attributes change; the bytes are transformed once, later, in pack.
#pragma once

#include "kernels/packing.h"
#include "runtime/base/status.h"

#include "mlir/IR/BuiltinOps.h"

namespace platen::compiler {

inline constexpr llvm::StringLiteral kPackingAttribute = "platen.packing";

/// How weights of matmuls and embedding tables are stored. Norms and tables of positions stay f32;
/// weights that the graph already holds in integer blocks keep them.
/// kAuto keeps f32, f16 and bf16 as they are.
/// fp8 and nvfp4 are for GPUs alone; embedding tables, and heads tied to them, stay bf16 then.
enum class WeightFormat : uint8_t { kAuto, kF32, kBF16, kF16, kInt8, kInt4, kFp8, kNvfp4 };

/// "auto", "f32", "bf16", "f16", "int8", "int4", "fp8", "nvfp4"
std::string_view weightFormatName(WeightFormat format);
base::Result<WeightFormat> parseWeightFormat(std::string_view name);

/// Decides for every matmul, matmul_nbits, gather and gather_block_quantized of `func @step`. Ops
/// that read the same initializer get the same packing. Errors: kUnsupported for a K that the
/// format cannot hold, naming the node.
base::Status assignPackings(mlir::ModuleOp module, WeightFormat format);

/// The packing that assignPackings chose for `op`.
base::Result<kernels::Packing> packingOf(mlir::Operation *op);

} // namespace platen::compiler
