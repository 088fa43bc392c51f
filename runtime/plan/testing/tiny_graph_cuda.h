// The tiny graph's kernels for CUDA devices, as tiny_kernels_cuda.h has those of the tiny plan.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/plan/plan.h"

namespace platen::plan::testing {

/// The module that holds both entries; ends with a NUL, as the driver wants text.
std::string_view tinyGraphPtx();

/// outer, total.
std::vector<Kernel> tinyGraphCudaKernels();

} // namespace platen::plan::testing
