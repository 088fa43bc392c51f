// Options, prompt, streaming and figures of `platen run`.
#include "tools/cli/run.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace platen::cli {
namespace {

using base::Result;
using base::Status;

std::atomic<bool> interrupt_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free); // usable in a signal handler

// First Ctrl-C: end cleanly. Second: the default action, at once.
extern "C" void platenRunOnInterrupt(int signal) {
  interrupt_requested = true;
  std::signal(signal, SIG_DFL);
}

Result<std::string> readAll(std::istream &in, const std::string &name) {
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad())
    return base::ioError("cannot be read", name);
  return text;
}

struct Rates {
  double prefill_tokens_per_second =
      0; // prompt tokens over the time from the first step to the first token
  double decode_tokens_per_second = 0; // tokens after the first, over the time they took
};

Rates rates(const engine::RequestResult &result) {
  Rates rates;
  const engine::Timings &timings = result.timings;
  if (timings.prefill_seconds > 0)
    rates.prefill_tokens_per_second =
        static_cast<double>(result.prompt_tokens) / timings.prefill_seconds;
  if (timings.decode_seconds > 0)
    rates.decode_tokens_per_second =
        static_cast<double>(result.tokens.size() - 1) / timings.decode_seconds;
  return rates;
}

void printFigures(const engine::ModelInfo &model, const engine::RequestResult &result,
                  std::ostream &err) {
  err << model.device << ", code " << model.code_target << " (" << model.device_reason << ")\n";
  err << "prompt " << result.prompt_tokens << " tokens, generated " << result.tokens.size() << " ("
      << engine::finishReasonName(result.finish) << ")\n";
  if (model.is_simulated) { // its times are the simulation's and say nothing of a GPU
    err << "a simulated device: times are not measured\n";
    return;
  }
  Rates speed = rates(result);
  char line[256];
  std::snprintf(line, sizeof line,
                "time to first token %.1f ms, prefill %.1f tokens/s, decode %.1f tokens/s\n",
                result.timings.time_to_first_token_seconds * 1e3, speed.prefill_tokens_per_second,
                speed.decode_tokens_per_second);
  err << line;
}

void printJson(const engine::Engine &engine, const engine::RequestResult &result,
               const std::string &prompt, std::ostream &out) {
  Rates speed = rates(result);
  const engine::ModelInfo &model = engine.model();
  nlohmann::ordered_json json = {{"model", model.name},
                                 {"weight_format", model.weight_format},
                                 {"device", model.device},
                                 {"device_reason", model.device_reason},
                                 {"code_target", model.code_target},
                                 {"prompt", prompt},
                                 {"text", result.text},
                                 {"tokens", result.tokens},
                                 {"finish_reason", engine::finishReasonName(result.finish)},
                                 {"prompt_tokens", result.prompt_tokens},
                                 {"generated_tokens", result.tokens.size()},
                                 {"simulated", model.is_simulated}};
  if (!model.is_simulated)
    json.update({{"time_to_first_token_seconds", result.timings.time_to_first_token_seconds},
                 {"prefill_seconds", result.timings.prefill_seconds},
                 {"decode_seconds", result.timings.decode_seconds},
                 {"max_inter_token_seconds", result.timings.max_inter_token_seconds},
                 {"prefill_tokens_per_second", speed.prefill_tokens_per_second},
                 {"decode_tokens_per_second", speed.decode_tokens_per_second}});
  if (!result.logprobs.empty())
    for (const engine::GeneratedLogprob &logprob : result.logprobs)
      json["logprobs"].push_back(logprob.chosen.logprob);
  if (!result.status.isOk())
    json["error"] = result.status.toString();
  using Json = nlohmann::ordered_json;
  out << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

int report(const Status &status, std::ostream &err) {
  err << "platen: " << status.toString() << "\n";
  return 1;
}

int runGraphCommand(const RunOptions &options) {
  if (options.prompt || options.prompt_file)
    return report(base::invalidArgument("give either a prompt, for a decoder, or --input and "
                                        "--output, for a graph"),
                  std::cerr);
  auto graph = engine::Graph::load(options.plan, {.threads = options.engine.threads,
                                                  .device = options.engine.device,
                                                  .cuda_graphs = options.engine.cuda_graphs});
  if (!graph.isOk())
    return report(graph.status(), std::cerr);
  RunGraphOptions run = options.graph;
  run.json = options.json;
  return runGraph(*graph, run, std::cout, std::cerr);
}

int runCommand(const RunOptions &options) {
  if (!options.graph.inputs.empty() || !options.graph.output_folder.empty())
    return runGraphCommand(options);
  auto prompt = readPrompt(options, std::cin);
  if (!prompt.isOk())
    return report(prompt.status(), std::cerr);
  auto engine = engine::Engine::load(options.plan, options.engine);
  if (!engine.isOk())
    return report(engine.status(), std::cerr);
  interrupt_requested = false;
  auto previous = std::signal(SIGINT, platenRunOnInterrupt);
  int code = runRequest(
      *engine, options, *prompt, [] { return interrupt_requested.load(); }, std::cout, std::cerr);
  std::signal(SIGINT, previous);
  return code;
}

} // namespace

Result<std::string> readPrompt(const RunOptions &options, std::istream &in) {
  if (options.prompt && options.prompt_file)
    return base::invalidArgument("give either --prompt or --file, not both");
  std::string prompt;
  if (options.prompt) {
    prompt = *options.prompt;
  } else if (options.prompt_file && *options.prompt_file != "-") {
    std::ifstream file(*options.prompt_file, std::ios::binary);
    if (!file)
      return base::notFound("cannot be opened", *options.prompt_file);
    PLATEN_ASSIGN_OR_RETURN(prompt, readAll(file, *options.prompt_file));
  } else {
    PLATEN_ASSIGN_OR_RETURN(prompt, readAll(in, "standard input"));
  }
  if (prompt.empty())
    return base::invalidArgument("the prompt is empty; give --prompt TEXT, --file FILE or text on "
                                 "standard input");
  return prompt;
}

int runRequest(engine::Engine &engine, const RunOptions &options, std::string prompt,
               const std::function<bool()> &interrupted, std::ostream &out, std::ostream &err) {
  engine::Request request = options.request;
  request.prompt = prompt;
  if (!options.json) {
    if (options.echo_prompt)
      out << prompt << std::flush;
    request.on_output = [&out](const engine::Output &output) { out << output.text << std::flush; };
  }
  auto id = engine.submit(std::move(request));
  if (!id.isOk())
    return report(id.status(), err);
  bool cancelled = false;
  for (auto worked = engine.step(); worked.isOk() && *worked; worked = engine.step())
    if (!cancelled && (interrupted() || !out.good()))
      cancelled = engine.cancel(*id).isOk();
  auto result = engine.wait(*id);
  if (!result.isOk())
    return report(result.status(), err);
  if (options.json) {
    printJson(engine, *result, prompt, out);
  } else {
    out << "\n" << std::flush;
    printFigures(engine.model(), *result, err);
  }
  if (!result->status.isOk())
    return report(result->status, err);
  if (!out.good())
    return report(base::ioError("the text could not be written", "standard output"), err);
  return result->finish == engine::FinishReason::kCancelled ? 130 : 0;
}

void addRunOptions(CLI::App &command, RunOptions &options) {
  engine::Request &request = options.request;
  engine::Sampling &sampling = request.sampling;
  command.add_option("plan", options.plan, "plan file, from `platen compile`")->required();
  command.add_option("-p,--prompt", options.prompt,
                     "text to continue (default: read standard input)");
  command.add_option("-f,--file", options.prompt_file,
                     "read the prompt from a file, - for standard input");
  command
      .add_option("-n,--max-tokens,--n-predict", request.max_tokens,
                  "tokens to generate; 0: until the model stops or the context is full")
      ->capture_default_str();
  command.add_option("--temp", sampling.temperature, "temperature; 0: greedy")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "keep the k most probable tokens; 0: all")
      ->capture_default_str();
  command
      .add_option("--top-p", sampling.top_p,
                  "keep the most probable tokens up to this mass; 1: all")
      ->capture_default_str();
  command
      .add_option("--min-p", sampling.min_p,
                  "keep tokens at least this probable, relative to the best; 0: all")
      ->capture_default_str();
  command
      .add_option("--repeat-penalty", sampling.repeat_penalty,
                  "divide logits of recent tokens; 1: off")
      ->capture_default_str();
  command
      .add_option("--repeat-last-n", sampling.repeat_last_tokens,
                  "how many tokens count as recent; -1: all")
      ->capture_default_str();
  command.add_option("-s,--seed", sampling.seed, "equal seeds give equal text")
      ->capture_default_str();
  command
      .add_option("-r,--reverse-prompt,--stop", request.stop,
                  "end before this text; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", request.ignore_eos, "go on after the model's end of sequence");
  command.add_flag("--special", request.parse_special,
                   "parse control tokens spelled out in the prompt");
  command.add_flag("!--no-bos", request.add_bos,
                   "put no beginning-of-sequence token before the prompt");
  command
      .add_option("--input", options.graph.inputs,
                  "graphs that are no decoders: NAME=FILE.npy, one for each input")
      ->allow_extra_args(false);
  command.add_option("--output", options.graph.output_folder,
                     "graphs that are no decoders: folder for NAME.npy of each output");
  command.add_option("-t,--threads", options.engine.threads, "threads; 0: one a core")
      ->capture_default_str();
  command
      .add_option("--device", options.engine.device,
                  "auto, host, cuda or cuda:N; auto: the first CUDA device for which the plan has "
                  "code, else the host")
      ->default_str("auto");
  command.add_flag("!--no-cuda-graphs", options.engine.cuda_graphs,
                   "launch every kernel of a step by itself");
  command
      .add_option("-c,--ctx,--ctx-size", options.engine.context_tokens,
                  "positions of the context; 0: the plan's limit")
      ->capture_default_str();
  command
      .add_option("--kv-bytes", options.engine.kv_bytes,
                  "memory for keys and values; 0: up to 1 GiB, or one whole context if that is "
                  "more; on CUDA "
                  "devices, what is free")
      ->transform(CLI::AsSizeValue(false));
  command.add_flag("--echo", options.echo_prompt, "print the prompt before the generated text");
  command.add_flag("--json", options.json, "print one JSON object with text, tokens and timings");
}

void addRunCommand(CLI::App &app, int &exit_code) {
  auto options = std::make_shared<RunOptions>();
  options->request.max_tokens = 256;
  CLI::App *command =
      app.add_subcommand("run", "generate text from a plan, or run a graph's plan on arrays");
  addRunOptions(*command, *options);
  command->callback([options, &exit_code] { exit_code = runCommand(*options); });
}

} // namespace platen::cli
