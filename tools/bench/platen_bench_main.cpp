// platen_bench: one engine that measures what it is told to, line by line. tools/bench/bench.py
// drives it.
//
//   platen_bench model.plan --threads 2 --sequences 8
//
// First it writes one JSON line about the engine. Then each line of stdin is a command, answered by
// one JSON line:
//
//   prefill S N id…      S prompts of N tokens (S·N ids), timed from the first submit() to every
//   prompt's first token decode S N G id…     the same prompts, then G tokens each; timed from the
//   moment when every sequence has its first
//                        token, so that nothing but decode steps is timed
//
// The answer is {"seconds", "tokens", "steps"}: tokens are those that the time was spent on (prompt
// tokens, generated tokens). Failures are {"error"}; the program goes on. It ends with stdin.
// Sampling is greedy and end-of-sequence tokens are ignored. It uses nothing but the public
// interface.
#include "runtime/engine/platen.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace {

using platen::base::Result;
using platen::base::Status;
using platen::engine::Engine;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string plan;
  unsigned threads = 1;
  int64_t sequences = 1;
};

struct Command {
  bool decode = false;
  int64_t sequences = 0, prompt_tokens = 0, generate_tokens = 0;
  std::vector<int32_t> ids; // [sequences, prompt_tokens]
};

struct Measurement {
  double seconds = 0;
  int64_t tokens = 0, steps = 0;
};

/// What the callbacks of one command's requests have seen so far.
struct Watch {
  std::vector<int64_t> generated; // [sequences]
  int64_t started = 0, finished = 0, tokens = 0;
  Status failure;
};

Result<Command> parseCommand(const std::string &line) {
  std::istringstream words(line);
  Command command;
  std::string name;
  words >> name >> command.sequences >> command.prompt_tokens;
  command.decode = name == "decode";
  if (command.decode)
    words >> command.generate_tokens;
  const bool known = command.decode || name == "prefill";
  if (!words || !known || command.sequences < 1 || command.prompt_tokens < 1 ||
      command.generate_tokens < 0)
    return platen::base::invalidArgument(
        "'" + line.substr(0, 40) + "' is no command; send 'prefill S N id…' or 'decode S N G id…'");
  for (int32_t id = 0; words >> id;)
    command.ids.push_back(id);
  const auto wanted = static_cast<size_t>(command.sequences * command.prompt_tokens);
  if (command.ids.size() != wanted)
    return platen::base::invalidArgument(
        std::to_string(command.ids.size()) + " token ids follow, but " +
        std::to_string(command.sequences) + " prompts of " + std::to_string(command.prompt_tokens) +
        " tokens need " + std::to_string(wanted));
  return command;
}

Status submitAll(Engine &engine, const Command &command, Watch &watch) {
  watch.generated.assign(static_cast<size_t>(command.sequences), 0);
  for (size_t sequence = 0; sequence < watch.generated.size(); ++sequence) {
    platen::engine::Request request;
    auto first = command.ids.begin() + static_cast<ptrdiff_t>(sequence) * command.prompt_tokens;
    request.tokens.assign(first, first + command.prompt_tokens);
    request.max_tokens = command.generate_tokens + 1;
    request.ignore_eos = true;
    request.on_output = [&watch, sequence](const platen::engine::Output &output) {
      if (watch.generated[sequence] == 0 && !output.tokens.empty())
        ++watch.started;
      watch.generated[sequence] += static_cast<int64_t>(output.tokens.size());
      watch.tokens += static_cast<int64_t>(output.tokens.size());
    };
    request.on_finish = [&watch](const platen::engine::RequestResult &result) {
      ++watch.finished;
      if (result.finish != platen::engine::FinishReason::kMaxTokens && watch.failure.isOk())
        watch.failure = result.status.isOk()
                            ? platen::base::internalError(
                                  "a request ended early: " +
                                  std::string(platen::engine::finishReasonName(result.finish)))
                            : result.status;
    };
    auto id = engine.submit(std::move(request));
    if (!id)
      return id.status();
  }
  return Status::ok();
}

/// Steps until `done()`; returns the number of steps.
template <typename Done> Result<int64_t> stepUntil(Engine &engine, const Watch &watch, Done done) {
  int64_t steps = 0;
  for (; !done(); ++steps) {
    auto more = engine.step();
    if (!more)
      return more.status();
    if (!watch.failure.isOk())
      return watch.failure;
    if (!*more && !done())
      return platen::base::internalError(
          "the engine has nothing left to do, but requests are unfinished");
  }
  return steps;
}

Result<Measurement> measure(Engine &engine, const Command &command) {
  Watch watch;
  Clock::time_point begin = Clock::now();
  PLATEN_RETURN_IF_ERROR(submitAll(engine, command, watch));
  PLATEN_ASSIGN_OR_RETURN(
      int64_t steps, stepUntil(engine, watch, [&] { return watch.started == command.sequences; }));
  Measurement result{0, command.sequences * command.prompt_tokens, steps};
  if (command.decode) {
    const int64_t before = watch.tokens;
    begin = Clock::now();
    PLATEN_ASSIGN_OR_RETURN(result.steps, stepUntil(engine, watch, [&] {
                              return watch.finished == command.sequences;
                            }));
    result.tokens = watch.tokens - before;
  }
  result.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  // The callbacks refer to `watch`: no request may outlive it.
  PLATEN_RETURN_IF_ERROR(engine.runUntilIdle());
  return result;
}

Json answer(Engine &engine, const std::string &line) {
  auto command = parseCommand(line);
  if (!command)
    return {{"error", command.status().toString()}};
  auto result = measure(engine, *command);
  if (!result) // requests that are left over refer to a Watch that is gone: end
    return {{"error", result.status().toString()}, {"fatal", true}};
  return {{"seconds", result->seconds}, {"tokens", result->tokens}, {"steps", result->steps}};
}

Json describe(const Engine &engine) {
  const auto &model = engine.model();
  return {{"engine", "platen"},
          {"model", model.name},
          {"weights", model.weight_format},
          {"code_target", model.code_target},
          {"device", model.device},
          {"vocabulary", model.vocabulary},
          {"context_tokens", model.context_tokens},
          {"step_tokens", model.step_tokens}};
}

void write(const Json &json) { std::cout << json.dump() << std::endl; }

bool parseArguments(int argc, char **argv, Arguments &arguments) {
  auto number = [](const char *text, auto &value) {
    auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
    return error == std::errc() && *end == '\0' && value > 0;
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--threads" && i + 1 < argc && number(argv[i + 1], arguments.threads))
      ++i;
    else if (option == "--sequences" && i + 1 < argc && number(argv[i + 1], arguments.sequences))
      ++i;
    else if (!option.starts_with("-") && arguments.plan.empty())
      arguments.plan = option;
    else
      return false;
  }
  return !arguments.plan.empty();
}

} // namespace

int main(int argc, char **argv) {
  Arguments arguments;
  if (!parseArguments(argc, argv, arguments)) {
    std::fprintf(stderr, "usage: platen_bench PLAN [--threads N] [--sequences N]   (commands on "
                         "stdin, see its source)\n");
    return 2;
  }
  auto engine = Engine::load(arguments.plan,
                             {.threads = arguments.threads, .max_sequences = arguments.sequences});
  if (!engine) {
    write({{"error", engine.status().toString()}});
    return 1;
  }
  write(describe(*engine));
  for (std::string line; std::getline(std::cin, line);) {
    Json json = answer(*engine, line);
    write(json);
    if (json.contains("fatal"))
      return 1;
  }
  return 0;
}
