// The tiny plan's kernels for CUDA devices: PTX by hand, for any device from compute capability 8.0
// on.
//
// The same operands and results as tiny_kernels.h, by the ABI of cuda_kernel.h; the head takes two
// phases and hands a number for each row from one to the other through the workspace.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/plan/plan.h"

namespace platen::plan::testing {

/// The module that holds all entries; ends with a NUL, as the driver wants text.
std::string_view tinyPtx();

/// embed, store, sum, head and another head, which does the same with other blocks.
std::vector<Kernel> tinyCudaKernels();

} // namespace platen::plan::testing
