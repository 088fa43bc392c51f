// cudaCandidates: dispatch, and what descriptions of all families share.
#include "kernels/cuda/describe.h"

#include "kernels/cuda/abi.h"
#include "kernels/cuda/cost.h"
#include "kernels/cuda/describe_detail.h"
#include "kernels/cuda/scalar_print.h"
#include "kernels/cuda/templates.h"

#include <algorithm>
#include <cstdio>

namespace platen::kernels {

namespace cuda {

CudaKernelInfo begin(const Context &context, std::string tile,
                     std::initializer_list<std::string_view> templates) {
  CudaKernelInfo info;
  info.operation = context.request.op;
  info.extent = context.request.extent;
  info.operands = context.request.operands;
  info.family = context.family.target;
  info.isFallback = context.family.major < context.architecture.major;
  info.key = context.request.key + "|" + info.family + "|" + tile + "|" +
             std::to_string(context.limits.contextTokens);
  info.name = info.operation + "_" + context.request.dtypes + "__" + info.family + "_" + tile +
              "_" + requestHash(info.key);
  info.tile = std::move(tile);
  info.source = std::string(cudaTemplate("abi.h")) + std::string(cudaTemplate("device.cuh"));
  for (std::string_view name : templates)
    info.source += cudaTemplate(name);
  info.source += "#line 1 \"" + info.name + "\"\n";
  return info;
}

ConfigPrinter &ConfigPrinter::number(std::string_view name, uint64_t value) {
  return line("static constexpr " +
              std::string(value >> 32U != 0 ? "unsigned long long" : "unsigned") + " " +
              std::string(name) + " = " + std::to_string(value) + "u;");
}
ConfigPrinter &ConfigPrinter::flag(std::string_view name, bool value) {
  return line("static constexpr bool " + std::string(name) + (value ? " = true;" : " = false;"));
}
ConfigPrinter &ConfigPrinter::real(std::string_view name, float value) {
  // Hexadecimal digits are exact.
  char digits[64];
  std::snprintf(digits, sizeof digits, "%af", static_cast<double>(value));
  return line("static constexpr float " + std::string(name) + " = " + digits + ";");
}
ConfigPrinter &ConfigPrinter::line(std::string text) {
  text_ += "  " + std::move(text) + "\n";
  return *this;
}
ConfigPrinter &ConfigPrinter::extent(Extent extent) {
  return line(
      std::string("__device__ static long long extent(const PlatenCudaStep *step) { return ") +
      (extent == Extent::kOne    ? "1"
       : extent == Extent::kRows ? "step->rows"
                                 : "step->tokens") +
      "; }");
}
std::string ConfigPrinter::print() const { return "struct Config {\n" + text_ + "};\n"; }

// One block a multiprocessor is enough: without that, ptxas spills a few registers for more of
// them.
std::string printEntry(const std::string &entry, uint32_t threads, const std::string &parameters,
                       const std::string &body) {
  return "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(threads) + ", 1)\n" +
         entry + "(const PlatenCudaStep *step" + parameters + ") {\n" + body + "}\n";
}

void addPacking(ConfigPrinter &config, const Packing &packing, uint64_t k) {
  const uint64_t element = packing.element == Packing::Element::kF32   ? 0
                           : packing.element == Packing::Element::kQ8  ? 2
                           : packing.element == Packing::Element::kQ4  ? 3
                           : packing.element == Packing::Element::kF8  ? 4
                           : packing.element == Packing::Element::kF4  ? 5
                           : packing.element == Packing::Element::kF16 ? 6
                                                                       : 1;
  config.line("static constexpr int kElement = " + std::to_string(element) + ";");
  config.number("kBlockBytes", packing.blockBytes()).number("kCodeBytes", packing.codeBytes());
  config.number("kPanelBytes", packing.panelBytes(k)).number("kScaleBytes", packing.scaleBytes());
  config.flag("kZeros", packing.zeroPoints);
}

namespace {

base::Result<KernelRequest> requestOf(const SampleSpec &spec) {
  if (spec.vocabulary == 0 || spec.vocabulary >= 1 << 24) // weights of 2^40 are summed in 64 bits
    return base::invalidArgument("vocabulary is " + std::to_string(spec.vocabulary) +
                                     ", it must be 1 to 2^24 - 1",
                                 "sample");
  KernelRequest request{
      "sample", "f32_i32", "sample|" + std::to_string(spec.vocabulary), Extent::kRows, {}};
  using Role = OperandInfo::Role;
  request.operands = {
      {"logits", Role::kInput, Extent::kRows, spec.vocabulary * 4, {}, 0, 0},
      {"sampling", Role::kInput, Extent::kRows, sizeof(PlatenCudaSampling), {}, 0, 0},
      {"tokens", Role::kOutput, Extent::kRows, 4, {}, 0, 0}};
  return request;
}
/// Fields that only host kernels look at do not tell CUDA kernels apart.
base::Result<KernelRequest> requestOf(MatmulSpec spec) {
  spec.rowsPerTile = 1;
  return describeRequest(spec);
}
base::Result<KernelRequest> requestOf(PagedAttentionSpec spec) {
  spec.blockTokens = 1;
  return describeRequest(spec);
}
template <typename Spec> base::Result<KernelRequest> requestOf(const Spec &spec) {
  return describeRequest(spec);
}

/// What to do where no family takes the request.
std::string wayOut(const MatmulSpec &spec) {
  if (!spec.packing.isNarrowFloat())
    return "";
  return std::string(spec.packing.element == Packing::Element::kF8
                         ? "; fp8 needs sm_89 or newer"
                         : "; nvfp4 needs sm_100f, sm_110f or sm_120f") +
         ": leave this target out or store the weights in another format";
}
template <typename Spec> std::string wayOut(const Spec &) { return ""; }

template <typename Spec>
base::Result<Candidates> ranked(const Spec &spec, const CudaArchitecture &architecture,
                                const CudaLimits &limits) {
  PLATEN_ASSIGN_OR_RETURN(const KernelRequest request, requestOf(spec));
  const CudaFamily *family = findCudaFamily(request.op, architecture);
  if (family == nullptr)
    return base::unsupported("no CUDA family of '" + request.op + "' runs on " +
                                 std::string(architecture.name) + "; sm_80 is the oldest",
                             request.op);
  Candidates all;
  for (; all.empty() && family != nullptr;
       family = findCudaFamily(request.op, architecture, family)) {
    PLATEN_ASSIGN_OR_RETURN(all, candidates(spec, Context{request, architecture, *family, limits}));
  }
  if (all.empty())
    return base::unsupported("no CUDA family of '" + request.op + "' takes " + request.dtypes +
                                 " on " + std::string(architecture.name) + wayOut(spec),
                             request.op);
  std::erase_if(all, [&](const CudaKernelInfo &one) {
    return std::any_of(one.phases.begin(), one.phases.end(), [&](const CudaPhase &phase) {
      return phase.dynamicSharedBytes > architecture.sharedPerBlock;
    });
  });
  if (all.empty())
    return base::unsupported("every tile needs more shared memory than the " +
                                 std::to_string(architecture.sharedPerBlock) + " bytes of " +
                                 std::string(architecture.name),
                             request.op);
  for (CudaKernelInfo &one : all)
    one.predictedNs = predictNs(one, architecture, std::min<uint64_t>(one.maxExtent, 512));
  std::stable_sort(all.begin(), all.end(), [](const CudaKernelInfo &a, const CudaKernelInfo &b) {
    return a.maxExtent != b.maxExtent ? a.maxExtent < b.maxExtent : a.predictedNs < b.predictedNs;
  });
  return all;
}

} // namespace
} // namespace cuda

CudaKernelSpec cudaSpec(const KernelSpec &spec) {
  return std::visit([](const auto &one) { return CudaKernelSpec(one); }, spec);
}

base::Result<std::vector<CudaKernelInfo>> cudaCandidates(const CudaKernelSpec &spec,
                                                         const CudaArchitecture &architecture,
                                                         const CudaLimits &limits) {
  return std::visit([&](const auto &one) { return cuda::ranked(one, architecture, limits); }, spec);
}

} // namespace platen::kernels
