// Tiles of matmuls of narrow floats by mma.sync: sm_89 (e4m3) and sm_120f (e2m1).
#include "kernels/cuda/describe_matmul.h"

namespace platen::kernels::cuda {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

struct Tile {
  uint64_t warpsC, warpsT, warpPanels, warpTiles, stages;
  uint64_t maxExtent = UINT64_MAX;
  uint64_t threads() const { return 32 * warpsC * warpsT; }
  uint64_t panels() const { return warpsC * warpPanels; }
  uint64_t tokens() const { return warpsT * warpTiles * 8; }
};
constexpr Tile kTiles[] = {{2, 1, 1, 1, 8, 8}, {4, 1, 1, 2, 6, 16}, {4, 1, 1, 4, 4},
                           {2, 2, 2, 4, 3},    {4, 2, 2, 4, 3},     {4, 2, 2, 8, 2}};

uint64_t sharedBytes(const MatmulSpec &spec, const Tile &tile) {
  const bool four = spec.packing.element == Packing::Element::kF4;
  return tile.stages * (matmulAccumulators(spec) * tile.panels() * (2048 + (four ? 256 : 0)) +
                        tile.tokens() * (128 + (four ? 16 : 0)));
}

CudaKernelInfo describe(const MatmulSpec &spec, const Context &context, const Tile &tile) {
  const bool decode = tile.maxExtent != UINT64_MAX;
  CudaKernelInfo info = begin(context,
                              (decode ? "decode" : "prefill") + text(tile.tokens()) + "x" +
                                  text(tile.panels() * 16) + "s" + text(tile.stages),
                              {"matmul.cuh", "matmul_round.cuh", "matmul_narrow.cuh"});
  const uint64_t shared = sharedBytes(spec, tile);
  const MatmulWorkspace workspace = matmulWorkspace(spec, context.limits, tile.tokens());
  info.source += matmulConfig(spec, 1, (spec.k + 63) / 64 * 64)
                     .number("kTokens", tile.tokens())
                     .number("kWorkspaceRows", workspace.rows)
                     .number("kWarpsC", tile.warpsC)
                     .number("kWarpsT", tile.warpsT)
                     .number("kWarpPanels", tile.warpPanels)
                     .number("kWarpTiles", tile.warpTiles)
                     .number("kStages", tile.stages)
                     .print() +
                 "using Kernel = platen::MatmulNarrow<Config>;\nstatic_assert(Kernel::kSharedBytes "
                 "== " +
                 text(shared) + ", \"the launch's shared memory is the template's\");\n";
  CudaPhase main;
  main.entry = info.name;
  main.gridX = {Extent::kOne, 1, (matmulPanels(spec) + tile.panels() - 1) / tile.panels()};
  main.gridY = {spec.extent, tile.tokens(), 1};
  main.threads = static_cast<uint32_t>(tile.threads());
  main.dynamicSharedBytes = static_cast<uint32_t>(shared);
  info.phases = {addRounding(info, spec, tile.tokens(), ", void *workspace"), main};
  info.source +=
      matmulEntry(spec, main.entry, main.threads, "run(step, o, workspace)", ", void *workspace");
  info.workspaceBytes = workspace.bytes;
  info.maxExtent = tile.maxExtent;
  info.work = matmulWork(spec);
  if (spec.packing.element == Packing::Element::kF4)
    info.expectedSass = {"OMMA", "LDGSTS", "LDSM"};
  else // newer datacentre architectures have no narrow mma.sync of their own
    info.expectedSass = {
        context.architecture.major == 10 || context.architecture.major == 11 ? "HMMA" : "QMMA",
        "LDGSTS", "LDSM"};
  return info;
}

} // namespace

MatmulWorkspace matmulWorkspace(const MatmulSpec &spec, const CudaLimits &limits, uint64_t tokens) {
  const bool f4 = spec.packing.element == Packing::Element::kF4,
             f8 = spec.packing.element == Packing::Element::kF8;
  MatmulWorkspace workspace;
  workspace.stepK = f4 ? 256 : f8 ? 128 : 64;
  const uint64_t steps = (spec.k + workspace.stepK - 1) / workspace.stepK;
  workspace.rows = (limits.stepExtent + tokens - 1) / tokens * tokens;
  workspace.pitch = steps * 128;
  workspace.bytes = workspace.rows * (workspace.pitch + (f4 ? steps * 16 : 0) + (f4 || f8 ? 4 : 0));
  return workspace;
}

CudaPhase addRounding(CudaKernelInfo &info, const MatmulSpec &spec, uint64_t tokens,
                      const std::string &parameters) {
  CudaPhase round;
  round.entry = info.name + "_round";
  round.gridX = {spec.extent, tokens, tokens};
  round.threads = 128; // kRoundThreads
  info.source +=
      matmulEntry(spec, round.entry, round.threads, "round(step, o.x, workspace)", parameters);
  return round;
}

base::Result<Candidates> narrowMatmul(const MatmulSpec &spec, const Context &context) {
  Candidates all;
  const Packing::Element element = spec.packing.element;
  if (context.family.target == "sm89" ? element != Packing::Element::kF8
                                      : element != Packing::Element::kF4)
    return all;
  const uint64_t accumulators = matmulAccumulators(spec);
  // Sums stay in registers: of e4m3, those of a step and those of the steps before.
  const uint64_t most = element == Packing::Element::kF8 ? 32 : 64;
  for (const Tile &tile : kTiles)
    if (accumulators * tile.warpPanels * tile.warpTiles * 4 <= most &&
        sharedBytes(spec, tile) <= context.architecture.sharedPerBlock)
      all.push_back(describe(spec, context, tile));
  return !all.empty() && all.back().maxExtent == UINT64_MAX ? all : Candidates{};
}

} // namespace platen::kernels::cuda
