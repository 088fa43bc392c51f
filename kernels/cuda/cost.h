// Predicted times, to rank candidates before a machine with the GPU settles it by measuring.
//
// time = max(memory, arithmetic) / utilisation + launches. Utilisation: how full the last wave of
// blocks is, and how many warps a multiprocessor holds of the 16 that it takes to hide latency.
// A rough model of order, not of time; everything that it says is marked predicted.
#pragma once

#include "kernels/cuda/describe.h"

namespace platen::kernels {

/// Registers a thread, from ptxas; 0: unknown, the launch bound's largest is assumed to fit.
struct CudaResources {
  uint32_t registers = 0, staticSharedBytes = 0;
};

/// Blocks of the phase that a multiprocessor holds at once, at least 0.
uint32_t residentBlocks(const CudaPhase &phase, const CudaArchitecture &architecture,
                        const CudaResources &resources = {});

/// Predicted nanoseconds of a launch at `extent`.
double predictNs(const CudaKernelInfo &kernel, const CudaArchitecture &architecture,
                 uint64_t extent, const CudaResources &resources = {});

} // namespace platen::kernels
