// The `platen` command: compile, inspect, tune, run.
#include "tools/cli/commands.h"
#include "tools/cli/run.h"

#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace platen::cli {

std::atomic<bool> interrupted = false;

void installInterruptHandler() {
  std::signal(SIGINT, [](int) {
    if (interrupted.exchange(true))
      std::_Exit(130);
  });
}

int reportFailure(const base::Status &status, bool json) {
  if (json) {
    nlohmann::json error{{"code", base::codeName(status.code())},
                         {"origin", status.origin()},
                         {"message", status.message()}};
    fmt::print(stderr, "{}\n", nlohmann::json{{"error", error}}.dump());
  } else {
    fmt::print(stderr, "platen: {}\n", status.toString());
  }
  return status.code() == base::StatusCode::kCancelled ? 130 : 1;
}

} // namespace platen::cli

int main(int argc, char **argv) {
  CLI::App app(
      "platen: ONNX transformers compiled ahead of time into one plan file, and run from it");
  app.set_version_flag("--version", "platen " PLATEN_VERSION);
  app.require_subcommand(1);
  int exitCode = 0;
  platen::cli::addCompileCommand(app, exitCode);
  platen::cli::addInspectCommand(app, exitCode);
  platen::cli::addTuneCommand(app, exitCode);
  platen::cli::addRunCommand(app, exitCode);
  CLI11_PARSE(app, argc, argv);
  return exitCode;
}
