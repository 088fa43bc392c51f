// Lays the tiny plan out by hand, as the compiler's write stage does for real ones.
#include "runtime/plan/testing/tiny_plan.h"

#include "runtime/plan/testing/tiny_kernels.h"
#include "runtime/plan/testing/tiny_kernels_cuda.h"

namespace platen::plan::testing {
namespace {

using base::Status;

Status appendInts(PlanWriter &writer, std::span<const int32_t> values) {
  return writer.append(std::as_bytes(values));
}

Status appendWeights(PlanWriter &writer, const TinyPlanOptions &options, Manifest &manifest) {
  PLATEN_RETURN_IF_ERROR(writer.beginSection(SectionKind::kWeights, "weights").status());
  std::vector<int32_t> table;
  for (uint32_t token = 0; token < options.vocabulary; ++token) {
    for (int column = 0; column < TINY_WIDTH; ++column)
      table.push_back(tinyEmbedding(static_cast<int32_t>(token), column));
  }
  std::vector<int32_t> meta{static_cast<int32_t>(options.vocabulary),
                            static_cast<int32_t>(options.limits.page_tokens), options.broken_token};
  struct Item {
    const char *name;
    std::vector<int32_t> values;
    std::vector<uint64_t> shape;
  };
  for (const Item &item :
       {Item{"table", table, {options.vocabulary, TINY_WIDTH}}, Item{"meta", meta, {3}}}) {
    PLATEN_ASSIGN_OR_RETURN(uint64_t offset, writer.align());
    PLATEN_RETURN_IF_ERROR(appendInts(writer, item.values));
    manifest.weights.push_back({.name = item.name,
                                .offset = offset,
                                .bytes = item.values.size() * 4,
                                .packing = "raw.i32",
                                .shape = item.shape});
  }
  std::vector<std::byte> chunk(1 << 20);
  for (uint64_t done = 0; done < options.extra_weight_bytes;) {
    for (size_t i = 0; i < chunk.size(); ++i) // differs from chunk to chunk
      chunk[i] = static_cast<std::byte>((i * 31 + done / chunk.size() * 7) >> 3);
    size_t count = std::min<uint64_t>(chunk.size(), options.extra_weight_bytes - done);
    PLATEN_RETURN_IF_ERROR(writer.append(std::span(chunk).first(count)));
    done += count;
  }
  return writer.endSection();
}

Status appendCode(PlanWriter &writer, const TinyPlanOptions &options, Manifest &manifest) {
  const char *begin = __start_platen_tiny_code, *end = __stop_platen_tiny_code;
  PlatenHostKernel functions[] = {platenTinyEmbed, platenTinyStore, platenTinySum, platenTinyHead};
  for (const TinyTarget &target : options.targets) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t section,
                            writer.beginSection(SectionKind::kCode, "code." + target.name));
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(begin, end))));
    PLATEN_RETURN_IF_ERROR(writer.endSection());
    CodeTarget code{
        .name = target.name, .features = target.features, .section = section, .entry_offsets = {}};
    for (PlatenHostKernel function : functions)
      code.entry_offsets.push_back(
          static_cast<uint64_t>(reinterpret_cast<const char *>(function) - begin));
    manifest.targets.push_back(std::move(code));
  }
  return Status::ok();
}

/// One image, the module with all kernels, for each target; another for a sampler of the test's
/// own.
Status appendImages(PlanWriter &writer, const TinyPlanOptions &options, Manifest &manifest) {
  size_t kernels = options.cuda_sampler ? kTinySampler + 1 : kTinySampler;
  std::string image = tinyPtx(options.vocabulary);
  for (const TinyTarget &target : options.cuda_targets) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t section,
                            writer.beginSection(SectionKind::kCode, "code." + target.name));
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(image))));
    CodeTarget code{.name = target.name,
                    .features = target.features,
                    .section = section,
                    .entry_offsets = std::vector<uint64_t>(kernels, 0),
                    .program = 1,
                    .entry_bytes = std::vector<uint64_t>(kernels, image.size())};
    if (options.sampler) {
      PLATEN_ASSIGN_OR_RETURN(code.entry_offsets[kTinySampler], writer.align());
      PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(options.sampler_image))));
      code.entry_bytes[kTinySampler] = options.sampler_image.size();
    }
    PLATEN_RETURN_IF_ERROR(writer.endSection());
    manifest.targets.push_back(std::move(code));
  }
  return Status::ok();
}

/// Places a buffer behind the last one.
uint32_t addBuffer(const Limits &limits, DeviceProgram &program, std::string name, Extent extent,
                   uint64_t row_bytes) {
  program.buffers.push_back({.name = std::move(name),
                             .extent = extent,
                             .row_bytes = row_bytes,
                             .arena_offset = program.arena_bytes});
  uint64_t bytes = extentLimit(limits, extent) * row_bytes + 64;
  program.arena_bytes += (bytes + 63) / 64 * 64;
  return static_cast<uint32_t>(program.buffers.size() - 1);
}

/// Launches but for the head, whose variants differ from device to device. `units` is what a
/// variant says of the units of an extent.
template <typename MakeUnits>
void addLaunches(const Manifest &manifest, DeviceProgram &program, MakeUnits units) {
  constexpr uint64_t kRowBytes = TINY_WIDTH * 4;
  uint32_t x = addBuffer(manifest.limits, program, "x", Extent::kTokens, kRowBytes);
  uint32_t hidden = addBuffer(manifest.limits, program, "hidden", Extent::kRows, kRowBytes);
  uint32_t logits = addBuffer(manifest.limits, program, "logits", Extent::kRows,
                              uint64_t{manifest.model.vocabulary} * 4);
  program.caches = {
      {.kv_heads = 1, .head_dim = TINY_WIDTH, .dtype = base::DType::kF32, .window = 0}};
  program.logits_buffer = logits;
  program.hidden_buffer = static_cast<int32_t>(hidden);
  Operand table{OperandKind::kWeight, 0}, meta{OperandKind::kWeight, 1},
      cache{OperandKind::kCache, 0};
  auto buffer = [](uint32_t index) { return Operand{OperandKind::kBuffer, index}; };
  auto launch = [&](const char *name, Extent extent, uint32_t kernel,
                    std::vector<Operand> operands) {
    program.launches.push_back(
        {name, extent, {{extentLimit(manifest.limits, extent), kernel, units(extent)}}, operands});
  };
  launch("embed", Extent::kTokens, 0, {table, buffer(x)});
  launch("store", Extent::kTokens, 1, {meta, buffer(x), cache});
  launch("sum", Extent::kRows, 2, {meta, cache, buffer(hidden)});
  launch("head", Extent::kRows, 3, {meta, buffer(hidden), buffer(logits)});
}

DeviceProgram hostProgram(const Manifest &manifest) {
  DeviceProgram program;
  program.device = kHostDevice;
  program.kernels = {{"embed_i32__test_v1", 0},
                     {"store_i32__test_v1", 0},
                     {"sum_i32__test_v1", 0},
                     {"head_f32__test_v1", 16}};
  addLaunches(manifest, program, [](Extent extent) { return Units{extent, 1, 1}; });
  // One row, or more: the same kernel, but its units are counted in two ways.
  program.launches.back().variants = {{1, 3, Units{Extent::kOne, 1, 2}},
                                      {uint64_t{1} << 20, 3, Units{Extent::kRows, 1, 2}}};
  return program;
}

DeviceProgram cudaProgram(const Manifest &manifest, const TinyPlanOptions &options) {
  DeviceProgram program;
  program.device = kCudaDevice;
  program.kernels = tinyCudaKernels();
  addLaunches(manifest, program, [](Extent) { return Units{}; });
  // Either kernel would do for any number of rows.
  program.launches.back().variants = {{1, 3, Units{}, {4}}, {uint64_t{1} << 20, 4, Units{}, {3}}};
  if (!options.cuda_sampler) {
    program.kernels.resize(kTinySampler);
    return program;
  }
  program.sampler = kTinySampler;
  if (options.sampler)
    program.kernels[kTinySampler] = *options.sampler;
  return program;
}

} // namespace

base::Result<Manifest> buildTinyPlan(PlanWriter &writer, const TinyPlanOptions &options) {
  Manifest manifest;
  manifest.producer = "platen tiny";
  manifest.model_name = "tiny";
  manifest.limits = options.limits;
  manifest.model = {.vocabulary = options.vocabulary,
                    .hidden = TINY_WIDTH,
                    .layers = 1,
                    .eos_tokens = options.eos_tokens,
                    .bos_token = options.bos_token,
                    .add_bos = options.add_bos,
                    .weight_format = "f32"};
  PLATEN_RETURN_IF_ERROR(appendWeights(writer, options, manifest));
  PLATEN_RETURN_IF_ERROR(appendCode(writer, options, manifest));
  PLATEN_RETURN_IF_ERROR(appendImages(writer, options, manifest));
  if (!options.tokenizer_kind.empty()) {
    PLATEN_ASSIGN_OR_RETURN(uint32_t section,
                            writer.beginSection(SectionKind::kTokenizer, "tokenizer"));
    PLATEN_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(options.tokenizer))));
    PLATEN_RETURN_IF_ERROR(writer.endSection());
    manifest.tokenizer = {.kind = options.tokenizer_kind, .section = section};
  }
  manifest.programs.push_back(hostProgram(manifest));
  if (!options.cuda_targets.empty())
    manifest.programs.push_back(cudaProgram(manifest, options));
  return manifest;
}

base::Status writeTinyPlan(const std::string &path, const TinyPlanOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(PlanWriter writer, PlanWriter::create(path));
  PLATEN_ASSIGN_OR_RETURN(Manifest manifest, buildTinyPlan(writer, options));
  return writer.finish(std::move(manifest));
}

int32_t tinyEmbedding(int32_t token, int column) {
  auto mixed =
      (static_cast<uint32_t>(token) + 1) * 2654435761U + static_cast<uint32_t>(column) * 40503U;
  return static_cast<int32_t>(mixed >> 12);
}

int32_t tinyHidden(std::span<const int32_t> history, int column) {
  uint32_t sum = 0;
  for (int32_t token : history)
    sum += static_cast<uint32_t>(tinyEmbedding(token, column));
  return static_cast<int32_t>(sum);
}

int32_t tinyNextToken(std::span<const int32_t> history, uint32_t vocabulary) {
  uint32_t mixed = 0;
  for (int column = 0; column < TINY_WIDTH; ++column)
    mixed +=
        static_cast<uint32_t>(tinyHidden(history, column)) * static_cast<uint32_t>(2 * column + 1);
  return static_cast<int32_t>(mixed % vocabulary);
}

} // namespace platen::plan::testing
