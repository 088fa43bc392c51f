// The subcommands of platen-ptxsim.
#pragma once

#include <CLI/CLI.hpp>

namespace platen::ptxsim::cli {

/// run: a program of the CUDA driver API on simulated devices.
void addRunCommand(CLI::App &app, int &exitCode);
/// ptx: what a PTX file holds and what the simulator refuses of it. hash: the name of a cubin's
/// PTX.
void addPtxCommand(CLI::App &app, int &exitCode);

} // namespace platen::ptxsim::cli
