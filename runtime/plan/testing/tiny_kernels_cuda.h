// The tiny plan's kernels for CUDA devices: PTX by hand, for any device from compute capability 8.0
// on.
//
// The same operands and results as tiny_kernels.h, by the ABI of cuda_kernel.h; the head takes two
// phases and hands a number for each row from one to the other through the workspace.
#pragma once

#include <string>
#include <vector>

#include "runtime/plan/plan.h"

namespace platen::plan::testing {

/// The module that holds all entries; ends with a NUL, as the driver wants text. The sampler's
/// vocabulary is baked in.
std::string tinyPtx(uint32_t vocabulary);

/// embed, store, sum, head, another head, which does the same with other blocks, and the sampler.
/// That one knows greedy sampling alone, whatever it is asked for.
std::vector<Kernel> tinyCudaKernels();
inline constexpr uint32_t kTinySampler = 5;

} // namespace platen::plan::testing
