// describeHostKernel: adds to a request how a CPU's threads share its work.
#include "kernels/descriptor.h"
#include "kernels/host/describe_detail.h"
#include "kernels/host/specs.h"
#include "kernels/request.h"
#include "runtime/base/checked.h"

#include <algorithm>

namespace platen::kernels {

using base::invalidArgument;
using base::Result;
using base::Status;

std::vector<MatmulVariant> matmulVariants(const Packing &packing) {
  const KernelDescriptor *row = findKernel("matmul", packing.name);
  const uint32_t most = row != nullptr ? row->maxRowsPerTile : 4;
  if (most == 4)
    return {{1, 1}, {UINT64_MAX, most}};
  return {{1, 1}, {8, 4}, {UINT64_MAX, most}};
}

MatmulTiling matmulTiling(const MatmulSpec &spec) {
  MatmulTiling tiling;
  for (uint64_t n : spec.n)
    tiling.panels += spec.packing.panels(n);
  if (spec.mode == MatmulSpec::Mode::kGated)
    tiling.panels = spec.packing.panels(spec.n[0]);
  const uint64_t perPanel = spec.mode == MatmulSpec::Mode::kGated ? spec.n.size() : 1;
  // The weights of a unit stay in a 512 KB L2 beside the x tile while all row tiles of the unit
  // pass by.
  const uint64_t fits = (192U << 10U) / (spec.packing.panelBytes(spec.k) * perPanel + 1);
  const bool decode = spec.rowsPerTile == 1;
  tiling.panelsPerUnit = decode ? 4 : std::max<uint64_t>(4, std::min<uint64_t>(16, fits / 4 * 4));
  tiling.rowsPerUnit = decode ? 1 : spec.rowsPerTile == 4 && !spec.packing.isQuantized() ? 8 : 48;
  return tiling;
}

namespace {

Status checkCache(base::DType cache, const std::string &where) {
  if (cache != base::DType::kF32)
    return base::unsupported(
        "a KV cache of " + std::string(base::dtypeName(cache)) + " on the host; use f32", where);
  return Status::ok();
}

// One cut() a request: fills units and scratch and returns the name's tile.

Result<std::string> cut(const MatmulSpec &spec, HostKernelInfo &info) {
  if (spec.rowsPerTile == 0 || spec.rowsPerTile > 8)
    return invalidArgument("rowsPerTile must be 1 to 8", "matmul");
  if (spec.packing.isNarrowFloat())
    return base::unsupported("weights of packing '" + std::string(spec.packing.name) +
                                 "' on the host; fp8 and nvfp4 are for GPUs alone: leave the host "
                                 "out of the targets or store the weights in another format",
                             "matmul");
  const MatmulTiling tiling = matmulTiling(spec);
  info.rowsPerUnit = static_cast<uint32_t>(tiling.rowsPerUnit);
  info.unitsPerRows = (tiling.panels + tiling.panelsPerUnit - 1) / tiling.panelsPerUnit;
  if (spec.packing.element == Packing::Element::kBF16) // x in bf16 pairs, for AVX-512
    info.scratchBytes = base::alignUp(tiling.rowsPerUnit * ((spec.k + 1) / 2) * 4, 64);
  return std::to_string(spec.rowsPerTile) + "x16k" + std::to_string(spec.k) + "n" +
         std::to_string(spec.columns());
}

Result<std::string> cut(const QuantizeRowsSpec &, HostKernelInfo &) { return std::string("1x32"); }

Result<std::string> cut(const RowProgramSpec &spec, HostKernelInfo &info) {
  info.unitsPerRows = spec.rowsPerToken;
  return "1x" + std::to_string(spec.width);
}

Result<std::string> cut(const EmbedSpec &spec, HostKernelInfo &) {
  return "1x" + std::to_string(spec.width);
}

Result<std::string> cut(const QkvFinishSpec &spec, HostKernelInfo &info) {
  PLATEN_RETURN_IF_ERROR(checkCache(spec.cacheDtype, "qkv_finish"));
  info.unitsPerRows = spec.heads + 2 * spec.kvHeads;
  info.scratchBytes = base::alignUp(uint64_t{spec.headDim} * 4, 64);
  return "1x" + std::to_string(spec.headDim);
}

Result<std::string> cut(const PagedAttentionSpec &spec, HostKernelInfo &info) {
  PLATEN_RETURN_IF_ERROR(checkCache(spec.cacheDtype, "paged_attention"));
  if (spec.blockTokens == 0 || spec.blockTokens > 64)
    return invalidArgument("blockTokens must be 1 to 64", "paged_attention");
  info.rowsPerUnit = spec.blockTokens;
  info.unitsPerRows = spec.kvHeads;
  // For every query head of the unit: probabilities [16], running maximum and sum (one line),
  // accumulator [hd].
  const uint64_t group = spec.heads / spec.kvHeads;
  info.scratchBytes =
      spec.blockTokens * group * (128 + base::alignUp(uint64_t{spec.headDim} * 4, 64));
  return std::to_string(spec.blockTokens) + "x" + std::to_string(spec.headDim);
}

Result<std::string> cut(const SelectRowsSpec &spec, HostKernelInfo &) {
  return "1x" + std::to_string(spec.width);
}

Result<std::string> cut(const LoopSpec &spec, HostKernelInfo &) {
  return std::to_string(spec.program.extents.size()) + "d";
}

} // namespace

Result<HostKernelInfo> describeHostKernel(const HostKernelSpec &spec) {
  PLATEN_ASSIGN_OR_RETURN(KernelRequest request, describeRequest(spec));
  HostKernelInfo info;
  info.extent = request.extent;
  info.operands = std::move(request.operands);
  PLATEN_ASSIGN_OR_RETURN(std::string tile,
                          std::visit([&](const auto &one) { return cut(one, info); }, spec));
  info.name = request.op + "_" + request.dtypes + "__host_" + tile + "_" + requestHash(request.key);
  info.key = std::move(request.key);
  return info;
}

} // namespace platen::kernels
