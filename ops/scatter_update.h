// What the scattering operators share: how an update meets the element that it changes.
#pragma once

#include "ops/elementwise.h"

namespace platen::ops {

enum class ScatterReduction { kNone, kAdd, kMul, kMin, kMax };

/// C4: the attribute `reduction` is none, add, mul, min or max.
base::Result<ScatterReduction> scatterReductionOf(const Attributes &attributes);

/// y's element `at` with the updates' element `from`.
void scatterUpdate(Tensor &y, int64_t at, const Tensor &updates, int64_t from,
                   ScatterReduction reduction);
/// The same in loops.
loops::Value scatterLoop(loops::Stage &s, ScatterReduction reduction, loops::Value old,
                         loops::Value added);

} // namespace platen::ops
