// CUDA kernels of one architecture as a source of selection: for each size of step the best
// predicted kernel and, as alternatives that a machine with the device may settle between, the next
// ones.
#pragma once

#include "compiler/select/kernel_source.h"
#include "kernels/cuda/describe.h"

namespace platen::compiler {

class CudaKernels : public KernelSource {
public:
  /// Kernels of a size range that a plan carries.
  static constexpr size_t kRanked = 3;

  CudaKernels(const kernels::CudaArchitecture &architecture, const plan::Limits &limits);
  std::string device() const override { return plan::kCudaDevice; }
  base::Result<KernelChoice> choose(const kernels::KernelSpec &spec,
                                    plan::DeviceProgram &program) override;
  /// Adds the kernel that draws tokens from rows of `vocabulary` logits and makes it the program's
  /// sampler.
  base::Status addSampler(uint64_t vocabulary, plan::DeviceProgram &program);
  const kernels::CudaArchitecture &architecture() const { return architecture_; }
  /// kernels()[i] is kernel i of the program.
  const std::vector<kernels::CudaKernelInfo> &kernels() const { return kernels_; }

private:
  base::Result<uint32_t> indexOf(const kernels::CudaKernelInfo &info, plan::DeviceProgram &program);
  /// The extent of the plan's largest step.
  uint64_t mostOf(const kernels::CudaKernelInfo &info) const;
  const kernels::CudaArchitecture &architecture_;
  plan::Limits planLimits_;
  kernels::CudaLimits limits_;
  std::map<std::string, uint32_t> index_; ///< by the kernel's key
  std::vector<kernels::CudaKernelInfo> kernels_;
};

} // namespace platen::compiler
