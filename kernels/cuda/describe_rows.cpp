// Row-wise kernels, embeddings, the end of q, k, v, and sampling: one candidate each.
#include "kernels/cuda/describe_detail.h"
#include "kernels/cuda/scalar_print.h"

#include <algorithm>

namespace platen::kernels::cuda {

namespace {

CudaPhase phaseOf(const std::string &entry, Extent extent, uint64_t per, uint64_t times,
                  uint32_t threads) {
  CudaPhase phase;
  phase.entry = entry;
  phase.gridX = {extent, per, times};
  phase.threads = threads;
  return phase;
}

uint32_t threadsFor(uint64_t width) {
  return static_cast<uint32_t>(std::clamp<uint64_t>((width + 31) / 32 * 32, 32, 256));
}

/// Bytes of operands that grow with the extent.
double extentBytes(const KernelRequest &request) {
  double bytes = 0;
  for (const OperandInfo &operand : request.operands)
    if (operand.extent != Extent::kOne)
      bytes += static_cast<double>(operand.rowBytes);
  return bytes;
}

} // namespace

base::Result<Candidates> candidates(const RowProgramSpec &spec, const Context &context) {
  const uint32_t threads = rowProgramThreads(spec);
  CudaKernelInfo info = begin(context, "row" + std::to_string(threads), {"rows.cuh"});
  info.source += printRowProgram(spec, info.name);
  info.phases = {phaseOf(info.name, spec.extent, 1, spec.rowsPerToken, threads)};
  info.work.extentBytes = extentBytes(context.request);
  return Candidates{info};
}

base::Result<Candidates> candidates(const QuantizeRowsSpec &spec, const Context &context) {
  const uint32_t threads = threadsFor(spec.k);
  CudaKernelInfo info = begin(context, "row" + std::to_string(threads), {"rows.cuh"});
  ConfigPrinter config;
  config.number("kK", spec.k).number("kThreads", threads).extent(spec.extent);
  info.source +=
      config.print() + printEntry(info.name, threads, ", const float *x, unsigned char *panel",
                                  "  platen::quantizeRows<Config>(step, x, panel);\n");
  info.phases = {phaseOf(info.name, spec.extent, 1, 1, threads)};
  info.work.extentBytes = extentBytes(context.request);
  return Candidates{info};
}

base::Result<Candidates> candidates(const SelectRowsSpec &spec, const Context &context) {
  const uint32_t threads = threadsFor(spec.width);
  CudaKernelInfo info = begin(context, "row" + std::to_string(threads), {"rows.cuh"});
  ConfigPrinter config;
  config.number("kWidth", spec.width).number("kThreads", threads);
  info.source += config.print() + printEntry(info.name, threads, ", const float *x, float *y",
                                             "  platen::selectRows<Config>(step, x, y);\n");
  info.phases = {phaseOf(info.name, Extent::kRows, 1, 1, threads)};
  info.work.extentBytes = extentBytes(context.request);
  return Candidates{info};
}

base::Result<Candidates> candidates(const EmbedSpec &spec, const Context &context) {
  const uint32_t threads = threadsFor(spec.width);
  CudaKernelInfo info = begin(context, "row" + std::to_string(threads), {"rows.cuh"});
  ConfigPrinter config;
  addPacking(config, spec.packing, spec.width);
  config.number("kWidth", spec.width).number("kThreads", threads).real("kScale", spec.scale);
  config.flag("kRaw", spec.packing.layout == Packing::Layout::kRaw);
  config.flag("kHalf", spec.packing.element == Packing::Element::kF16);
  info.source +=
      config.print() + printEntry(info.name, threads, ", const unsigned char *table, float *y",
                                  "  platen::embed<Config>(step, table, y);\n");
  info.phases = {phaseOf(info.name, Extent::kTokens, 1, 1, threads)};
  info.work.extentBytes = 2 * extentBytes(context.request);
  return Candidates{info};
}

base::Result<Candidates> candidates(const QkvFinishSpec &spec, const Context &context) {
  constexpr uint32_t kWarps = 4;
  CudaKernelInfo info = begin(context, "warp" + std::to_string(kWarps), {"rows.cuh"});
  ConfigPrinter config;
  config.number("kHeads", spec.heads).number("kKvHeads", spec.kvHeads);
  config.number("kHeadDim", spec.headDim).number("kWarps", kWarps);
  config.flag("kQNorm", spec.qNorm).flag("kKNorm", spec.kNorm).real("kEpsilon", spec.epsilon);
  config.number("kRopeDim", spec.ropeDim).flag("kInterleaved", spec.interleaved);
  config.real("kQScale", spec.qScale).flag("kCacheBf16", spec.cacheDtype == base::DType::kBF16);
  const uint64_t q = uint64_t{spec.heads} * spec.headDim,
                 kv = uint64_t{spec.kvHeads} * spec.headDim;
  std::string parameters, arguments;
  if (spec.separateInputs) {
    parameters = ", const float *q, const float *k, const float *v";
    arguments = "q, k, v, " + std::to_string(q) + ", " + std::to_string(kv);
  } else {
    parameters = ", const float *qkv";
    arguments = "qkv, qkv + " + std::to_string(q) + ", qkv + " + std::to_string(q + kv) + ", " +
                std::to_string(q + 2 * kv) + ", " + std::to_string(q + 2 * kv);
  }
  auto optional = [&](bool present, const std::string &name) {
    if (present)
      parameters += ", const float *" + name;
    arguments += ", " + (present ? name : "nullptr");
  };
  optional(spec.qNorm, "qNorm");
  optional(spec.kNorm, "kNorm");
  optional(spec.ropeDim != 0, "cosines");
  optional(spec.ropeDim != 0, "sines");
  info.source +=
      config.print() +
      printEntry(info.name, 32 * kWarps, parameters + ", float *out, void *cache",
                 "  platen::QkvFinish<Config>::run(step, " + arguments + ", out, cache);\n");
  // kWarps units a block; units are tokens * heads, so the grid is rounded up for each token.
  const uint64_t units = spec.heads + 2 * spec.kvHeads;
  info.phases = {
      phaseOf(info.name, Extent::kTokens, 1, (units + kWarps - 1) / kWarps, 32 * kWarps)};
  info.work.extentBytes = extentBytes(context.request);
  return Candidates{info};
}

base::Result<Candidates> candidates(const LoopSpec &, const Context &) {
  return base::unsupported("loops on CUDA devices");
}

base::Result<Candidates> candidates(const SampleSpec &spec, const Context &context) {
  constexpr uint32_t kThreads = 512;
  CudaKernelInfo info = begin(context, "row" + std::to_string(kThreads), {"sample.cuh"});
  ConfigPrinter config;
  config.number("kVocabulary", spec.vocabulary).number("kThreads", kThreads);
  info.source +=
      config.print() +
      printEntry(info.name, kThreads,
                 ", const float *logits, const PlatenCudaSampling *sampling, int *tokens",
                 "  platen::Sample<Config>::run(step, logits, sampling, tokens);\n");
  info.phases = {phaseOf(info.name, Extent::kRows, 1, 1, kThreads)};
  info.work.extentBytes = extentBytes(context.request);
  return Candidates{info};
}

} // namespace platen::kernels::cuda
