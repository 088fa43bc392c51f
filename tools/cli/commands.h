// The subcommands of `platen`. Each registers itself with the app and leaves its exit code in
// `exitCode` when it ran: 0 success, 1 the work failed (message on stderr), 2 bad usage, 130
// interrupted.
#pragma once

#include "runtime/base/status.h"

#include <CLI/CLI.hpp>

#include <atomic>

namespace platen::cli {

void addCompileCommand(CLI::App &app, int &exitCode);
void addInspectCommand(CLI::App &app, int &exitCode);
void addTuneCommand(CLI::App &app, int &exitCode);

/// Set by Ctrl-C once installInterruptHandler() was called; a second Ctrl-C ends the process.
extern std::atomic<bool> interrupted;
void installInterruptHandler();

/// Prints a failure to stderr, as JSON if asked, and returns the exit code for it.
int reportFailure(const base::Status &status, bool json);

} // namespace platen::cli
