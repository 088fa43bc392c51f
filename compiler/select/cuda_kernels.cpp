#include "compiler/select/cuda_kernels.h"

#include "compiler/emit/cuda/plan_code.h"

#include <algorithm>

namespace platen::compiler {

using kernels::CudaKernelInfo;

CudaKernels::CudaKernels(const kernels::CudaArchitecture &architecture, const plan::Limits &limits)
    : architecture_(architecture), planLimits_(limits),
      limits_{.contextTokens = limits.context_tokens,
              .stepExtent = std::max(limits.step_tokens, limits.step_rows)} {}

uint64_t CudaKernels::mostOf(const CudaKernelInfo &info) const {
  return plan::extentLimit(planLimits_, planExtent(info.extent));
}

base::Result<uint32_t> CudaKernels::indexOf(const CudaKernelInfo &info,
                                            plan::DeviceProgram &program) {
  auto [entry, isNew] = index_.try_emplace(info.key, static_cast<uint32_t>(kernels_.size()));
  if (!isNew)
    return entry->second;
  PLATEN_ASSIGN_OR_RETURN(program.kernels.emplace_back(), planKernel(info));
  kernels_.push_back(info);
  return entry->second;
}

base::Result<KernelChoice> CudaKernels::choose(const kernels::KernelSpec &spec,
                                               plan::DeviceProgram &program) {
  PLATEN_ASSIGN_OR_RETURN(const std::vector<CudaKernelInfo> all,
                          kernels::cudaCandidates(kernels::cudaSpec(spec), architecture_, limits_));
  KernelChoice choice;
  choice.extent = planExtent(all.front().extent);
  choice.operands = all.front().operands.size();
  for (const CudaKernelInfo &info : all) { // grouped by maxExtent, the best predicted first
    const bool isFirst =
        choice.variants.empty() || choice.variants.back().max_extent != info.maxExtent;
    if (isFirst && !choice.variants.empty() && choice.variants.back().max_extent >= mostOf(info))
      break; // no step of this plan is larger
    if (!isFirst && choice.variants.back().alternatives.size() + 1 >= kRanked)
      continue;
    PLATEN_ASSIGN_OR_RETURN(const uint32_t kernel, indexOf(info, program));
    if (isFirst)
      choice.variants.push_back({info.maxExtent, kernel, {}, {}});
    else
      choice.variants.back().alternatives.push_back(kernel);
  }
  return choice;
}

base::Status CudaKernels::addSampler(uint64_t vocabulary, plan::DeviceProgram &program) {
  PLATEN_ASSIGN_OR_RETURN(
      const std::vector<CudaKernelInfo> all,
      kernels::cudaCandidates(kernels::SampleSpec{vocabulary}, architecture_, limits_));
  PLATEN_ASSIGN_OR_RETURN(program.sampler, indexOf(all.front(), program));
  return {};
}

} // namespace platen::compiler
