// Row blocks and splits of paged attention on sm_90a.
#include "kernels/cuda/describe_attention.h"
#include "kernels/cuda/wgmma_print.h"

#include <algorithm>

namespace platen::kernels::cuda {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

struct Shape {
  uint64_t rowBlocks, parts, stages, threads, shared, registers;
};
Shape shapeOf(const PagedAttentionSpec &spec, uint64_t rowBlocks) {
  Shape shape{};
  shape.rowBlocks = rowBlocks;
  shape.parts = spec.headDim > 128 ? 2 : 1;
  shape.stages = spec.headDim > 128 ? 3 : 4;
  const uint64_t consumers = rowBlocks * shape.parts;
  shape.threads = 128 * (1 + consumers);
  shape.shared = shape.stages * (256 * spec.headDim + 16) + rowBlocks * spec.headDim * 128;
  shape.registers = consumers == 2 ? 224 : 0; // 2 * 128 * 224 + 128 * 64 are all there are
  return shape;
}

/// Keys [head dim][16] and values [16][head dim] of a page and head follow each other in the cache.
std::vector<CudaTensorMap> mapsOf(const PagedAttentionSpec &spec) {
  if (spec.cacheDtype != base::DType::kBF16)
    return {};
  constexpr uint32_t kCacheOperand = 1;
  using Map = CudaTensorMap;
  return {{kCacheOperand,
           0,
           Map::Element::kBF16,
           Map::Swizzle::k32,
           {{16, 2, 16}, {0, 32, spec.headDim}}},
          {kCacheOperand,
           0,
           Map::Element::kBF16,
           Map::Swizzle::k128,
           {{spec.headDim, 2, 64}, {0, uint64_t{spec.headDim} * 2, 16}}}};
}

CudaKernelInfo begin(const PagedAttentionSpec &spec, const Context &context, const Shape &shape,
                     const std::string &tile, uint64_t blockTokens, uint64_t splits,
                     uint64_t workspaceTokens) {
  CudaKernelInfo info =
      begin(context, tile, {"attention.cuh", "async.cuh", "wgmma.cuh", "attention_hopper.cuh"});
  const auto own = static_cast<uint32_t>(spec.headDim / shape.parts);
  info.tensorMaps = mapsOf(spec);
  info.source += printWgmma(64) + (own != 64 ? printWgmma(own) : "") +
                 attentionConfig(spec, 4 * shape.rowBlocks, blockTokens)
                     .flag("kSplit", splits != 0)
                     .number("kSplits", std::max<uint64_t>(1, splits))
                     .number("kWorkspaceTokens", workspaceTokens)
                     .number("kRowBlocks", shape.rowBlocks)
                     .number("kParts", shape.parts)
                     .number("kStages", shape.stages)
                     .number("kRegisters", shape.registers)
                     .flag("kTensorMaps", !info.tensorMaps.empty())
                     .print() +
                 "using Kernel = platen::AttentionHopper<Config>;\nstatic_assert("
                 "Kernel::kSharedBytes == " +
                 text(shape.shared) + " && Kernel::kThreads == " + text(shape.threads) +
                 ", \"the launch is the template's\");\n";
  info.work = attentionWork(spec, context.limits);
  info.expectedSass = {"HGMMA"};
  if (!info.tensorMaps.empty())
    info.expectedSass.emplace_back("UTMALDG");
  return info;
}

std::string parametersOf(const PagedAttentionSpec &spec, bool workspace) {
  return attentionParameters(spec, workspace) +
         (mapsOf(spec).empty() ? "" : ", const void *keys, const void *values");
}
std::string mapArguments(const PagedAttentionSpec &spec) {
  return mapsOf(spec).empty() ? "nullptr, nullptr" : "keys, values";
}

CudaPhase phaseOf(const PagedAttentionSpec &spec, const Shape &shape, std::string entry,
                  uint64_t blockTokens) {
  CudaPhase phase;
  phase.entry = std::move(entry);
  phase.gridX = {Extent::kTokens, blockTokens, 1};
  phase.gridY = {Extent::kOne, 1, spec.kvHeads};
  phase.threads = static_cast<uint32_t>(shape.threads);
  phase.dynamicSharedBytes = static_cast<uint32_t>(shape.shared);
  return phase;
}

CudaKernelInfo prefill(const PagedAttentionSpec &spec, const Context &context, uint64_t rowBlocks) {
  const Shape shape = shapeOf(spec, rowBlocks);
  const uint64_t tokens = 64 * rowBlocks / (spec.heads / spec.kvHeads);
  CudaKernelInfo info = begin(spec, context, shape,
                              "prefill" + text(tokens) + "r" + text(64 * rowBlocks), tokens, 0, 0);
  info.source +=
      printEntry(info.name, static_cast<uint32_t>(shape.threads), parametersOf(spec, false),
                 std::string("  Kernel::prefill(step, q, cache, ") +
                     (spec.sinks ? "sinks" : "nullptr") + ", out, " + mapArguments(spec) + ");\n");
  info.phases = {phaseOf(spec, shape, info.name, tokens)};
  return info;
}

CudaKernelInfo decode(const PagedAttentionSpec &spec, const Context &context) {
  const Shape shape = shapeOf(spec, 1);
  const uint64_t splits = attentionSplits(spec, context.limits.contextTokens),
                 tokens = attentionDecodeExtent(spec, context.limits);
  CudaKernelInfo info =
      begin(spec, context, shape, "decode1r64z" + text(splits), 1, splits, tokens);
  info.maxExtent = tokens;
  info.workspaceBytes = tokens * attentionTokenBytes(spec, context.limits);
  const std::string parameters = parametersOf(spec, true);
  info.source +=
      printEntry(info.name + "_split", static_cast<uint32_t>(shape.threads), parameters,
                 "  Kernel::split(step, q, cache, workspace, " + mapArguments(spec) + ");\n") +
      printEntry(info.name + "_combine", 64, parameters,
                 std::string("  Kernel::combine(step, ") + (spec.sinks ? "sinks" : "nullptr") +
                     ", out, workspace);\n");
  CudaPhase split = phaseOf(spec, shape, info.name + "_split", 1), combine;
  split.gridZ = {Extent::kOne, 1, splits};
  combine.entry = info.name + "_combine";
  combine.gridX = {Extent::kTokens, 1, 1};
  combine.gridY = {Extent::kOne, 1, spec.heads};
  combine.threads = 64;
  info.phases = {split, combine};
  return info;
}

} // namespace

base::Result<Candidates> hopperAttention(const PagedAttentionSpec &spec, const Context &context) {
  Candidates all;
  const bool taken = spec.headDim == 64 || spec.headDim == 128 || spec.headDim == 256;
  if (!taken || spec.heads / spec.kvHeads > 64)
    return all;
  all = {decode(spec, context), prefill(spec, context, 1)};
  if (spec.headDim <= 128)
    all.push_back(prefill(spec, context, 2));
  return all;
}

} // namespace platen::kernels::cuda
