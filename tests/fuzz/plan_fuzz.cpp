// libFuzzer target for the plan loader: whatever the bytes, loading ends in a manifest that the
// runtime can use, or in a Status.
//
// Random files would never get past the hashes, and random manifests would hardly ever be valid. So
// the first byte says what the rest is: a whole file; a manifest; fields appended to a tiny
// plan's manifest (of a decoder or of a graph) (protobuf merges them into it); or edits of that
// manifest's bytes (u16 offset, u8 value). Around manifests stand the tiny plan's sections and a
// header with right hashes, as an enemy would write them. No seeds are needed.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include "runtime/plan/codec.h"
#include "runtime/plan/hash.h"
#include "runtime/plan/header.h"
#include "runtime/plan/reader.h"
#include "runtime/plan/testing/tiny_graph.h"
#include "runtime/plan/testing/tiny_plan.h"

using namespace platen;
using Bytes = std::span<const std::byte>;

namespace {

void require(bool condition) {
  if (!condition)
    std::abort();
}

std::vector<int64_t> greatestOf(const plan::GraphSignature &graph) {
  std::vector<int64_t> symbols;
  for (const plan::Symbol &symbol : graph.symbols)
    symbols.push_back(static_cast<int64_t>(symbol.greatest));
  return symbols;
}

/// The largest step of a launch (of one point at least: a launch without points does not run).
plan::Extents mostOf(const plan::Manifest &manifest, const plan::Launch &launch) {
  if (!manifest.graph)
    return {.tokens = manifest.limits.step_tokens,
            .rows = manifest.limits.step_rows,
            .sequences = manifest.limits.step_sequences};
  auto points = launch.points.evaluate(greatestOf(*manifest.graph));
  require(points.isOk());
  int64_t most = std::max<int64_t>(1, *points);
  return {.tokens = most, .rows = most, .sequences = 1};
}

uint64_t mostBytes(const plan::Manifest &manifest, const plan::Buffer &buffer) {
  if (!manifest.graph)
    return plan::extentLimit(manifest.limits, buffer.extent) * buffer.row_bytes;
  auto bytes = buffer.bytes.evaluate(greatestOf(*manifest.graph));
  require(bytes.isOk());
  return static_cast<uint64_t>(std::max<int64_t>(0, *bytes));
}

/// What a launch computes from a CUDA kernel: its grids for the largest step, its tensor maps.
uint64_t use(const plan::DeviceProgram &program, const plan::Manifest &manifest,
             const plan::Launch &launch, uint32_t index) {
  const plan::Kernel &kernel = program.kernels.at(index);
  require(kernel.cuda.has_value() == (program.device == plan::kCudaDevice));
  if (!kernel.cuda)
    return 0;
  uint64_t sum = 0;
  plan::Extents most = mostOf(manifest, launch);
  for (const plan::Phase &phase : kernel.cuda->phases) {
    int64_t x = phase.grid_x.count(most), y = phase.grid_y.count(most),
            z = phase.grid_z.count(most);
    require(x >= 1 && x <= INT32_MAX && y >= 1 && y <= 65535 && z >= 1 && z <= 65535);
    require(x % phase.cluster_x == 0 && y % phase.cluster_y == 0 && z % phase.cluster_z == 0);
    sum += static_cast<uint64_t>(x + y + z);
  }
  for (const plan::TensorMap &map : kernel.cuda->tensor_maps) {
    uint64_t bytes = kernel.scratch_bytes;
    if (map.operand != plan::TensorMap::kWorkspace) {
      const plan::Operand &operand = launch.operands.at(map.operand);
      if (operand.kind == plan::OperandKind::kBuffer)
        bytes = mostBytes(manifest, program.buffers[operand.index]);
      else if (operand.kind == plan::OperandKind::kWeight)
        bytes = manifest.weights[operand.index].bytes;
      else
        bytes = 3 * plan::pageBytes(manifest.limits, program.caches[operand.index]);
    }
    auto dimensions = plan::resolveDimensions(map, bytes);
    require(dimensions.isOk() && dimensions->back().size > 0);
    uint64_t end = map.offset_bytes + plan::elementBytes(map.element);
    for (const plan::TensorDimension &dimension : *dimensions)
      end += (dimension.size - 1) * dimension.stride_bytes;
    require(end <= bytes);
  }
  return sum;
}

/// What a run asks of a graph's tensors: their buffers, and every size at the ends of the symbols'
/// ranges.
uint64_t use(const plan::DeviceProgram &program, const plan::GraphSignature &graph) {
  uint64_t sum = 0;
  std::vector<int64_t> least, greatest;
  for (const plan::Symbol &symbol : graph.symbols) {
    least.push_back(static_cast<int64_t>(symbol.least));
    greatest.push_back(static_cast<int64_t>(symbol.greatest));
  }
  for (const auto *tensors : {&graph.inputs, &graph.outputs})
    for (const plan::GraphTensor &tensor : *tensors) {
      const plan::Buffer &buffer = program.buffers.at(tensor.buffer);
      for (const auto &symbols : {least, greatest}) {
        require(buffer.bytes.evaluate(symbols).isOk());
        for (const base::Size &dim : tensor.dims)
          sum += static_cast<uint64_t>(dim.evaluate(symbols).value());
      }
    }
  for (const plan::Buffer &buffer : program.buffers)
    require(buffer.slot < program.buffers.size() && buffer.bytes.evaluate(least).isOk());
  return sum;
}

uint64_t use(const plan::DeviceProgram &program, const plan::Manifest &manifest) {
  uint64_t sum = 0;
  for (const plan::Cache &cache : program.caches)
    sum += plan::pageBytes(manifest.limits, cache);
  uint64_t arena_bytes = manifest.graph ? plan::arenaLimit(program, *manifest.graph) : 0;
  require(arena_bytes <= plan::kMaxArenaBytes);
  for (const plan::Buffer &buffer : program.buffers)
    require(buffer.arena_offset + mostBytes(manifest, buffer) <=
            (manifest.graph ? arena_bytes : program.arena_bytes));
  for (const plan::Launch &launch : program.launches) {
    for (const plan::Variant &variant : launch.variants) {
      sum += static_cast<uint64_t>(variant.units.count(mostOf(manifest, launch)));
      sum += program.kernels.at(variant.kernel).scratch_bytes;
      sum += use(program, manifest, launch, variant.kernel);
      for (uint32_t kernel : variant.alternatives)
        sum += use(program, manifest, launch, kernel);
    }
    for (const plan::Operand &operand : launch.operands) {
      if (operand.kind == plan::OperandKind::kBuffer)
        sum += program.buffers.at(operand.index).arena_offset;
      else if (operand.kind == plan::OperandKind::kWeight)
        sum += manifest.weights.at(operand.index).offset;
      else
        sum += program.caches.at(operand.index).head_dim;
    }
  }
  if (manifest.graph)
    return sum + use(program, *manifest.graph);
  return sum + program.buffers.at(program.logits_buffer).row_bytes;
}

/// Sums what the runtime computes from a validated manifest; sanitizers catch what validation
/// missed.
uint64_t use(const plan::Manifest &manifest, uint64_t file_bytes) {
  uint64_t sum = 0;
  for (const plan::Section &section : manifest.sections)
    require(section.offset + section.bytes <= file_bytes);
  for (const plan::DeviceProgram &program : manifest.programs)
    sum += use(program, manifest);
  for (const plan::CodeTarget &target : manifest.targets) {
    for (size_t i = 0; i < target.entry_bytes.size(); ++i)
      require(target.entry_offsets.at(i) + target.entry_bytes[i] <=
              manifest.sections.at(target.section).bytes);
    for (const plan::Launch &launch : manifest.programs.at(target.program).launches)
      for (const plan::Variant &variant : launch.variants)
        require(target.entry_offsets.at(variant.kernel) <
                manifest.sections.at(target.section).bytes);
  }
  return sum;
}

/// A tiny plan's file and where its manifest stands.
struct Good {
  std::vector<std::byte> sections; // everything before the manifest
  std::vector<std::byte> manifest;
  uint32_t version = 0;
};

Good loadGood(bool graph) {
  auto path = std::filesystem::temp_directory_path() /
              ("platen_plan_fuzz_" + std::to_string(getpid()) + ".plan");
  std::vector<plan::testing::TinyTarget> cuda{{"sm_90a", {"sm_90a"}},
                                              {"compute_80", {"compute_80"}}};
  require((graph ? plan::testing::writeTinyGraph(path, {.cuda_targets = cuda})
                 : plan::testing::writeTinyPlan(path, {.bos_token = 1,
                                                       .cuda_targets = cuda,
                                                       .tokenizer_kind = "sentencepiece-bpe",
                                                       .tokenizer = "pieces"}))
              .isOk());
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  std::filesystem::remove(path);
  Bytes file = std::as_bytes(std::span(text));
  auto header = plan::decodeHeader(file);
  require(header.isOk());
  Bytes sections = file.first(header->manifest_offset),
        manifest = file.subspan(header->manifest_offset);
  return {{sections.begin(), sections.end()}, {manifest.begin(), manifest.end()}, header->version};
}

/// A tiny plan with another manifest; every hash but those that the manifest itself states is
/// right.
std::vector<std::byte> wrap(const Good &good, Bytes manifest) {
  std::vector<std::byte> file = good.sections;
  file.insert(file.end(), manifest.begin(), manifest.end());
  auto header = plan::encodeHeader({.manifest_offset = good.sections.size(),
                                    .manifest_bytes = manifest.size(),
                                    .manifest_xxh3 = plan::hashBytes(manifest),
                                    .file_bytes = file.size(),
                                    .version = good.version});
  std::copy(header.begin(), header.end(), file.begin());
  return file;
}

/// What `input` makes of the good manifest; see the top of the file.
std::vector<std::byte> makeManifest(const Good &good, uint8_t mode, Bytes input) {
  if (mode == 1)
    return {input.begin(), input.end()};
  std::vector<std::byte> manifest = good.manifest;
  if (mode == 2)
    manifest.insert(manifest.end(), input.begin(), input.end());
  for (; mode == 3 && input.size() >= 3; input = input.subspan(3)) {
    uint16_t offset = 0;
    std::memcpy(&offset, input.data(), sizeof offset);
    manifest[offset % manifest.size()] = input[2];
  }
  return manifest;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const Good decoder = loadGood(false), graph = loadGood(true);
  if (size == 0)
    return 0;
  Bytes input = std::as_bytes(std::span(data, size)).subspan(1);
  uint8_t mode = data[0] % 4;
  const Good &good = data[0] / 4 % 2 == 0 ? decoder : graph;
  std::vector<std::byte> file(input.begin(), input.end());
  if (mode != 0)
    file = wrap(good, makeManifest(good, mode, input));
  // Without the sections' hashes too, as `inspect` loads: what is accepted must be no less safe to
  // look at.
  for (bool verify : {true, false}) {
    auto manifest =
        plan::readManifest(file, {.hash_threads = 1, .verify_sections = verify}, "fuzz");
    if (!manifest.isOk()) {
      require(!manifest.status().message().empty());
      continue;
    }
    use(*manifest, file.size());
    std::string encoded = plan::encodeManifest(*manifest);
    auto again = plan::decodeManifest(std::as_bytes(std::span(encoded)));
    require(again.isOk() && *again == *manifest);
  }
  return 0;
}
