#include "kernels/cuda/cost.h"

#include <algorithm>
#include <cmath>

namespace platen::kernels {

namespace {
constexpr uint32_t kRegistersPerSm = 65536, kBlocksPerSm = 32;
constexpr double kWarpsToHideLatency = 16, kLaunchNs = 2500;
/// Of the tensor cores' rate that fp32 fma reaches.
constexpr double kScalarShare = 1.0 / 16;

/// The phase that reads the operands: of several the one that has the kernel's own name (a matmul
/// may round its tokens before), else the first (attention merges its chunks behind).
const CudaPhase &mainPhase(const CudaKernelInfo &kernel) {
  for (const CudaPhase &phase : kernel.phases)
    if (phase.entry == kernel.name)
      return phase;
  return kernel.phases.front();
}
} // namespace

uint32_t residentBlocks(const CudaPhase &phase, const CudaArchitecture &architecture,
                        const CudaResources &resources) {
  uint32_t blocks = std::min(kBlocksPerSm, architecture.threadsPerSm / phase.threads);
  if (resources.registers != 0) // allocated by eights
    blocks =
        std::min(blocks, kRegistersPerSm / ((resources.registers + 7) / 8 * 8 * phase.threads));
  const uint32_t shared = phase.dynamicSharedBytes + resources.staticSharedBytes + 1024;
  return std::min(blocks, architecture.sharedPerSm / shared);
}

double predictNs(const CudaKernelInfo &kernel, const CudaArchitecture &architecture,
                 uint64_t extent, const CudaResources &resources) {
  double launches = 0, utilisation = 1;
  for (const CudaPhase &phase : kernel.phases) {
    launches += kLaunchNs;
    const double resident = std::max(1U, residentBlocks(phase, architecture, resources));
    const double blocks = static_cast<double>(phase.gridX.blocks(extent)) *
                          static_cast<double>(phase.gridY.blocks(extent)) *
                          static_cast<double>(phase.gridZ.blocks(extent));
    const double slots = resident * architecture.multiprocessors;
    const double waves = std::max(1.0, std::ceil(blocks / slots));
    const double filled = std::min(1.0, blocks / (waves * slots));
    const double warps = resident * phase.threads / 32;
    utilisation =
        std::min(utilisation, std::max(0.01, filled * std::min(1.0, warps / kWarpsToHideLatency)));
  }
  // A block reads its operands once: weights again for every row of blocks, x for every column.
  const CudaPhase &main = mainPhase(kernel);
  const double passes =
      static_cast<double>(main.gridY.extent == Extent::kOne ? 1 : main.gridY.blocks(extent));
  const double columns =
      static_cast<double>(main.gridX.extent == Extent::kOne ? main.gridX.blocks(extent) : 1);
  constexpr double kCacheShare = 0.25; // repeated reads mostly hit the second-level cache
  const auto rows = static_cast<double>(extent);
  const double bytes = kernel.work.fixedBytes * (1 + kCacheShare * (passes - 1)) +
                       kernel.work.extentBytes * rows * (1 + kCacheShare * (columns - 1) / 8);
  const double rate = architecture.bf16FlopsPerNs * (kernel.work.tensorCores ? 0.6 : kScalarShare);
  return launches +
         std::max(bytes / architecture.bytesPerNs, kernel.work.extentFlops * rows / rate) /
             utilisation;
}

} // namespace platen::kernels
