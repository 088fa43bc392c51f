// Tiles of matmuls that the copy engine feeds: sm_90a and sm_100f.
#include "kernels/cuda/describe_matmul.h"
#include "kernels/cuda/wgmma_print.h"

#include <algorithm>
#include <span>

namespace platen::kernels::cuda {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

constexpr uint64_t kBarrierBytes = 32; // of matmul_stage.cuh

struct Tile {
  uint64_t tokens, warpgroups, stages; ///< warpgroups: that multiply (sm_90a)
  bool tensorMap;                      ///< tokens come rounded from the workspace
  uint64_t maxExtent = UINT64_MAX;
  uint64_t registers = 0; ///< of a multiplying thread (sm_90a); 0: the compiler's
};
constexpr Tile kHopper[] = {{8, 1, 12, false, 8},   {16, 1, 12, false, 16},
                            {32, 1, 12, false, 32}, {64, 1, 8, true},
                            {128, 2, 6, true},      {256, 2, 4, true, UINT64_MAX, 232}};
constexpr Tile kHopperF8[] = {
    {8, 1, 12, true, 8}, {32, 1, 12, true, 32}, {64, 1, 8, true}, {128, 2, 6, true}};
constexpr Tile kBlackwell[] = {{16, 0, 8, false, 16}, {32, 0, 8, false, 32}, {64, 0, 6, true},
                               {128, 0, 6, true},     {128, 0, 4, true},     {256, 0, 4, true}};

/// What a family's template makes of a tile.
struct Shape {
  uint64_t panels, threads, shared, columns; ///< columns: of tensor memory
};
uint64_t stageBytes(const Tile &tile, uint64_t panels, uint64_t stride) {
  return (tile.tokens * 128 + panels * stride + 1023) / 1024 * 1024;
}
Shape hopperShape(const Tile &tile, uint64_t accumulators) {
  const uint64_t panels = tile.warpgroups * 4;
  const uint64_t out = tile.warpgroups * accumulators * tile.tokens * 68 * 4;
  const uint64_t stages = tile.stages * stageBytes(tile, panels * accumulators, 2048);
  return {panels, 128 * (tile.warpgroups + 1), std::max(stages, out) + tile.stages * kBarrierBytes,
          0};
}
Shape blackwellShape(const Tile &tile, uint64_t accumulators) {
  const uint64_t stages = tile.stages * stageBytes(tile, 8 * accumulators, 2048 + 64);
  return {8, tile.tensorMap ? 192U : 288U, stages + tile.stages * kBarrierBytes + 16,
          accumulators * (tile.tokens + tile.stages * 32)};
}

CudaKernelInfo source(const MatmulSpec &spec, const Context &context, const Tile &tile,
                      const Shape &shape, bool hopper) {
  const std::string name = (tile.tensorMap ? "prefill" : "stream") + text(tile.tokens) + "x" +
                           text(shape.panels * 16) + "s" + text(tile.stages);
  CudaKernelInfo info = hopper
                            ? begin(context, name,
                                    {"matmul.cuh", "async.cuh", "wgmma.cuh", "matmul_round.cuh",
                                     "matmul_stage.cuh", "matmul_hopper.cuh"})
                            : begin(context, name,
                                    {"matmul.cuh", "async.cuh", "tcgen05.cuh", "matmul_round.cuh",
                                     "matmul_stage.cuh", "matmul_blackwell.cuh"});
  ConfigPrinter config = matmulConfig(spec, 1, (spec.k + 63) / 64 * 64);
  config.number("kTokens", tile.tokens)
      .number("kWorkspaceRows", matmulWorkspace(spec, context.limits, tile.tokens).rows)
      .number("kStages", tile.stages)
      .flag("kTensorMap", tile.tensorMap);
  if (hopper) {
    config.number("kWarpgroups", tile.warpgroups).number("kRegisters", tile.registers);
    info.source += printWgmma(static_cast<uint32_t>(tile.tokens));
  }
  info.source +=
      config.print() + "using Kernel = platen::Matmul" + (hopper ? "Hopper" : "Blackwell") +
      "<Config>;\nstatic_assert(Kernel::kSharedBytes == " + text(shape.shared) +
      " && Kernel::kThreads == " + text(shape.threads) + ", \"the launch is the template's\");\n";
  info.expectedSass = {spec.packing.element == Packing::Element::kF8 ? "QGMMA"
                       : hopper                                      ? "HGMMA"
                                                                     : "UTCHMMA",
                       "UBLKCP"};
  return info;
}

CudaKernelInfo describe(const MatmulSpec &spec, const Context &context, const Tile &tile,
                        const Shape &shape, bool hopper) {
  CudaKernelInfo info = source(spec, context, tile, shape, hopper);
  info.work = matmulWork(spec);
  CudaPhase main;
  main.entry = info.name;
  main.gridX = {Extent::kOne, 1, (matmulPanels(spec) + shape.panels - 1) / shape.panels};
  main.gridY = {spec.extent, tile.tokens, 1};
  main.threads = static_cast<uint32_t>(shape.threads);
  main.dynamicSharedBytes = static_cast<uint32_t>(shape.shared);
  info.maxExtent = tile.maxExtent;
  if (!tile.tensorMap) {
    info.source += matmulEntry(spec, main.entry, main.threads, "run(step, o, nullptr, nullptr)");
    info.phases = {main};
    return info;
  }
  const std::string parameters = ", void *workspace, const void *map";
  info.phases = {addRounding(info, spec, tile.tokens, parameters), main};
  info.source +=
      matmulEntry(spec, main.entry, main.threads, "run(step, o, workspace, map)", parameters);
  const MatmulWorkspace workspace = matmulWorkspace(spec, context.limits, tile.tokens);
  info.workspaceBytes = workspace.bytes;
  // Bytes, so that one kind of map serves all kinds of codes.
  info.tensorMaps = {{CudaTensorMap::kWorkspace,
                      0,
                      CudaTensorMap::Element::kU8,
                      CudaTensorMap::Swizzle::k128,
                      {{workspace.pitch, 1, 128},
                       {workspace.rows, workspace.pitch, static_cast<uint32_t>(tile.tokens)}}}};
  info.expectedSass.emplace_back("UTMALDG");
  return info;
}

} // namespace

base::Result<Candidates> stagedMatmul(const MatmulSpec &spec, const Context &context) {
  Candidates all;
  const bool hopper = context.family.target == "sm90a",
             f8 = spec.packing.element == Packing::Element::kF8;
  if (spec.packing.element != Packing::Element::kBF16 && !(hopper && f8))
    return all;
  const uint64_t accumulators = matmulAccumulators(spec);
  using Tiles = std::span<const Tile>;
  for (const Tile &tile : f8 ? Tiles(kHopperF8) : hopper ? Tiles(kHopper) : Tiles(kBlackwell)) {
    const Shape shape =
        hopper ? hopperShape(tile, accumulators) : blackwellShape(tile, accumulators);
    // Sums stay in registers (half a one for each token and accumulator, of f8 twice, and streams
    // need some besides) or in tensor memory.
    const bool fits = hopper ? accumulators * tile.tokens <= (f8               ? 128U
                                                              : tile.tensorMap ? 256U
                                                                               : 64U)
                             : shape.columns <= 512;
    if (fits && shape.shared <= context.architecture.sharedPerBlock)
      all.push_back(describe(spec, context, tile, shape, hopper));
  }
  const bool takesAll = std::any_of(all.begin(), all.end(), [](const CudaKernelInfo &one) {
    return one.maxExtent == UINT64_MAX;
  });
  return takesAll ? all : Candidates{};
}

} // namespace platen::kernels::cuda
