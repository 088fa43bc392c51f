// What a manifest says of CUDA kernels, against the limits of CUDA and of the step: afterwards
// every grid of every step can be launched, and every tensor map encoded.
#include <cmath>

#include "runtime/base/checked.h"
#include "runtime/plan/validate_detail.h"

namespace platen::plan::detail {
namespace {

using base::corrupt;
using base::Status;

constexpr uint64_t kMaxGridX = INT32_MAX, kMaxGridYz = 65535;
constexpr uint64_t kMaxThreads = 1024;
constexpr uint64_t kMaxClusterBlocks = 16;
constexpr uint64_t kMaxDynamicSharedBytes = 227 << 10;

Status checkGrid(const Units &grid, uint32_t cluster, const Extents &extents, uint64_t most) {
  PLATEN_RETURN_IF_ERROR(checkExtent(grid.extent));
  PLATEN_RETURN_IF_ERROR(checkRange("per", grid.per, 1, ~uint32_t{0}));
  PLATEN_RETURN_IF_ERROR(checkRange("times", grid.times, 1, most));
  uint64_t blocks = (static_cast<uint64_t>(extents[grid.extent]) + grid.per - 1) / grid.per;
  PLATEN_ASSIGN_OR_RETURN(blocks, base::checkedMul(blocks, grid.times, "the number of blocks"));
  PLATEN_RETURN_IF_ERROR(checkRange("the number of blocks", blocks, 1, most));
  PLATEN_RETURN_IF_ERROR(checkRange("the cluster", cluster, 1, kMaxClusterBlocks));
  if (grid.times % cluster != 0)
    return corrupt("times is " + number(grid.times) + ", no multiple of the cluster's " +
                   number(cluster) + " blocks");
  return Status::ok();
}

Status checkPhase(const Phase &phase, const Extents &most) {
  if (phase.entry.empty() || !isPrintable(phase.entry))
    return corrupt("its entry is empty or holds control characters");
  PLATEN_RETURN_IF_ERROR(checkGrid(phase.grid_x, phase.cluster_x, most, kMaxGridX).at("grid_x"));
  PLATEN_RETURN_IF_ERROR(checkGrid(phase.grid_y, phase.cluster_y, most, kMaxGridYz).at("grid_y"));
  PLATEN_RETURN_IF_ERROR(checkGrid(phase.grid_z, phase.cluster_z, most, kMaxGridYz).at("grid_z"));
  PLATEN_RETURN_IF_ERROR(checkRange("the number of blocks in a cluster",
                                    phase.cluster_x * phase.cluster_y * phase.cluster_z, 1,
                                    kMaxClusterBlocks));
  PLATEN_RETURN_IF_ERROR(checkRange("threads", phase.threads, 1, kMaxThreads));
  return checkRange("dynamic_shared_bytes", phase.dynamic_shared_bytes, 0, kMaxDynamicSharedBytes);
}

Status checkTimes(const CudaKernel &kernel) {
  for (double nanoseconds : {kernel.predicted_ns, kernel.measured_ns})
    if (!std::isfinite(nanoseconds) || nanoseconds < 0)
      return corrupt("predicted_ns or measured_ns is negative or no number");
  if (kernel.measured_ns != 0 && kernel.proof != Proof::kMeasured)
    return corrupt("it has measured_ns, but its proof is no measurement");
  return checkRange("proof", static_cast<uint64_t>(kernel.proof), 0,
                    static_cast<uint64_t>(Proof::kMeasured));
}

} // namespace

Status checkCudaKernel(const CudaKernel &kernel, const Extents &most) {
  PLATEN_RETURN_IF_ERROR(checkRange("the number of phases", kernel.phases.size(), 1, kMaxPhases));
  for (size_t i = 0; i < kernel.phases.size(); ++i)
    PLATEN_RETURN_IF_ERROR(checkPhase(kernel.phases[i], most).at(place("phases", i, "")));
  PLATEN_RETURN_IF_ERROR(
      checkRange("the number of tensor maps", kernel.tensor_maps.size(), 0, kMaxTensorMaps));
  for (const std::string *text : {&kernel.operation, &kernel.tile, &kernel.family})
    if (!isPrintable(*text))
      return corrupt("operation, tile or family holds control characters");
  return checkTimes(kernel);
}

Status checkTensorMaps(const Kernel &kernel, std::span<const uint64_t> operand_bytes) {
  const std::vector<TensorMap> &maps = kernel.cuda->tensor_maps;
  for (size_t i = 0; i < maps.size(); ++i) {
    Status status;
    if (maps[i].operand == TensorMap::kWorkspace)
      status = resolveDimensions(maps[i], kernel.scratch_bytes).status();
    else if (maps[i].operand < operand_bytes.size())
      status = resolveDimensions(maps[i], operand_bytes[maps[i].operand]).status();
    else
      status = checkIndex("operand", maps[i].operand, operand_bytes.size());
    if (!status.isOk())
      return status.at(place("tensor_maps", i, ""));
  }
  return Status::ok();
}

Status checkCudaFeatures(const CodeTarget &target) {
  if (target.features.size() != 1 || !parseCudaArchitecture(target.features[0]))
    return corrupt("its features must name one CUDA architecture, as sm_90a or compute_80 do");
  return Status::ok();
}

} // namespace platen::plan::detail
