// `platen run`: generates text from a plan, on the public engine interface alone; with --input or
// --output it runs a graph instead (run_graph.h).
//
// Text goes to standard output as it is generated, everything else to standard error. Ctrl-C ends
// the generation cleanly: what was generated stays, the figures are printed, the exit code is 130.
#pragma once

#include "runtime/engine/platen.h"
#include "tools/cli/run_graph.h"

#include <CLI/CLI.hpp>
#include <iosfwd>
#include <optional>

namespace platen::cli {

struct RunOptions {
  std::string plan;
  std::optional<std::string> prompt;      ///< else `file`, else standard input
  std::optional<std::string> prompt_file; ///< "-" is standard input
  engine::EngineOptions engine;
  engine::Request request;
  bool json = false;        ///< one JSON object instead of streamed text
  bool echo_prompt = false; ///< print the prompt before the generated text
  RunGraphOptions graph;    ///< with inputs or a folder: the plan is that of a graph
};

/// Registers `run` with its options. After parsing, `exit_code` holds what the process should
/// return if `run` was chosen. `exit_code` must live as long as `app`.
void addRunCommand(CLI::App &app, int &exit_code);

/// Registers the options of `run` on `command`, writing into `options`.
void addRunOptions(CLI::App &command, RunOptions &options);

/// The prompt that the options name; `in` stands for standard input. Errors: kNotFound/kIo (the
/// file), kInvalidArgument (two sources, or an empty prompt).
base::Result<std::string> readPrompt(const RunOptions &options, std::istream &in);

/// Runs one request and prints text and figures. Returns the process's exit code: 0, 1 (failed),
/// 130 (interrupted: `interrupted` returned true between two steps).
int runRequest(engine::Engine &engine, const RunOptions &options, std::string prompt,
               const std::function<bool()> &interrupted, std::ostream &out, std::ostream &err);

} // namespace platen::cli
