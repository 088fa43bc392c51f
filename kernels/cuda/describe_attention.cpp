// Row tiles and splits of paged attention: what all families share, and those of sm_80.
#include "kernels/cuda/describe_attention.h"

#include <algorithm>

namespace platen::kernels::cuda {

namespace {

constexpr uint64_t kChunk = 256, kTile = 64, kThreads = 128;
constexpr uint64_t kMaximumRowTiles = 2, kDecodeExtent = 64, kWorkspaceBytes = 64U << 20U;

std::string text(uint64_t value) { return std::to_string(value); }

uint64_t sharedBytes(const PagedAttentionSpec &spec, uint64_t rowTiles) {
  const uint64_t keyPitch = kTile * 2 + 16, headPitch = spec.headDim * 2 + 16, rows = 16 * rowTiles;
  return spec.headDim * keyPitch + kTile * headPitch + rows * headPitch + rows * keyPitch +
         2 * 4 * rows * 4;
}

} // namespace

uint64_t attentionSplits(const PagedAttentionSpec &spec, uint64_t contextTokens) {
  const uint64_t all = (contextTokens + kChunk - 1) / kChunk;
  return spec.window == 0 ? all : std::min(all, (spec.window - 1 + kChunk - 1) / kChunk + 1);
}

ConfigPrinter attentionConfig(const PagedAttentionSpec &spec, uint64_t rowTiles,
                              uint64_t blockTokens) {
  ConfigPrinter out;
  out.number("kHeads", spec.heads)
      .number("kKvHeads", spec.kvHeads)
      .number("kHeadDim", spec.headDim);
  out.real("kScale", spec.scale).number("kWindow", spec.window);
  out.flag("kHasSoftcap", spec.softcap != 0).real("kSoftcap", spec.softcap != 0 ? spec.softcap : 1);
  out.flag("kSinks", spec.sinks).flag("kCacheBf16", spec.cacheDtype == base::DType::kBF16);
  out.number("kRowTiles", rowTiles).number("kBlockTokens", blockTokens);
  return out;
}

std::string attentionParameters(const PagedAttentionSpec &spec, bool workspace) {
  return std::string(", const float *q, const void *cache") +
         (spec.sinks ? ", const float *sinks" : "") + ", float *out" +
         (workspace ? ", float *workspace" : "");
}

CudaWork attentionWork(const PagedAttentionSpec &spec, const CudaLimits &limits) {
  // Half of the context is what a token sees on average.
  const auto seen = static_cast<double>(
      spec.window == 0 ? limits.contextTokens / 2
                       : std::min<uint64_t>(spec.window, limits.contextTokens / 2));
  CudaWork work;
  work.extentBytes = seen * spec.kvHeads * spec.headDim * 2 * 4;
  work.extentFlops = seen * spec.heads * spec.headDim * 4;
  work.tensorCores = true;
  return work;
}

uint64_t attentionDecodeExtent(const PagedAttentionSpec &spec, const CudaLimits &limits) {
  const uint64_t tokenBytes = attentionTokenBytes(spec, limits);
  return std::clamp<uint64_t>(kWorkspaceBytes / tokenBytes, 1, kDecodeExtent);
}
uint64_t attentionTokenBytes(const PagedAttentionSpec &spec, const CudaLimits &limits) {
  return spec.heads * attentionSplits(spec, limits.contextTokens) * (spec.headDim + 2) * 4;
}

namespace {

CudaKernelInfo prefill(const PagedAttentionSpec &spec, const Context &context, uint64_t rowTiles) {
  const uint64_t group = spec.heads / spec.kvHeads, tokens = 16 * rowTiles / group;
  CudaKernelInfo info =
      begin(context, "prefill" + text(tokens) + "r" + text(16 * rowTiles), {"attention.cuh"});
  ConfigPrinter printed = attentionConfig(spec, rowTiles, tokens);
  printed.flag("kSplit", false).number("kSplits", 1).number("kWorkspaceTokens", 0);
  const uint64_t shared = sharedBytes(spec, rowTiles);
  info.source +=
      printed.print() +
      "using Kernel = platen::Attention<Config>;\nstatic_assert(Kernel::kSharedBytes == " +
      text(shared) + ", \"the launch's shared memory is the template's\");\n" +
      printEntry(info.name, kThreads, attentionParameters(spec, false),
                 std::string("  Kernel::prefill(step, q, cache, ") +
                     (spec.sinks ? "sinks" : "nullptr") + ", out);\n");
  CudaPhase phase;
  phase.entry = info.name;
  phase.gridX = {Extent::kTokens, tokens, 1};
  phase.gridY = {Extent::kOne, 1, spec.kvHeads};
  phase.threads = kThreads;
  phase.dynamicSharedBytes = static_cast<uint32_t>(shared);
  info.phases = {phase};
  info.work = attentionWork(spec, context.limits);
  info.expectedSass = {"HMMA", "LDSM"};
  return info;
}

CudaKernelInfo decode(const PagedAttentionSpec &spec, const Context &context, uint64_t rowTiles) {
  const uint64_t splits = attentionSplits(spec, context.limits.contextTokens);
  CudaKernelInfo info =
      begin(context, "decode1r" + text(16 * rowTiles) + "z" + text(splits), {"attention.cuh"});
  info.maxExtent = attentionDecodeExtent(spec, context.limits);
  info.workspaceBytes = info.maxExtent * attentionTokenBytes(spec, context.limits);
  ConfigPrinter printed = attentionConfig(spec, rowTiles, 1);
  printed.flag("kSplit", true).number("kSplits", splits).number("kWorkspaceTokens", info.maxExtent);
  const std::string sinks = spec.sinks ? "sinks" : "nullptr";
  info.source += printed.print() + "using Kernel = platen::Attention<Config>;\n" +
                 printEntry(info.name + "_split", kThreads, attentionParameters(spec, true),
                            "  Kernel::split(step, q, cache, workspace);\n") +
                 printEntry(info.name + "_combine", 64, attentionParameters(spec, true),
                            "  Kernel::combine(step, " + sinks + ", out, workspace);\n");
  CudaPhase split, combine;
  split.entry = info.name + "_split";
  split.gridX = {Extent::kTokens, 1, 1};
  split.gridY = {Extent::kOne, 1, spec.kvHeads};
  split.gridZ = {Extent::kOne, 1, splits};
  split.threads = kThreads;
  split.dynamicSharedBytes = static_cast<uint32_t>(sharedBytes(spec, rowTiles));
  combine.entry = info.name + "_combine";
  combine.gridX = {Extent::kTokens, 1, 1};
  combine.gridY = {Extent::kOne, 1, spec.heads};
  combine.threads = 64;
  info.phases = {split, combine};
  info.work = attentionWork(spec, context.limits);
  info.expectedSass = {"HMMA", "LDSM"};
  return info;
}

} // namespace

base::Result<Candidates> candidates(const PagedAttentionSpec &spec, const Context &context) {
  if (context.family.target == "sm90a")
    return hopperAttention(spec, context);
  if (spec.headDim % 16 != 0 || spec.headDim > 256)
    return base::unsupported("head size " + text(spec.headDim) +
                                 " on CUDA; multiples of 16 up to 256 are supported",
                             "paged_attention");
  const uint64_t group = spec.heads / spec.kvHeads, least = (group + 15) / 16;
  // Values of a chunk and of those before it stay in registers: more row tiles would spill.
  const uint64_t most = kMaximumRowTiles;
  if (least > most)
    return base::unsupported(text(group) + " query heads share a kv head of size " +
                                 text(spec.headDim) + "; CUDA kernels take up to " +
                                 text(16 * most),
                             "paged_attention");
  Candidates all = {decode(spec, context, least)};
  for (uint64_t rowTiles = least; rowTiles <= most; rowTiles *= 2)
    all.push_back(prefill(spec, context, rowTiles));
  return all;
}

} // namespace platen::kernels::cuda
