// Where each element of a value comes from, through ops that only move elements.
//
// Reshapes, transposes, repeats, slices and concatenations are not told apart by pattern: they are
// executed on a tensor of element numbers, and the result is read.
#pragma once

#include "compiler/serve/evaluation.h"

namespace platen::compiler::serve {

/// The value behind casts that change nothing.
mlir::Value behindCasts(mlir::Value value);

/// x of `x * c`, `c * x` or `x / c` with a scalar constant c, and the factor; nullopt for anything
/// else.
struct Scaled {
  mlir::Value value;
  double factor;
};
std::optional<Scaled> scaledBy(const Evaluation &evaluation, mlir::Value value);

/// Element i of the result (f64, dimensions of `target` in run 0) is ±(1 + n): element i of
/// `target` is ± element n of `source`. Nullopt if `target` is not made of `source` by moving and
/// negating alone; multiplications by scalar constants are looked through if `throughScales`.
std::optional<ops::Tensor> traceElements(const Evaluation &evaluation, mlir::Value target,
                                         mlir::Value source, bool throughScales);

} // namespace platen::compiler::serve
