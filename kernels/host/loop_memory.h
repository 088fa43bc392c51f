// Elements of tensors in memory, and as a loop program computes with them: the one place that knows
// what each dtype looks like.
//
// Values are i1 (kBool), i64 (kInt), f32 or f64. A stored tensor shares memory with no other
// operand of its launch; accesses say so, and what is loaded may leave loops that store.
#pragma once

#include "kernels/host/ir.h"
#include "ops/loops/program.h"

namespace platen::kernels {

/// The type in which values of a kind are computed.
Type loopType(Ir &ir, ops::loops::Kind kind);

/// A tensor of the launch.
struct LoopTensor {
  base::DType dtype = base::DType::kF32;
  Value base;
  mlir::ArrayAttr itself, others; ///< alias scopes: of the tensor, of those that it is apart from
};

/// One tensor for each operand of the program, their addresses loaded here.
std::vector<LoopTensor> loopTensors(Ir &ir, const ops::loops::Program &program);

/// The element at `index` (i64, row-major), in its kind's type.
Value loadElement(Ir &ir, const LoopTensor &tensor, Value index);
/// Stores a value of the dtype's kind. Of 4-bit elements the other half of the byte is read and
/// written back: nobody else may store it meanwhile.
void storeElement(Ir &ir, const LoopTensor &tensor, Value index, Value value);
/// The value that loading gives after it was stored.
Value heldAs(Ir &ir, base::DType dtype, Value value);

} // namespace platen::kernels
