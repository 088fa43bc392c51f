// `platen inspect model.plan`: what a plan holds, and that its hashes hold.
#include "runtime/plan/reader.h"
#include "tools/cli/commands.h"
#include "tools/cli/inspect_graph.h"
#include "tools/tune/verdicts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <map>
#include <vector>

namespace platen::cli {

namespace {

using plan::DeviceProgram;
using plan::Manifest;

const char *extentName(plan::Extent extent) {
  constexpr const char *kNames[] = {"one", "tokens", "rows", "sequences"};
  return kNames[static_cast<int>(extent)];
}

uint64_t cacheBytesPerToken(const Manifest &manifest, const DeviceProgram &program) {
  uint64_t bytes = 0;
  for (const plan::Cache &cache : program.caches)
    bytes += plan::pageBytes(manifest.limits, cache) / manifest.limits.page_tokens;
  return bytes;
}

struct Reads {
  uint64_t perStep = 0;  // weights that a step reads whole, however many tokens it has
  uint64_t perToken = 0; // and rows of tables: embeddings, rotations
};

/// Bytes of weights that steps read, each weight once. A table is read by row: by an embedding
/// kernel, or as a raw matrix.
Reads weightReads(const Manifest &manifest, const DeviceProgram &program) {
  std::vector<bool> whole(manifest.weights.size()), byRow(manifest.weights.size());
  for (const plan::Launch &launch : program.launches) {
    bool embeds = !launch.variants.empty() &&
                  program.kernels[launch.variants.front().kernel].name.starts_with("embed_");
    for (const plan::Operand &operand : launch.operands) {
      if (operand.kind != plan::OperandKind::kWeight)
        continue;
      const plan::Weight &weight = manifest.weights[operand.index];
      bool matrix = weight.shape.size() == 2 && weight.shape[0] > 1;
      (matrix && (embeds || weight.packing.starts_with("raw.")) ? byRow : whole)[operand.index] =
          true;
    }
  }
  Reads reads;
  for (size_t index = 0; index < manifest.weights.size(); ++index) {
    const plan::Weight &weight = manifest.weights[index];
    reads.perStep += whole[index] ? weight.bytes : 0;
    reads.perToken += byRow[index] ? weight.bytes / weight.shape[0] : 0;
  }
  return reads;
}

std::map<std::string, std::pair<size_t, uint64_t>> packings(const Manifest &manifest) {
  std::map<std::string, std::pair<size_t, uint64_t>> byPacking;
  for (const plan::Weight &weight : manifest.weights) {
    auto &[count, bytes] = byPacking[weight.packing];
    ++count;
    bytes += weight.bytes;
  }
  return byPacking;
}

/// "host", "cuda sm_80": programs for CUDA are told apart by their targets.
std::string programName(const Manifest &manifest, const DeviceProgram &program) {
  std::string name = program.device;
  for (const plan::CodeTarget &target : manifest.targets)
    if (&manifest.programs[target.program] == &program && program.device == plan::kCudaDevice)
      name += " " + target.name;
  return name;
}

/// How many of a CUDA program's kernels are proven how, how many are of an older family, and how
/// well predictions met what was measured.
void printProofs(const Manifest &manifest, const DeviceProgram &program) {
  size_t proofs[3] = {}, fallbacks = 0, all = 0;
  for (const plan::Kernel &kernel : program.kernels)
    if (kernel.cuda) {
      ++all;
      ++proofs[static_cast<int>(kernel.cuda->proof)];
      fallbacks += kernel.cuda->is_fallback;
    }
  if (all != 0)
    fmt::print("kernels     {}: {} measured, {} simulated, {} unverified; {} fall back on an older "
               "family\n",
               programName(manifest, program), proofs[2], proofs[1], proofs[0], fallbacks);
  if (const tune::Prediction met = tune::comparePredictions(program); met.kernels != 0)
    fmt::print("predictions {}: of {} kernels, median measured / predicted {:.2f}, rank "
               "correlation {:.2f}\n",
               programName(manifest, program), met.kernels, met.median_ratio, met.rank_correlation);
}

/// What only plans of decoders say.
void printDecoder(const Manifest &manifest) {
  fmt::print("model       {}: {} layers, hidden {}, vocabulary {}, weights {}\n",
             manifest.model_name, manifest.model.layers, manifest.model.hidden,
             manifest.model.vocabulary, manifest.model.weight_format);
  const plan::Limits &limits = manifest.limits;
  fmt::print("limits      {} tokens of context; a step: {} tokens, {} rows, {} sequences; {} "
             "tokens a page\n",
             limits.context_tokens, limits.step_tokens, limits.step_rows, limits.step_sequences,
             limits.page_tokens);
  fmt::print("tokens      bos {}{}, eos {}, tokenizer {}\n", manifest.model.bos_token,
             manifest.model.add_bos ? " (added)" : "", fmt::join(manifest.model.eos_tokens, " "),
             manifest.tokenizer.kind.empty() ? "none" : manifest.tokenizer.kind);
}

void printProgram(const Manifest &manifest, const DeviceProgram &program) {
  fmt::print("program     {}: {} launches of {} kernels, ", programName(manifest, program),
             program.launches.size(), program.kernels.size());
  if (manifest.graph)
    fmt::print("up to {:.1f} MB activations\n",
               static_cast<double>(plan::arenaLimit(program, *manifest.graph)) / 1e6);
  else
    fmt::print("{:.1f} MB activations, {} bytes of KV cache a token\n",
               static_cast<double>(program.arena_bytes) / 1e6,
               cacheBytesPerToken(manifest, program));
}

void printSummary(const Manifest &manifest) {
  fmt::print("producer    {}\n", manifest.producer);
  if (manifest.graph) {
    fmt::print("model       {}: a graph, weights {}\n", manifest.model_name,
               manifest.model.weight_format.empty() ? "none" : manifest.model.weight_format);
    printSignature(*manifest.graph);
  } else {
    printDecoder(manifest);
  }
  for (const plan::Section &section : manifest.sections)
    fmt::print("section     {:<22} {:>13} bytes at {:>11}, xxh3 {:016x}\n", section.name,
               section.bytes, section.offset, section.xxh3);
  for (const DeviceProgram &program : manifest.programs)
    printProgram(manifest, program);
  for (const DeviceProgram &program : manifest.programs)
    printProofs(manifest, program);
  for (const plan::CodeTarget &target : manifest.targets)
    fmt::print("target      {}: {} kernels, needs {}\n", target.name, target.entry_offsets.size(),
               fmt::join(target.features, " "));
  for (const auto &[packing, use] : packings(manifest))
    fmt::print("weights     {:<22} {:>4} of {:>13} bytes\n", packing, use.first, use.second);
}

const char *proofName(plan::Proof proof) {
  constexpr const char *kNames[] = {"unverified", "simulated", "measured"};
  return kNames[static_cast<int>(proof)];
}

void printKernel(const std::string &label, const plan::Kernel &kernel) {
  fmt::print("              {:<7} {}", label, kernel.name);
  if (kernel.cuda) {
    const plan::CudaKernel &cuda = *kernel.cuda;
    fmt::print("  [{}{}, {}", cuda.family, cuda.is_fallback ? " as fallback" : "",
               proofName(cuda.proof));
    if (cuda.predicted_ns != 0)
      fmt::print(", {:.1f} us predicted", cuda.predicted_ns / 1e3);
    if (cuda.measured_ns != 0)
      fmt::print(", {:.1f} us measured", cuda.measured_ns / 1e3);
    fmt::print("]");
  }
  fmt::print("\n");
}

void printLaunches(const Manifest &manifest, const DeviceProgram &program) {
  std::string name = programName(manifest, program);
  if (manifest.graph)
    printBuffers(name, program, *manifest.graph);
  for (const plan::Launch &launch : program.launches) {
    fmt::print("launch      {}: {} over {}\n", name, launch.name,
               manifest.graph ? plan::toString(launch.points, manifest.graph->symbols) + " points"
                              : extentName(launch.extent));
    for (const plan::Variant &variant : launch.variants) {
      std::string upTo =
          variant.max_extent == UINT64_MAX ? "any" : "<= " + std::to_string(variant.max_extent);
      printKernel(upTo, program.kernels[variant.kernel]);
      for (uint32_t alternative : variant.alternatives)
        printKernel("  or", program.kernels[alternative]);
    }
  }
  if (program.sampler) {
    fmt::print("sampler     {}: over rows\n", programName(manifest, program));
    printKernel("any", program.kernels[*program.sampler]);
  }
}

nlohmann::json toJson(const plan::Kernel &kernel) {
  const plan::CudaKernel &cuda = *kernel.cuda;
  nlohmann::json json{{"name", kernel.name},
                      {"operation", cuda.operation},
                      {"tile", cuda.tile},
                      {"family", cuda.family},
                      {"fallback", cuda.is_fallback},
                      {"proof", proofName(cuda.proof)},
                      {"workspace_bytes", kernel.scratch_bytes},
                      {"phases", cuda.phases.size()},
                      {"tensor_maps", cuda.tensor_maps.size()}};
  if (cuda.predicted_ns != 0)
    json["predicted_ns"] = cuda.predicted_ns;
  if (cuda.measured_ns != 0)
    json["measured_ns"] = cuda.measured_ns;
  return json;
}

nlohmann::json toJson(const Manifest &manifest, const DeviceProgram &program) {
  Reads reads = weightReads(manifest, program);
  nlohmann::json json{
      {"device", program.device},
      {"arena_bytes", program.arena_bytes},
      {"cache_bytes_per_token", cacheBytesPerToken(manifest, program)},
      {"reads", {{"bytes_per_step", reads.perStep}, {"bytes_per_token", reads.perToken}}},
      {"caches", nlohmann::json::array()},
      {"kernels", nlohmann::json::array()},
      {"launches", nlohmann::json::array()}};
  for (const plan::Cache &cache : program.caches)
    json["caches"].push_back({{"kv_heads", cache.kv_heads},
                              {"head_dim", cache.head_dim},
                              {"window", cache.window},
                              {"bytes_per_token", plan::pageBytes(manifest.limits, cache) /
                                                      manifest.limits.page_tokens}});
  for (const plan::Kernel &kernel : program.kernels) {
    json["kernels"].push_back(kernel.name);
    if (kernel.cuda)
      json["cuda_kernels"].push_back(toJson(kernel));
  }
  for (const plan::Launch &launch : program.launches)
    json["launches"].push_back(launch.name);
  if (manifest.graph)
    addGraphParts(program, *manifest.graph, json);
  if (const tune::Prediction met = tune::comparePredictions(program); met.kernels != 0)
    json["prediction"] = {{"kernels", met.kernels},
                          {"median_measured_of_predicted", met.median_ratio},
                          {"rank_correlation", met.rank_correlation}};
  if (program.sampler)
    json["sampler"] = program.kernels[*program.sampler].name;
  return json;
}

nlohmann::json toJson(const Manifest &manifest) {
  nlohmann::json json{{"producer", manifest.producer},
                      {"model", manifest.model_name},
                      {"weight_format", manifest.model.weight_format},
                      {"layers", manifest.model.layers},
                      {"hidden", manifest.model.hidden},
                      {"vocabulary", manifest.model.vocabulary},
                      {"tokenizer", manifest.tokenizer.kind}};
  if (manifest.graph)
    json["graph"] = signatureJson(*manifest.graph);
  json["limits"] = {{"context_tokens", manifest.limits.context_tokens},
                    {"step_tokens", manifest.limits.step_tokens},
                    {"step_rows", manifest.limits.step_rows},
                    {"step_sequences", manifest.limits.step_sequences},
                    {"page_tokens", manifest.limits.page_tokens}};
  for (const plan::Section &section : manifest.sections)
    json["sections"].push_back(
        {{"name", section.name}, {"bytes", section.bytes}, {"offset", section.offset}});
  for (const DeviceProgram &program : manifest.programs)
    json["programs"].push_back(toJson(manifest, program));
  for (const plan::CodeTarget &target : manifest.targets)
    json["targets"].push_back(
        {{"name", target.name}, {"features", target.features}, {"program", target.program}});
  for (const auto &[packing, use] : packings(manifest))
    json["weights"][packing] = {{"count", use.first}, {"bytes", use.second}};
  return json;
}

} // namespace

void addInspectCommand(CLI::App &app, int &exitCode) {
  struct Arguments {
    std::string plan;
    bool json = false, launches = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App *command = app.add_subcommand("inspect", "Print what a plan file holds");
  command->add_option("plan", arguments->plan, "model.plan")->required();
  command->add_flag("--launches", arguments->launches,
                    "Also every launch with its kernels, and the buffers of graphs");
  command->add_flag("--json", arguments->json, "Machine-readable");
  command->callback([arguments, &exitCode] {
    auto loaded = plan::Plan::load(arguments->plan, {});
    if (!loaded) {
      exitCode = reportFailure(loaded.status(), arguments->json);
      return;
    }
    const Manifest &manifest = loaded->manifest();
    if (arguments->json) {
      fmt::print("{}\n", toJson(manifest).dump(1));
      return;
    }
    printSummary(manifest);
    if (arguments->launches)
      for (const DeviceProgram &program : manifest.programs)
        printLaunches(manifest, program);
  });
}

} // namespace platen::cli
