#include "compiler/emit/cuda/plan_code.h"

#include "compiler/plan_extent.h"

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

base::Result<plan::Kernel> planKernel(const CudaKernelInfo &info) {
  plan::Kernel entry{info.name, info.workspaceBytes, plan::CudaKernel{}};
  plan::CudaKernel &kernel = *entry.cuda;
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
  return entry;
}

base::Result<plan::CodeTarget> writeCudaCode(plan::PlanWriter &writer,
                                             const std::string &architecture,
                                             std::span<const std::string> images) {
  plan::CodeTarget code;
  code.name = architecture;
  code.features = {architecture};
  PLATEN_ASSIGN_OR_RETURN(code.section,
                          writer.beginSection(plan::SectionKind::kCode, "code." + architecture));
  for (const std::string &image : images) {
    PLATEN_ASSIGN_OR_RETURN(const uint64_t offset, writer.align());
    code.entry_offsets.push_back(offset);
    code.entry_bytes.push_back(image.size());
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(image))));
  }
  PLATEN_RETURN_IF_ERROR(writer.endSection());
  return code;
}

} // namespace platen::compiler
