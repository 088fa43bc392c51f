// Lays the tiny graph out by hand, as the compiler's write stage does for real ones.
#include "runtime/plan/testing/tiny_graph.h"

#include "runtime/plan/testing/tiny_graph_cuda.h"
#include "runtime/plan/testing/tiny_graph_kernels.h"

namespace platen::plan::testing {
namespace {

using base::Size;
using base::Status;

constexpr int32_t kFactors[TINY_GRAPH_WIDTH] = {1, 10, 100, -7};
enum BufferIndex : uint32_t { kA, kB, kProducts, kTotal, kSums };

Status appendWeights(PlanWriter &writer, Manifest &manifest) {
  PLATEN_RETURN_IF_ERROR(writer.beginSection(SectionKind::kWeights, "weights").status());
  PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(kFactors))));
  manifest.weights = {{.name = "factors",
                       .offset = 0,
                       .bytes = sizeof kFactors,
                       .packing = "raw.i32",
                       .shape = {TINY_GRAPH_WIDTH}}};
  return writer.endSection();
}

Status appendCode(PlanWriter &writer, const TinyGraphOptions &options, Manifest &manifest) {
  const char *begin = __start_platen_tiny_graph_code, *end = __stop_platen_tiny_graph_code;
  for (const TinyTarget &target : options.targets) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t section,
                            writer.beginSection(SectionKind::kCode, "code." + target.name));
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(begin, end))));
    PLATEN_RETURN_IF_ERROR(writer.endSection());
    CodeTarget code{
        .name = target.name, .features = target.features, .section = section, .entry_offsets = {}};
    for (PlatenHostKernel function : {platenTinyOuter, platenTinyTotal})
      code.entry_offsets.push_back(
          static_cast<uint64_t>(reinterpret_cast<const char *>(function) - begin));
    manifest.targets.push_back(std::move(code));
  }
  std::string_view image = tinyGraphPtx();
  for (const TinyTarget &target : options.cuda_targets) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t section,
                            writer.beginSection(SectionKind::kCode, "code." + target.name));
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(image))));
    PLATEN_RETURN_IF_ERROR(writer.endSection());
    manifest.targets.push_back({.name = target.name,
                                .features = target.features,
                                .section = section,
                                .entry_offsets = {0, 0},
                                .program = 1,
                                .entry_bytes = {image.size(), image.size()}});
  }
  return Status::ok();
}

GraphSignature signature() {
  Size n = Size::symbol(0), m = Size::symbol(1), width = TINY_GRAPH_WIDTH;
  auto tensor = [](const char *name, std::vector<Size> dims, uint32_t buffer) {
    return GraphTensor{
        .name = name, .dtype = base::DType::kI32, .dims = std::move(dims), .buffer = buffer};
  };
  return {.symbols = {{"n", 1, 1000}, {"m", 0, 100}},
          .inputs = {tensor("a", {n, width}, kA), tensor("b", {m, width}, kB)},
          .outputs = {tensor("total", {n}, kTotal), tensor("sums", {n, m}, kSums)}};
}

DeviceProgram makeProgram(const char *device, std::vector<Kernel> kernels, Units units) {
  Size n = Size::symbol(0), m = Size::symbol(1), row = 4 * TINY_GRAPH_WIDTH;
  DeviceProgram program;
  program.device = device;
  program.kernels = std::move(kernels);
  auto buffer = [&](const char *name, Size bytes) {
    Buffer made;
    made.name = name;
    made.bytes = std::move(bytes);
    made.slot = static_cast<uint32_t>(program.buffers.size());
    program.buffers.push_back(std::move(made));
  };
  buffer("a", n * row);
  buffer("b", m * row);
  buffer("products", n * m * row);
  buffer("total", n * 4);
  buffer("sums", n * m * 4);
  auto operand = [](uint32_t index) { return Operand{OperandKind::kBuffer, index}; };
  Operand factors{OperandKind::kWeight, 0};
  program.launches = {{"outer",
                       Extent::kTokens,
                       {{UINT64_MAX, 0, units}},
                       {operand(kA), operand(kB), operand(kProducts), operand(kSums)},
                       n * m},
                      {"total",
                       Extent::kTokens,
                       {{UINT64_MAX, 1, units}},
                       {factors, operand(kProducts), operand(kTotal)},
                       n}};
  return program;
}

} // namespace

base::Result<Manifest> buildTinyGraph(PlanWriter &writer, const TinyGraphOptions &options) {
  Manifest manifest;
  manifest.producer = "platen tiny";
  manifest.model_name = "tiny graph";
  manifest.graph = signature();
  PLATEN_RETURN_IF_ERROR(appendWeights(writer, manifest));
  PLATEN_RETURN_IF_ERROR(appendCode(writer, options, manifest));
  manifest.programs.push_back(makeProgram(kHostDevice,
                                          {{"outer_i32__test_v1", 0}, {"total_i32__test_v1", 0}},
                                          {Extent::kTokens, 1, 1}));
  if (!options.cuda_targets.empty())
    manifest.programs.push_back(makeProgram(kCudaDevice, tinyGraphCudaKernels(), {}));
  return manifest;
}

base::Status writeTinyGraph(const std::string &path, const TinyGraphOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(PlanWriter writer, PlanWriter::create(path));
  PLATEN_ASSIGN_OR_RETURN(Manifest manifest, buildTinyGraph(writer, options));
  return writer.finish(std::move(manifest));
}

TinyGraphOutputs tinyGraph(std::span<const int32_t> a, std::span<const int32_t> b) {
  size_t n = a.size() / TINY_GRAPH_WIDTH, m = b.size() / TINY_GRAPH_WIDTH;
  TinyGraphOutputs outputs;
  for (size_t i = 0; i < n; ++i) {
    auto total = static_cast<uint32_t>(n + 1000 * m);
    for (size_t k = 0; k < m; ++k) {
      uint32_t sum = 0;
      for (size_t j = 0; j < TINY_GRAPH_WIDTH; ++j) {
        uint32_t product = static_cast<uint32_t>(a[i * TINY_GRAPH_WIDTH + j]) *
                           static_cast<uint32_t>(b[k * TINY_GRAPH_WIDTH + j]);
        sum += product;
        total += product * static_cast<uint32_t>(kFactors[j]);
      }
      outputs.sums.push_back(static_cast<int32_t>(sum));
    }
    outputs.total.push_back(static_cast<int32_t>(total));
  }
  return outputs;
}

} // namespace platen::plan::testing
