#include "compiler/select/cuda_kernels.h"

#include <algorithm>

namespace platen::compiler {

using kernels::CudaKernelInfo;

namespace {

base::Result<plan::Units> gridOf(const kernels::CudaGridDimension &dimension) {
  if (dimension.per > UINT32_MAX)
    return base::internalError("a grid counts by more than 2^32");
  return plan::Units{planExtent(dimension.extent), static_cast<uint32_t>(dimension.per),
                     dimension.times};
}

base::Result<plan::Phase> phaseOf(const kernels::CudaPhase &from) {
  plan::Phase phase;
  phase.entry = from.entry;
  PLATEN_ASSIGN_OR_RETURN(phase.grid_x, gridOf(from.gridX));
  PLATEN_ASSIGN_OR_RETURN(phase.grid_y, gridOf(from.gridY));
  PLATEN_ASSIGN_OR_RETURN(phase.grid_z, gridOf(from.gridZ));
  phase.threads = from.threads;
  phase.cluster_x = from.clusterX;
  phase.dynamic_shared_bytes = from.dynamicSharedBytes;
  return phase;
}

plan::TensorElement elementOf(kernels::CudaTensorMap::Element element) {
  using Element = kernels::CudaTensorMap::Element;
  switch (element) {
  case Element::kU8:
    return plan::TensorElement::kU8;
  case Element::kU32:
    return plan::TensorElement::kU32;
  case Element::kF32:
    return plan::TensorElement::kF32;
  case Element::kBF16:
    return plan::TensorElement::kBF16;
  }
  return plan::TensorElement::kU8;
}
plan::TensorSwizzle swizzleOf(kernels::CudaTensorMap::Swizzle swizzle) {
  using Swizzle = kernels::CudaTensorMap::Swizzle;
  switch (swizzle) {
  case Swizzle::kNone:
    return plan::TensorSwizzle::kNone;
  case Swizzle::k32:
    return plan::TensorSwizzle::k32B;
  case Swizzle::k64:
    return plan::TensorSwizzle::k64B;
  case Swizzle::k128:
    return plan::TensorSwizzle::k128B;
  }
  return plan::TensorSwizzle::kNone;
}

plan::TensorMap tensorMapOf(const kernels::CudaTensorMap &from) {
  plan::TensorMap map;
  map.operand = from.operand == kernels::CudaTensorMap::kWorkspace ? plan::TensorMap::kWorkspace
                                                                   : from.operand;
  map.offset_bytes = from.offsetBytes;
  map.element = elementOf(from.element);
  map.swizzle = swizzleOf(from.swizzle);
  for (const kernels::CudaTensorMap::Dimension &dimension : from.dimensions)
    map.dimensions.push_back({dimension.size, dimension.strideBytes, dimension.box});
  return map;
}

} // namespace

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
  plan::CudaKernel kernel;
  for (const kernels::CudaPhase &phase : info.phases) {
    PLATEN_ASSIGN_OR_RETURN(kernel.phases.emplace_back(), phaseOf(phase));
  }
  for (const kernels::CudaTensorMap &map : info.tensorMaps)
    kernel.tensor_maps.push_back(tensorMapOf(map));
  kernel.operation = info.operation;
  kernel.tile = info.tile;
  kernel.family = info.family;
  kernel.is_fallback = info.isFallback;
  kernel.predicted_ns = info.predictedNs;
  kernel.proof = info.isSimulated ? plan::Proof::kSimulated : plan::Proof::kUnverified;
  program.kernels.push_back({info.name, info.workspaceBytes, std::move(kernel)});
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

} // namespace platen::compiler
