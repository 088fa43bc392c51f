// CUDA kernels as a plan carries them: how each is launched, in the manifest's words, and the code
// section of their images.
#pragma once

#include "kernels/cuda/describe.h"
#include "runtime/plan/writer.h"

#include <span>
#include <string>

namespace platen::compiler {

/// kInternal if a grid counts by more than the manifest can say.
base::Result<plan::Kernel> planKernel(const kernels::CudaKernelInfo &info);

/// Writes a code section for `architecture` ("sm_90a") with the images (fat binaries) of a
/// program's kernels, in their order. The target that is returned belongs to program 0. Errors: the
/// writer's.
base::Result<plan::CodeTarget> writeCudaCode(plan::PlanWriter &writer,
                                             const std::string &architecture,
                                             std::span<const std::string> images);

} // namespace platen::compiler
