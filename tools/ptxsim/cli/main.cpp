// platen-ptxsim: runs CUDA driver-API programs on simulated GPUs.
#include "tools/ptxsim/cli/commands.h"

int main(int argc, char **argv) {
  CLI::App app(
      "Runs programs of the CUDA driver API without a GPU. Nothing here is a model of time.",
      "platen-ptxsim");
  app.require_subcommand(1);
  int exitCode = 0;
  platen::ptxsim::cli::addRunCommand(app, exitCode);
  platen::ptxsim::cli::addPtxCommand(app, exitCode);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error);
  }
  return exitCode;
}
