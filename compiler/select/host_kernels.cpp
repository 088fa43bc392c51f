#include "compiler/select/kernel_source.h"
#include "kernels/host/specs.h"

namespace platen::compiler {

using kernels::KernelSpec;
using kernels::MatmulSpec;

base::Status HostKernels::addVariant(const KernelSpec &spec, uint64_t maxExtent,
                                     plan::DeviceProgram &program, KernelChoice &choice) {
  PLATEN_ASSIGN_OR_RETURN(const kernels::HostKernelInfo info, kernels::describeHostKernel(spec));
  auto [entry, isNew] = index_.try_emplace(info.key, static_cast<uint32_t>(specs_.size()));
  if (isNew) {
    specs_.push_back(spec);
    program.kernels.push_back({info.name, info.scratchBytes});
  }
  choice.extent = planExtent(info.extent);
  choice.operands = info.operands.size();
  choice.variants.push_back(
      {maxExtent, entry->second, {choice.extent, info.rowsPerUnit, info.unitsPerRows}});
  return base::Status::ok();
}

base::Result<KernelChoice> HostKernels::choose(const KernelSpec &spec,
                                               plan::DeviceProgram &program) {
  KernelChoice choice;
  const auto *matmul = std::get_if<MatmulSpec>(&spec);
  if (matmul == nullptr) {
    PLATEN_RETURN_IF_ERROR(addVariant(spec, UINT64_MAX, program, choice));
    return choice;
  }
  for (const kernels::MatmulVariant &variant : kernels::matmulVariants(matmul->packing)) {
    MatmulSpec tiled = *matmul;
    tiled.rowsPerTile = variant.rowsPerTile;
    PLATEN_RETURN_IF_ERROR(addVariant(tiled, variant.maxExtent, program, choice));
  }
  return choice;
}

} // namespace platen::compiler
