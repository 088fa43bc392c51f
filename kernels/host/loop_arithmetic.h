// The operations of loop programs (ops/loops/program.h) on scalars of MLIR.
//
// Integers wrap and never trap, floats are strict: no fused or regrouped operation but where the
// program says so. Operands have their kinds' types (loop_memory.h).
#pragma once

#include "kernels/host/ir.h"
#include "ops/loops/program.h"

namespace platen::kernels {

/// The node's value from its operands' (those of a, b, c that it has). `operandKind` is that of a.
/// Not for leaves, loads, folds and kRound. `mayRegroup`: the addition or multiplication is part of
/// a reduction in any order.
Value loopOperation(Ir &ir, const ops::loops::Node &node, ops::loops::Kind operandKind,
                    llvm::ArrayRef<Value> operands, bool mayRegroup = false);

} // namespace platen::kernels
