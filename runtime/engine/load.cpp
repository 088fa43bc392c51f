// Puts an engine together from a plan file: mapping, tokenizer, device, executor, page budget.
#include "runtime/engine/choose_device.h"
#include "runtime/engine/parts.h"
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <optional>

namespace platen::engine {
namespace {

using base::invalidArgument;
using base::Result;
using base::Status;

constexpr uint64_t kDefaultKvBytes = uint64_t{1} << 30;
constexpr uint64_t kFreePartKept = 16; // one part in so many of a device's free memory

/// Keeps alive, in the order of dependence, what a plan's executor needs.
class PlanExecutor : public StepExecutor {
public:
  PlanExecutor(std::shared_ptr<const plan::Plan> plan, std::unique_ptr<device::Device> device,
               std::unique_ptr<exec::Executor> executor, bool samples)
      : plan_(std::move(plan)), device_(std::move(device)), executor_(std::move(executor)),
        samples_(samples && executor_->samples()) {}

  Result<exec::StepOutputs> run(const exec::StepInputs &inputs) override {
    return executor_->run(inputs);
  }
  bool samples() const override { return samples_; }

private:
  std::shared_ptr<const plan::Plan> plan_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<exec::Executor> executor_;
  bool samples_;
};

class PlanDecoder : public TextDecoder {
public:
  explicit PlanDecoder(const text::Tokenizer &tokenizer) : decoder_(tokenizer) {}
  void push(int32_t token, std::string &text) override {
    // Fails for a token that the model has and the tokenizer lacks (padded vocabularies): it has no
    // text.
    (void)decoder_.push(token, text);
  }
  void finish(std::string &text) override { decoder_.finish(text); }

private:
  text::StreamDecoder decoder_;
};

class PlanText : public TextCodec {
public:
  PlanText(std::shared_ptr<const plan::Plan> plan, std::unique_ptr<text::Tokenizer> tokenizer)
      : plan_(std::move(plan)), tokenizer_(std::move(tokenizer)) {}
  Result<std::vector<int32_t>> encode(std::string_view text, bool add_bos,
                                      bool parse_special) const override {
    text::EncodeOptions options;
    options.addBos = add_bos;
    options.parseSpecial = parse_special;
    return tokenizer_->encode(text, options);
  }
  Result<std::string> decode(std::span<const int32_t> tokens) const override {
    return tokenizer_->decode(tokens);
  }
  std::unique_ptr<TextDecoder> decoder() const override {
    return std::make_unique<PlanDecoder>(*tokenizer_);
  }

private:
  std::shared_ptr<const plan::Plan> plan_; // whose section the tokenizer reads
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

// An option that may lower a limit of the plan.
Result<int64_t> limitFrom(const char *name, int64_t option, int64_t limit) {
  if (option < 0 || option > limit)
    return invalidArgument(std::string(name) + " is " + std::to_string(option) +
                           ", this plan allows 1 to " + std::to_string(limit) + " (0: its limit)");
  return option == 0 ? limit : option;
}

Result<schedule::Limits> chooseLimits(const plan::Limits &plan, const EngineOptions &options) {
  schedule::Limits limits;
  limits.page_tokens = plan.page_tokens;
  limits.step_rows = plan.step_rows;
  PLATEN_ASSIGN_OR_RETURN(limits.context_tokens,
                          limitFrom("context_tokens", options.context_tokens, plan.context_tokens));
  PLATEN_ASSIGN_OR_RETURN(limits.step_tokens,
                          limitFrom("step_tokens", options.step_tokens, plan.step_tokens));
  int64_t most = std::min({int64_t{plan.step_sequences}, limits.step_rows, limits.step_tokens});
  PLATEN_ASSIGN_OR_RETURN(limits.max_sequences,
                          limitFrom("max_sequences", options.max_sequences, most));
  return limits;
}

/// Bytes for keys and values when nobody said how many.
Result<uint64_t> defaultBudget(uint64_t one_context, uint64_t page_bytes, uint64_t fixed_bytes,
                               const device::Device &device) {
  std::optional<uint64_t> free = device.freeBytes();
  if (!free)
    return std::max(kDefaultKvBytes, one_context);
  // What graphs, code and the driver itself take on the way is in the part kept back.
  uint64_t usable = *free - *free / kFreePartKept;
  if (usable >= fixed_bytes + page_bytes)
    return usable - fixed_bytes;
  return base::resourceExhausted(
      std::to_string(*free) + " bytes of device memory are free on " + device.description() +
      "; weights, activations and workspace take " + std::to_string(fixed_bytes) +
      ", which leaves too little for a KV page of " + std::to_string(page_bytes) + " bytes");
}

/// `page_bytes` is 0 for plans without a cache; `fixed_bytes` is what the executor takes beside
/// pages.
Result<int64_t> choosePages(const schedule::Limits &limits, uint64_t page_bytes,
                            uint64_t fixed_bytes, const EngineOptions &options,
                            const device::Device &device) {
  int64_t context_pages = cache::pagesFor(limits.context_tokens, limits.page_tokens);
  int64_t useful = context_pages * limits.max_sequences;
  if (options.kv_pages < 0 || options.kv_pages > INT32_MAX)
    return invalidArgument("kv_pages is " + std::to_string(options.kv_pages) +
                           ", it must be between 1 and " + std::to_string(INT32_MAX) +
                           ", or 0 for as many as kv_bytes allows");
  if (options.kv_pages > 0)
    return options.kv_pages;
  if (page_bytes == 0)
    return useful;
  uint64_t budget = options.kv_bytes;
  if (budget == 0) {
    PLATEN_ASSIGN_OR_RETURN(budget, defaultBudget(static_cast<uint64_t>(context_pages) * page_bytes,
                                                  page_bytes, fixed_bytes, device));
  }
  if (budget < page_bytes)
    return invalidArgument("kv_bytes is " + std::to_string(budget) + ", one KV page takes " +
                           std::to_string(page_bytes) + " bytes");
  uint64_t affordable = budget / page_bytes;
  if (affordable >= static_cast<uint64_t>(useful))
    return useful;
  return static_cast<int64_t>(std::min<uint64_t>(affordable, INT32_MAX));
}

ModelInfo describe(const plan::Manifest &manifest, const schedule::Limits &limits,
                   uint64_t page_bytes) {
  ModelInfo model;
  model.name = manifest.model_name;
  model.weight_format = manifest.model.weight_format;
  model.vocabulary = manifest.model.vocabulary;
  model.context_tokens = limits.context_tokens;
  model.step_tokens = limits.step_tokens;
  model.max_sequences = limits.max_sequences;
  model.page_tokens = limits.page_tokens;
  model.kv_pages = limits.total_pages;
  model.kv_page_bytes = page_bytes;
  model.eos_tokens.assign(manifest.model.eos_tokens.begin(), manifest.model.eos_tokens.end());
  return model;
}

Result<std::unique_ptr<TextCodec>> openTokenizer(const std::shared_ptr<const plan::Plan> &plan) {
  if (plan->manifest().tokenizer.kind.empty())
    return std::unique_ptr<TextCodec>();
  PLATEN_ASSIGN_OR_RETURN(auto tokenizer, text::Tokenizer::fromSection(plan->tokenizer()));
  return std::unique_ptr<TextCodec>(std::make_unique<PlanText>(plan, std::move(tokenizer)));
}

Result<EngineParts> assemble(const std::string &plan_path, const EngineOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(plan::Plan loaded, plan::Plan::load(plan_path));
  auto plan = std::make_shared<const plan::Plan>(std::move(loaded));
  const plan::Manifest &manifest = plan->manifest();
  if (manifest.graph)
    return invalidArgument(
        "the plan holds a graph with named inputs and outputs, no decoder that "
        "generates tokens; load it with Graph::load of graph.h (in C "
        "platen_graph_load, in a shell `platen run PLAN --input NAME=FILE.npy`)");
  EngineParts parts;
  PLATEN_ASSIGN_OR_RETURN(parts.limits, chooseLimits(manifest.limits, options));
  PLATEN_ASSIGN_OR_RETURN(ChosenDevice chosen, chooseDevice(*plan, options));
  uint64_t page_bytes = 0;
  for (const plan::Cache &cache : manifest.programs[manifest.targets[chosen.target].program].caches)
    page_bytes += plan::pageBytes(manifest.limits, cache);
  PLATEN_ASSIGN_OR_RETURN(parts.limits.total_pages,
                          choosePages(parts.limits, page_bytes,
                                      exec::Executor::fixedBytes(*plan, chosen.target), options,
                                      *chosen.device));
  PLATEN_RETURN_IF_ERROR(schedule::validate(parts.limits));
  PLATEN_ASSIGN_OR_RETURN(parts.text, openTokenizer(plan));
  exec::ExecutorOptions executor_options;
  executor_options.pages = static_cast<uint32_t>(parts.limits.total_pages);
  executor_options.record_steps = options.cuda_graphs;
  PLATEN_ASSIGN_OR_RETURN(auto executor,
                          exec::Executor::create(*plan, *chosen.device, executor_options));
  parts.model = describe(manifest, parts.limits, page_bytes);
  parts.model.has_tokenizer = parts.text != nullptr;
  parts.model.code_target = executor->target();
  parts.model.device = chosen.device->description();
  parts.model.is_simulated = chosen.device->isSimulated();
  parts.model.device_reason = std::move(chosen.reason);
  parts.add_bos = manifest.model.add_bos;
  parts.max_waiting = options.max_waiting;
  parts.executor = std::make_unique<PlanExecutor>(std::move(plan), std::move(chosen.device),
                                                  std::move(executor), options.device_sampling);
  return parts;
}

} // namespace

Result<Engine> Engine::load(const std::string &plan_path, const EngineOptions &options) {
  if (options.max_waiting < 0)
    return invalidArgument("max_waiting is " + std::to_string(options.max_waiting) +
                           ", it must not be negative");
  auto parts = assemble(plan_path, options);
  if (!parts.isOk()) {
    bool named = parts.status().origin().find(plan_path) != std::string_view::npos;
    return named ? parts.status() : parts.status().at(plan_path);
  }
  return EngineAccess::make(std::move(parts).value());
}

} // namespace platen::engine
