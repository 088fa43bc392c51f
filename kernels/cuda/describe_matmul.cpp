// Tiles of matmuls: what all families share, and those of sm_80.
#include "kernels/cuda/describe_matmul.h"
#include "kernels/cuda/scalar_print.h"

#include <algorithm>

namespace platen::kernels::cuda {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

/// How k is summed, by K alone: part of the kernel's numerics, the same for every tile and target.
struct Slices {
  uint64_t count, k; ///< k elements of one, a multiple of 64
};
Slices slicesOf(uint64_t k) {
  const uint64_t wanted = k < 512 ? 1 : k < 1024 ? 2 : k < 2048 ? 4 : 8;
  const uint64_t length = ((k + wanted - 1) / wanted + 63) / 64 * 64;
  return {(k + length - 1) / length, length};
}

} // namespace

ConfigPrinter matmulConfig(const MatmulSpec &spec, uint64_t slices, uint64_t sliceK) {
  ConfigPrinter out;
  addPacking(out, spec.packing, spec.k);
  const bool gated = spec.mode == MatmulSpec::Mode::kGated;
  out.number("kK", spec.k).number("kColumns", spec.columns()).number("kWeights", spec.n.size());
  out.flag("kGated", gated).number("kSlices", slices).number("kSliceK", sliceK);
  out.number("kRows", spec.rowOperands).number("kCols", spec.columnOperands);
  std::string n = "static constexpr unsigned kN[] = {";
  for (uint64_t one : spec.n)
    n += text(one) + "u, ";
  out.line(n + "};").extent(spec.extent);
  const uint64_t inputs = (gated ? spec.n.size() : 1) + spec.rowOperands + spec.columnOperands;
  out.line("__device__ static float epilogue(const float (&in)[" + text(inputs) + "]) {");
  if (!spec.epilogue.ops().empty())
    out.line(
        printScalarBlock(spec.epilogue, "v", [](uint32_t i) { return "in[" + text(i) + "]"; }));
  out.line(
         "  return " +
         (spec.epilogue.ops().empty() ? std::string("in[0]") : "v" + text(spec.epilogue.result())) +
         ";")
      .line("}");
  return out;
}

std::string matmulEntry(const MatmulSpec &spec, const std::string &name, uint64_t threads,
                        const std::string &call, const std::string &furtherParameters) {
  std::string parameters = ", const void *x",
              body = "  platen::MatmulOperands<Config> o{};\n  o.x = x;\n";
  auto add = [&](const std::string &type, const std::string &member, uint64_t count,
                 const std::string &cast) {
    for (uint64_t i = 0; i < count; ++i) {
      parameters += ", " + type + " *" + member + text(i);
      body += "  o." + member + "[" + text(i) + "] = " + cast + member + text(i) + ";\n";
    }
  };
  add("const void", "w", spec.n.size(), "static_cast<const platen::u8 *>(");
  for (uint64_t i = 0; i < spec.n.size(); ++i) { // close the casts
    const std::string open = "(w" + text(i) + ";";
    body.replace(body.find(open), open.size(), "(w" + text(i) + ");");
  }
  add("const float", "rows", spec.rowOperands, "");
  add("const float", "columns", spec.columnOperands, "");
  parameters += ", float *y" + furtherParameters;
  body += "  o.y = y;\n  Kernel::" + call + ";\n";
  return printEntry(name, static_cast<uint32_t>(threads), parameters, body);
}

CudaWork matmulWork(const MatmulSpec &spec) {
  CudaWork work;
  uint64_t channels = 0;
  for (uint64_t n : spec.n) {
    channels += n;
    work.fixedBytes += static_cast<double>(spec.packing.bytes(n, spec.k));
  }
  const double xBytes = spec.packing.isQuantized() ? 1.25 : 4;
  work.extentBytes = static_cast<double>(spec.k) * xBytes +
                     static_cast<double>(spec.columns() * (1 + spec.rowOperands)) * 4;
  work.extentFlops = 2.0 * static_cast<double>(channels) * static_cast<double>(spec.k);
  work.tensorCores = spec.packing.element != Packing::Element::kF32;
  return work;
}

uint64_t matmulPanels(const MatmulSpec &spec) {
  uint64_t panels = 0;
  for (uint64_t n : spec.n)
    panels += spec.packing.panels(n);
  return spec.mode == MatmulSpec::Mode::kGated ? spec.packing.panels(spec.n[0]) : panels;
}

uint64_t matmulAccumulators(const MatmulSpec &spec) {
  return spec.mode == MatmulSpec::Mode::kGated ? spec.n.size() : 1;
}

namespace {

ConfigPrinter config(const MatmulSpec &spec) {
  const Slices slices = slicesOf(spec.k);
  return matmulConfig(spec, slices.count, slices.k);
}
std::string entry(const MatmulSpec &spec, const std::string &name, const std::string &kernel,
                  uint64_t threads) {
  return "using Kernel = platen::" + kernel + "<Config>;\n" +
         matmulEntry(spec, name, threads, "run(step, o)");
}

constexpr uint64_t kDecodeExtent = 16;

CudaKernelInfo decode(const MatmulSpec &spec, const Context &context, uint64_t blockPanels) {
  const uint64_t slices = slicesOf(spec.k).count, threads = 32 * slices * blockPanels;
  CudaKernelInfo info = begin(context, "decode8x" + text(blockPanels * 16) + "s" + text(slices),
                              {"matmul.cuh", "matmul_decode.cuh"});
  info.source += config(spec).number("kBlockPanels", blockPanels).print() +
                 entry(spec, info.name, "MatmulDecode", threads);
  CudaPhase phase;
  phase.entry = info.name;
  phase.gridX = {Extent::kOne, 1, (matmulPanels(spec) + blockPanels - 1) / blockPanels};
  phase.gridY = {spec.extent, 8, 1};
  phase.threads = static_cast<uint32_t>(threads);
  info.phases = {phase};
  info.work = matmulWork(spec);
  info.maxExtent = spec.packing.element == Packing::Element::kF32 ? UINT64_MAX : kDecodeExtent;
  info.expectedSass = spec.packing.element == Packing::Element::kF32
                          ? std::vector<std::string>{"FFMA"}
                      : spec.packing.isHalf() ? std::vector<std::string>{"HMMA"}
                                              : std::vector<std::string>{"IMMA"};
  return info;
}

struct Tile {
  uint64_t warpsC, warpsT, warpPanels, warpTiles, stages;
};
constexpr Tile kTiles[] = {{4, 1, 1, 4, 4}, {2, 2, 2, 4, 3}, {2, 2, 2, 8, 3}, {4, 2, 2, 8, 3}};

CudaKernelInfo prefill(const MatmulSpec &spec, const Context &context, const Tile &tile) {
  const uint64_t threads = 32 * tile.warpsC * tile.warpsT, panels = tile.warpsC * tile.warpPanels,
                 tokens = tile.warpsT * tile.warpTiles * 8;
  const bool integer = spec.packing.isQuantized();
  CudaKernelInfo info =
      begin(context, "prefill" + text(tokens) + "x" + text(panels * 16) + "s" + text(tile.stages),
            {"matmul.cuh", "matmul_prefill.cuh"});
  info.source += config(spec)
                     .number("kWarpsC", tile.warpsC)
                     .number("kWarpsT", tile.warpsT)
                     .number("kWarpPanels", tile.warpPanels)
                     .number("kWarpTiles", tile.warpTiles)
                     .number("kStages", tile.stages)
                     .print();
  const uint64_t accumulators = matmulAccumulators(spec);
  const uint64_t weightStage = accumulators * panels * (integer ? spec.packing.blockBytes() : 1024);
  const uint64_t shared = tile.stages * (weightStage + (integer ? tokens * 16 : 0)) +
                          (integer ? tile.stages : 2) * tokens * 64;
  info.source += "static_assert(platen::MatmulPrefill<Config>::kSharedBytes == " + text(shared) +
                 ", \"the launch's shared memory is the template's\");\n" +
                 entry(spec, info.name, "MatmulPrefill", threads);
  CudaPhase phase;
  phase.entry = info.name;
  phase.gridX = {Extent::kOne, 1, (matmulPanels(spec) + panels - 1) / panels};
  phase.gridY = {spec.extent, tokens, 1};
  phase.threads = static_cast<uint32_t>(threads);
  phase.dynamicSharedBytes = static_cast<uint32_t>(shared);
  info.phases = {phase};
  info.work = matmulWork(spec);
  info.expectedSass = {integer ? "IMMA" : "HMMA", "LDSM", "LDGSTS"};
  return info;
}

} // namespace

base::Result<Candidates> candidates(const MatmulSpec &spec, const Context &context) {
  if (spec.k > (1U << 24U) || spec.columns() > (1U << 30U))
    return base::unsupported("a matmul of k " + text(spec.k) + " and " + text(spec.columns()) +
                                 " columns is beyond what CUDA kernels index",
                             "matmul");
  if (context.family.target == "sm89" || context.family.target == "sm120f")
    return narrowMatmul(spec, context);
  if (context.family.target != "sm80")
    return stagedMatmul(spec, context);
  if (spec.packing.isNarrowFloat())
    return Candidates{};
  Candidates all;
  const uint64_t slices = slicesOf(spec.k).count, accumulators = matmulAccumulators(spec);
  for (uint64_t panels : {std::max<uint64_t>(1, 4 / slices), std::max<uint64_t>(1, 8 / slices)})
    if (all.empty() || all.back().phases[0].threads != 32 * slices * panels)
      all.push_back(decode(spec, context, panels));
  if (spec.packing.element == Packing::Element::kF32)
    return all;
  // Sums of this slice and of those before it stay in registers; integer formats need more besides.
  const uint64_t most = spec.packing.isQuantized() ? 32 : 64;
  for (const Tile &tile : kTiles)
    if (accumulators * tile.warpPanels * tile.warpTiles * 4 <= most)
      all.push_back(prefill(spec, context, tile));
  if (all.back().maxExtent != UINT64_MAX)
    return base::unsupported("a gated matmul of " + text(accumulators) + " weights; up to 4",
                             "matmul");
  return all;
}

} // namespace platen::kernels::cuda
