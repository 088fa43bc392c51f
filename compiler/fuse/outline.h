// Moving ops into a platen.fused region.
#pragma once

#include "ops/ir/dialect.h"

#include "mlir/IR/PatternMatch.h"

namespace platen::compiler {

/// Moves `ops` (all of one block, in block order) into a new platen.fused of `kind`, placed where
/// the last of them stood. Constants and absent operands that they read are cloned into the body;
/// every other value from outside becomes an input, in order of first use. Results are `results`
/// or, where that is empty, every value with a use outside. Requires that no op between the first
/// and the last that is not itself moved uses their results.
ir::FusedOp outline(mlir::PatternRewriter &rewriter, llvm::ArrayRef<mlir::Operation *> ops,
                    llvm::StringRef kind, llvm::ArrayRef<mlir::Value> results = {});

} // namespace platen::compiler
