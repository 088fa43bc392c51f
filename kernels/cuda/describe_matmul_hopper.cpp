// Tiles of matmuls on sm_90a.
#include "kernels/cuda/describe_matmul.h"
#include "kernels/cuda/wgmma_print.h"

#include <algorithm>

namespace platen::kernels::cuda {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

constexpr uint64_t kStepK = 64, kPanelStage = 2048; // of the template

struct Tile {
  uint64_t tokens, warpgroups, stages;
  bool tensorMap;     ///< tokens come rounded from the workspace
  uint64_t registers; ///< of a consumer's thread; 0: the compiler's
};
/// Decode: a stage for every 8 KiB of weights, three blocks or many bytes under way.
constexpr Tile kStreams[] = {{8, 1, 12, false, 0}, {16, 1, 12, false, 0}, {32, 1, 12, false, 0}};
constexpr Tile kPrefills[] = {{64, 1, 8, true, 0}, {128, 2, 6, true, 0}, {256, 2, 4, true, 232}};

uint64_t stageBytes(const Tile &tile, uint64_t accumulators) {
  return tile.tokens * 128 + tile.warpgroups * 4 * accumulators * kPanelStage;
}
uint64_t sharedBytes(const Tile &tile, uint64_t accumulators) {
  const uint64_t out = tile.warpgroups * accumulators * tile.tokens * 68 * 4;
  return std::max(tile.stages * stageBytes(tile, accumulators), out) + tile.stages * 16;
}

constexpr std::string_view kWorkspaceParameters = ", void *workspace, const void *map";

CudaKernelInfo describe(const MatmulSpec &spec, const Context &context, const Tile &tile) {
  const uint64_t accumulators = matmulAccumulators(spec), panels = tile.warpgroups * 4;
  const uint64_t shared = sharedBytes(tile, accumulators);
  const uint64_t pitch = (spec.k + kStepK - 1) / kStepK * kStepK;
  CudaKernelInfo info = begin(context,
                              (tile.tensorMap ? "prefill" : "stream") + text(tile.tokens) + "x" +
                                  text(panels * 16) + "s" + text(tile.stages),
                              {"matmul.cuh", "async.cuh", "wgmma.cuh", "matmul_hopper.cuh"});
  info.source +=
      printWgmma(static_cast<uint32_t>(tile.tokens)) + matmulConfig(spec, 1, pitch)
                                                           .number("kTokens", tile.tokens)
                                                           .number("kWarpgroups", tile.warpgroups)
                                                           .number("kStages", tile.stages)
                                                           .number("kRegisters", tile.registers)
                                                           .flag("kTensorMap", tile.tensorMap)
                                                           .print();
  info.source +=
      "using Kernel = platen::MatmulHopper<Config>;\nstatic_assert(Kernel::kSharedBytes == " +
      text(shared) + ", \"the launch's shared memory is the template's\");\n";
  CudaPhase main;
  main.entry = info.name;
  main.gridX = {Extent::kOne, 1, (matmulPanels(spec) + panels - 1) / panels};
  main.gridY = {spec.extent, tile.tokens, 1};
  main.threads = static_cast<uint32_t>(128 * (tile.warpgroups + 1));
  main.dynamicSharedBytes = static_cast<uint32_t>(shared);
  info.work = matmulWork(spec);
  info.expectedSass = {"HGMMA", "UBLKCP"};
  if (!tile.tensorMap) {
    info.source +=
        matmulEntry(spec, info.name, main.threads, "MatmulHopper<Config>::run(step, o, nullptr)");
    info.maxExtent = tile.tokens;
    info.phases = {main};
    return info;
  }
  CudaPhase convert;
  convert.entry = info.name + "_convert";
  convert.gridX = {spec.extent, tile.tokens, tile.tokens};
  convert.threads = 128;
  info.phases = {convert, main};
  const std::string parameters(kWorkspaceParameters);
  info.source += matmulEntry(spec, convert.entry, convert.threads,
                             "MatmulHopper<Config>::convert(step, o.x, workspace)", parameters) +
                 matmulEntry(spec, main.entry, main.threads,
                             "MatmulHopper<Config>::run(step, o, map)", parameters);
  const uint64_t rows = (context.limits.stepExtent + tile.tokens - 1) / tile.tokens * tile.tokens;
  info.workspaceBytes = rows * pitch * 2;
  info.tensorMaps = {{CudaTensorMap::kWorkspace,
                      0,
                      CudaTensorMap::Element::kBF16,
                      CudaTensorMap::Swizzle::k128,
                      {{pitch, 2, static_cast<uint32_t>(kStepK)},
                       {rows, pitch * 2, static_cast<uint32_t>(tile.tokens)}}}};
  info.expectedSass.emplace_back("UTMALDG");
  return info;
}

} // namespace

base::Result<Candidates> hopperMatmul(const MatmulSpec &spec, const Context &context) {
  Candidates all;
  if (spec.packing.element != Packing::Element::kBF16)
    return all;
  // Sums of a consumer's thread: half a register an accumulator and token; 128 of them at most.
  const uint64_t accumulators = matmulAccumulators(spec);
  for (const Tile &tile : kStreams)
    if (accumulators * tile.tokens <= 64)
      all.push_back(describe(spec, context, tile));
  for (const Tile &tile : kPrefills)
    if (accumulators * tile.tokens <= 256)
      all.push_back(describe(spec, context, tile));
  if (!all.empty() && all.back().maxExtent != UINT64_MAX)
    return Candidates{};
  return all;
}

} // namespace platen::kernels::cuda
