// platen-ptxsim run: sets the environment that the simulated libcuda.so.1 reads, lets the program
// find that library before any other, runs it, and tells how it went.
//
// Exit code: the program's; if violations were found and the program did not fail by itself, 86.
#include "tools/ptxsim/cli/commands.h"

#include "tools/ptxsim/driver/settings.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sys/wait.h>
#include <unistd.h>

namespace platen::ptxsim::cli {
namespace {

namespace fs = std::filesystem;
constexpr int kViolationsFound = 86, kCannotRun = 127;

struct RunOptions {
  std::string devices, async, counters, report, memory, checks, peer, ptxPath, eventTime;
  std::string seed, threads;
  bool keepExitCode = false;
  std::vector<std::string> program;
};

/// The folder with libcuda.so.1: beside the installed command, or in the build tree.
std::string libraryFolder() {
  std::error_code error;
  fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error)
    for (fs::path folder : {self.parent_path() / PTXSIM_INSTALLED_FOLDER,
                            self.parent_path() / "../driver/lib", fs::path(PTXSIM_BUILD_FOLDER)})
      if (fs::exists(folder / "libcuda.so.1", error))
        return fs::canonical(folder, error).string();
  return "";
}

void prepend(const char *name, const std::string &value) {
  const char *old = std::getenv(name);
  setenv(name, (old && *old ? value + ":" + old : value).c_str(), 1);
}

void setUnlessEmpty(const char *name, const std::string &value) {
  if (!value.empty())
    setenv(name, value.c_str(), 1);
}

void setEnvironment(const RunOptions &options, const std::string &log) {
  setUnlessEmpty("PLATEN_PTXSIM_DEVICES", options.devices);
  setUnlessEmpty("PLATEN_PTXSIM_ASYNC", options.async);
  setUnlessEmpty("PLATEN_PTXSIM_SEED", options.seed);
  setUnlessEmpty("PLATEN_PTXSIM_COUNTERS", options.counters);
  setUnlessEmpty("PLATEN_PTXSIM_REPORT", options.report);
  setUnlessEmpty("PLATEN_PTXSIM_MEMORY", options.memory);
  setUnlessEmpty("PLATEN_PTXSIM_CHECKS", options.checks);
  setUnlessEmpty("PLATEN_PTXSIM_PEER", options.peer);
  setUnlessEmpty("PLATEN_PTXSIM_PTX_PATH", options.ptxPath);
  setUnlessEmpty("PLATEN_PTXSIM_EVENT_TIME", options.eventTime);
  setUnlessEmpty("PLATEN_PTXSIM_THREADS", options.threads);
  setenv("PLATEN_PTXSIM_LOG", log.c_str(), 1);
}

/// Exit code as a shell would give it; kCannotRun if the program did not start.
int runProgram(const std::vector<std::string> &program, const std::string &folder) {
  pid_t child = fork();
  if (child == 0) {
    prepend("LD_LIBRARY_PATH", folder);
    prepend("LD_PRELOAD", folder + "/libcuda.so.1"); // a program's own search path comes first
    std::vector<char *> arguments;
    for (const std::string &argument : program)
      arguments.push_back(const_cast<char *>(argument.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    std::cerr << "platen-ptxsim: cannot run '" << program[0] << "': " << std::strerror(errno)
              << "\n";
    _exit(kCannotRun);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child < 0)
    return kCannotRun;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run(const RunOptions &options) {
  std::string folder = libraryFolder();
  if (folder.empty()) {
    std::cerr << "platen-ptxsim: libcuda.so.1 of the simulator is neither in the build tree nor at "
                 "its installed place\n";
    return kCannotRun;
  }
  std::string log = (fs::temp_directory_path() / "platen-ptxsim.XXXXXX").string();
  int file = mkstemp(log.data());
  if (file < 0) {
    std::cerr << "platen-ptxsim: cannot create " << log << "\n";
    return kCannotRun;
  }
  close(file);
  setEnvironment(options, log);
  auto settings =
      driver::Settings::read([](const char *name) -> const char * { return std::getenv(name); });
  if (!settings) {
    std::cerr << "platen-ptxsim: " << settings.status().message() << "\n";
    fs::remove(log);
    return kCannotRun;
  }
  int exitCode = runProgram(options.program, folder);
  std::vector<std::string> violations;
  std::ifstream lines(log);
  for (std::string line; std::getline(lines, line);)
    violations.push_back(std::move(line));
  fs::remove(log);
  if (violations.empty())
    return exitCode;
  std::cerr << "platen-ptxsim: " << violations.size()
            << (violations.size() == 1 ? " violation" : " violations") << ":\n";
  for (const std::string &violation : violations)
    std::cerr << "  " << violation << "\n";
  return exitCode == 0 && !options.keepExitCode ? kViolationsFound : exitCode;
}

} // namespace

void addRunCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<RunOptions>();
  CLI::App *command = app.add_subcommand("run", "Run a program of the CUDA driver API");
  command->add_option("--devices", options->devices,
                      "Simulated GPUs, e.g. sm_80,sm_90a (one sm_80)");
  command->add_option("--memory", options->memory, "Memory of each GPU, e.g. 2GiB (8GiB)");
  command->add_option("--peer", options->peer, "Peer access: all, none, or pairs such as 0-1,2-3");
  command->add_option("--async", options->async,
                      "When asynchronous work happens: earliest, latest or random (latest)");
  command->add_option("--seed", options->seed, "Seed of --async random");
  command->add_option("--checks", options->checks,
                      "races,uninitialised,tensor-fences (these three unless said otherwise), "
                      "lane-races, global-races, all or none");
  command->add_option("--threads", options->threads, "Host threads for a kernel (all cores)");
  command->add_option("--counters", options->counters, "Count, and print at exit: table or json");
  command->add_option("--report", options->report, "File for the report as JSON");
  command->add_option("--ptx-path", options->ptxPath,
                      "Folder with <hash>.ptx for cubins that come without PTX");
  command->add_option("--event-time", options->eventTime,
                      "wall: cuEventElapsedTime answers with the host's time (refused)");
  command->add_flag("--keep-exit-code", options->keepExitCode,
                    "Exit with the program's code even if violations were found");
  command->add_option("program", options->program, "The program and its arguments, after --")
      ->required();
  command->positionals_at_end();
  command->callback([options, &exitCode] { exitCode = run(*options); });
}

} // namespace platen::ptxsim::cli
