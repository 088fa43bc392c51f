// Extents as kernels name them and as the manifest does.
#pragma once

#include "kernels/specs.h"
#include "runtime/plan/extent.h"

namespace platen::compiler {

/// What the plan calls what a kernel calls `extent`, and back. No kernel counts sequences.
constexpr kernels::Extent kernelExtent(plan::Extent extent) {
  switch (extent) {
  case plan::Extent::kTokens:
    return kernels::Extent::kTokens;
  case plan::Extent::kRows:
    return kernels::Extent::kRows;
  case plan::Extent::kOne:
  case plan::Extent::kSequences:
    break;
  }
  return kernels::Extent::kOne;
}
constexpr plan::Extent planExtent(kernels::Extent extent) {
  switch (extent) {
  case kernels::Extent::kTokens:
    return plan::Extent::kTokens;
  case kernels::Extent::kRows:
    return plan::Extent::kRows;
  case kernels::Extent::kOne:
    break;
  }
  return plan::Extent::kOne;
}

} // namespace platen::compiler
