// Elementwise ops of a fused region as operations of a kernel's ScalarBlock.
#pragma once

#include "kernels/scalar_block.h"
#include "runtime/base/status.h"

#include "mlir/IR/Operation.h"

#include <span>

namespace platen::compiler {

/// Appends what elementwise op `op` computes from `operands` (its operands' values in `block`;
/// unused entries of a constant exponent may be anything). Errors: kUnsupported, naming the op.
base::Result<kernels::ScalarBlock::Value>
appendScalar(mlir::Operation *op, std::span<const kernels::ScalarBlock::Value> operands,
             kernels::ScalarBlock &block);

} // namespace platen::compiler
