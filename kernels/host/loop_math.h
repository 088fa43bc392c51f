// Elementary functions of loop programs without any call: branch-free expansions in f64.
#pragma once

#include "kernels/host/ir.h"
#include "ops/loops/program.h"

namespace platen::kernels {

/// Op::kExp … Op::kPow, and kRem of floats; null for any other operation.
Value mathFunction(Ir &ir, ops::loops::Op op, Value a, Value b);

} // namespace platen::kernels
