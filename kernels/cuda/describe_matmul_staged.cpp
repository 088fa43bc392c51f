// Tiles of matmuls that the copy engine feeds: sm_90a and sm_100f.
#include "kernels/cuda/describe_matmul.h"
#include "kernels/cuda/wgmma_print.h"

#include <algorithm>
#include <span>

namespace platen::kernels::cuda {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

constexpr uint64_t kBarrierBytes = 32; // of matmul_pipeline.cuh

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
constexpr Tile kBlackwellNarrow[] = {{16, 0, 8, true, 16}, {32, 0, 8, true, 32}, {64, 0, 6, true},
                                     {128, 0, 5, true},    {64, 0, 4, true},     {128, 0, 3, true}};

enum class Kind : uint8_t { kHopper, kBlackwell, kBlackwellNarrow };

/// What a kind's template makes of a tile.
struct Shape {
  uint64_t panels, threads, shared, columns; ///< columns: of tensor memory
};
uint64_t stageBytes(uint64_t tokens, uint64_t panels, uint64_t stride) {
  return (tokens * 128 + panels * stride + 1023) / 1024 * 1024;
}
Shape shapeOf(const MatmulSpec &spec, const Tile &tile, Kind kind) {
  const uint64_t accumulators = matmulAccumulators(spec), barriers = tile.stages * kBarrierBytes;
  switch (kind) {
  case Kind::kHopper: {
    const uint64_t panels = tile.warpgroups * 4;
    const uint64_t out = tile.warpgroups * accumulators * tile.tokens * 68 * 4;
    const uint64_t stages = tile.stages * stageBytes(tile.tokens, panels * accumulators, 2048);
    return {panels, 128 * (tile.warpgroups + 1), std::max(stages, out) + barriers, 0};
  }
  case Kind::kBlackwell: {
    const uint64_t stages = tile.stages * stageBytes(tile.tokens, 8 * accumulators, 2048 + 64);
    return {8, tile.tensorMap ? 192U : 288U, stages + barriers + 16,
            accumulators * (tile.tokens + tile.stages * 32)};
  }
  case Kind::kBlackwellNarrow:
    break;
  }
  const bool four = spec.packing.element == Packing::Element::kF4;
  const uint64_t groups = four ? tile.tokens * 16 : 0;
  const uint64_t stage =
      (tile.tokens * 128 + 8 * accumulators * (2048 + (four ? 256U : 0U)) + groups + 1023) / 1024 *
      1024;
  return {8, 192, tile.stages * stage + barriers + 16,
          accumulators * tile.tokens + (four ? tile.stages * 16 * (accumulators + 1) : 0)};
}

/// The instruction that multiplies, by the beginning of its name in machine code.
std::string_view instructionOf(const MatmulSpec &spec, Kind kind) {
  if (kind == Kind::kHopper)
    return spec.packing.element == Packing::Element::kF8 ? "QGMMA" : "HGMMA";
  if (kind == Kind::kBlackwell)
    return "UTCHMMA";
  return spec.packing.element == Packing::Element::kF8 ? "UTCQMMA" : "UTCOMMA";
}

CudaKernelInfo source(const MatmulSpec &spec, const Context &context, const Tile &tile,
                      const Shape &shape, Kind kind) {
  const std::string name = (tile.maxExtent == UINT64_MAX ? "prefill"
                            : tile.tensorMap             ? "decode"
                                                         : "stream") +
                           text(tile.tokens) + "x" + text(shape.panels * 16) + "s" +
                           text(tile.stages);
  CudaKernelInfo info =
      kind == Kind::kHopper
          ? begin(context, name,
                  {"matmul.cuh", "matmul_round.cuh", "async.cuh", "wgmma.cuh",
                   "matmul_pipeline.cuh", "matmul_stage.cuh", "matmul_hopper.cuh"})
      : kind == Kind::kBlackwell
          ? begin(context, name,
                  {"matmul.cuh", "matmul_round.cuh", "async.cuh", "tcgen05.cuh",
                   "matmul_pipeline.cuh", "matmul_stage.cuh", "matmul_blackwell.cuh"})
          : begin(context, name,
                  {"matmul.cuh", "matmul_round.cuh", "async.cuh", "tcgen05.cuh",
                   "matmul_pipeline.cuh", "matmul_blackwell_narrow.cuh"});
  ConfigPrinter config = matmulConfig(spec, 1, (spec.k + 63) / 64 * 64);
  config.number("kTokens", tile.tokens)
      .number("kWorkspaceRows", matmulWorkspace(spec, context.limits, tile.tokens).rows)
      .number("kStages", tile.stages)
      .flag("kTensorMap", tile.tensorMap);
  if (kind == Kind::kHopper) {
    config.number("kWarpgroups", tile.warpgroups).number("kRegisters", tile.registers);
    info.source += printWgmma(static_cast<uint32_t>(tile.tokens));
  }
  info.source += config.print() + "using Kernel = platen::Matmul" +
                 (kind == Kind::kHopper      ? "Hopper"
                  : kind == Kind::kBlackwell ? "Blackwell"
                                             : "BlackwellNarrow") +
                 "<Config>;\nstatic_assert(Kernel::kSharedBytes == " + text(shape.shared) +
                 " && Kernel::kThreads == " + text(shape.threads) +
                 ", \"the launch is the template's\");\n";
  info.expectedSass = {std::string(instructionOf(spec, kind)), "UBLKCP"};
  return info;
}

CudaKernelInfo describe(const MatmulSpec &spec, const Context &context, const Tile &tile,
                        const Shape &shape, Kind kind) {
  CudaKernelInfo info = source(spec, context, tile, shape, kind);
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
  const bool hopper = context.family.target == "sm90a", narrow = spec.packing.isNarrowFloat();
  const bool taken =
      spec.packing.isHalf() || spec.packing.element == Packing::Element::kF8 || (narrow && !hopper);
  if (!taken)
    return all;
  const Kind kind = hopper ? Kind::kHopper : narrow ? Kind::kBlackwellNarrow : Kind::kBlackwell;
  using Tiles = std::span<const Tile>;
  const Tiles tiles = hopper ? (narrow ? Tiles(kHopperF8) : Tiles(kHopper))
                             : (narrow ? Tiles(kBlackwellNarrow) : Tiles(kBlackwell));
  for (const Tile &tile : tiles) {
    const Shape shape = shapeOf(spec, tile, kind);
    // Sums stay in registers (half a one for each token and accumulator, of f8 twice, and streams
    // need some besides) or in tensor memory.
    const uint64_t most = narrow ? 128 : tile.tensorMap ? 256 : 64;
    const bool fits =
        hopper ? matmulAccumulators(spec) * tile.tokens <= most : shape.columns <= 512;
    if (fits && shape.shared <= context.architecture.sharedPerBlock)
      all.push_back(describe(spec, context, tile, shape, kind));
  }
  const bool takesAll = std::any_of(all.begin(), all.end(), [](const CudaKernelInfo &one) {
    return one.maxExtent == UINT64_MAX;
  });
  return takesAll ? all : Candidates{};
}

} // namespace platen::kernels::cuda
