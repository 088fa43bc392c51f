// Executes a Program on plain tensors, point by point: what emitters are compared with, and how an
// operator's loops are compared with its reference without any code being generated. Slow.
#pragma once

#include "ops/loops/program.h"

namespace platen::ops::loops {

/// `tensors` are the program's operands, of the sizes that `symbols` give; those that it stores are
/// changed. kInternal where an element outside a tensor is loaded or stored, kInvalidArgument where
/// a tensor is of another size.
base::Status evaluate(const Program &program, std::span<Tensor *const> tensors,
                      std::span<const int64_t> symbols);

} // namespace platen::ops::loops
