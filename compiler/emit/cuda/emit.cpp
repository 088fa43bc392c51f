#include "compiler/emit/cuda/emit.h"

#include "compiler/emit/cuda/fatbin.h"
#include "compiler/emit/cuda/frames.h"
#include "compiler/emit/cuda/nvrtc.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <optional>
#include <spawn.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace platen::compiler {

namespace {

using base::Result;
using base::Status;

Result<std::string> findWorker(const std::string &preferred) {
  std::vector<std::filesystem::path> candidates;
  if (!preferred.empty()) {
    candidates.emplace_back(preferred);
  } else {
    if (const char *path = std::getenv("PLATEN_NVRTC_WORKER"); path != nullptr && *path != '\0')
      candidates.emplace_back(path);
    std::error_code ignored;
    candidates.push_back(std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() /
                         "platen-nvrtc-worker");
#ifdef PLATEN_NVRTC_WORKER_BUILT
    candidates.emplace_back(PLATEN_NVRTC_WORKER_BUILT);
#endif
  }
  std::string tried;
  for (const std::filesystem::path &path : candidates) {
    if (access(path.c_str(), X_OK) == 0)
      return path.string();
    tried += " " + path.string();
  }
  return base::notFound("the program platen-nvrtc-worker is not there; tried:" + tried, "nvrtc");
}

/// A worker process and the pipes to it. Killed when destroyed.
class Worker {
public:
  static Result<std::unique_ptr<Worker>> start(const std::string &program,
                                               const std::vector<std::string> &libraries) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0)
      return base::ioError("no pipe for a worker", "nvrtc");
    if (pipe2(out, O_CLOEXEC) != 0) {
      close(in[0]), close(in[1]);
      return base::ioError("no pipe for a worker", "nvrtc");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::vector<char *> arguments = {const_cast<char *>(program.c_str())};
    for (const std::string &library : libraries)
      arguments.push_back(const_cast<char *>(library.c_str()));
    arguments.push_back(nullptr);
    auto worker = std::make_unique<Worker>();
    const int code = posix_spawn(&worker->process_, program.c_str(), &actions, nullptr,
                                 arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]), close(out[1]);
    worker->requests_ = in[1], worker->answers_ = out[0];
    if (code != 0) {
      worker->process_ = -1;
      return base::ioError("'" + program + "' does not start", "nvrtc");
    }
    return worker;
  }
  Worker() = default;
  Worker(const Worker &) = delete;
  Worker &operator=(const Worker &) = delete;
  ~Worker() {
    close(requests_);
    close(answers_);
    if (process_ <= 0)
      return;
    kill(process_, SIGKILL); // it holds nothing that must be put away
    while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  Result<Frame> ask(const Frame &request, unsigned seconds) {
    PLATEN_RETURN_IF_ERROR(writeFrame(requests_, request));
    PLATEN_ASSIGN_OR_RETURN(Frame answer, readFrame(answers_, std::chrono::steady_clock::now() +
                                                                  std::chrono::seconds(seconds)));
    if (answer.empty())
      return base::internalError("the worker process ended; NVRTC may have crashed", "nvrtc");
    return answer;
  }

private:
  pid_t process_ = -1;
  int requests_ = -1, answers_ = -1;
};

/// Writing to a worker that has died must give an error, not a signal, in this thread alone.
class IgnoreBrokenPipes {
public:
  IgnoreBrokenPipes() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }
};

std::vector<std::string> workerArguments(const CudaEmitOptions &options) {
  std::vector<std::string> arguments = nvrtcCandidates(options.nvrtc);
  arguments.emplace_back("--");
  for (std::string &library : fatbinCandidates(options.nvfatbin))
    arguments.push_back(std::move(library));
  return arguments;
}

Status checkSpills(const CudaCode &code) {
  for (const CudaEntryResources &entry : code.entries)
    if (entry.spillStoreBytes + entry.spillLoadBytes + entry.stackBytes != 0)
      return base::internalError("'" + entry.entry + "' keeps " + std::to_string(entry.stackBytes) +
                                     " bytes of stack and spills " +
                                     std::to_string(entry.spillStoreBytes) +
                                     " bytes of registers; choose a smaller tile",
                                 code.name + " for " + code.architecture);
  return Status::ok();
}

Result<CudaCode> codeOf(const CudaJob &job, Frame answer, bool refuseSpills) {
  const std::string origin = job.name + " for " + job.architecture;
  if (answer.size() == 3 && answer[0] == "error")
    return Status(static_cast<base::StatusCode>(std::atoi(answer[1].c_str())), answer[2], origin);
  if (answer.size() != 5 || answer[0] != "ok")
    return base::internalError("the worker answers what it should not", origin);
  CudaCode code{
      job.name, job.architecture, std::move(answer[1]), std::move(answer[2]), std::move(answer[3]),
      {}};
  if (code.ptx.empty() || (job.architecture.starts_with("sm_") && code.cubin.empty()))
    return base::internalError("NVRTC gave no code", origin);
  if (!code.cubin.empty()) {
    PLATEN_ASSIGN_OR_RETURN(code.entries, parsePtxasLog(answer[4]));
    if (refuseSpills)
      PLATEN_RETURN_IF_ERROR(checkSpills(code));
  }
  return code;
}

/// One emission: threads that each feed a worker process.
class Emission {
public:
  Emission(std::span<const CudaJob> jobs, const CudaEmitOptions &options, std::string program)
      : jobs_(jobs), options_(options), program_(std::move(program)),
        libraries_(workerArguments(options)), results_(jobs.size()) {}

  Result<std::vector<CudaCode>> run() {
    const size_t count =
        std::clamp<size_t>(options_.processes, 1, std::max<size_t>(1, jobs_.size()));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i)
      threads.emplace_back([this] { work(); });
    for (std::thread &thread : threads)
      thread.join();
    if (!failure_.isOk())
      return failure_;
    std::vector<CudaCode> all;
    for (std::optional<CudaCode> &one : results_)
      all.push_back(std::move(*one));
    return all;
  }

private:
  void work() {
    const IgnoreBrokenPipes ignore;
    std::unique_ptr<Worker> worker;
    for (size_t i = next_++; i < jobs_.size() && !failed_; i = next_++) {
      Result<CudaCode> code = compile(worker, jobs_[i]);
      const std::lock_guard lock(mutex_);
      if (!code.isOk()) {
        // The first job in order decides, so that equal inputs give equal errors.
        if (failure_.isOk() || i < failedJob_)
          failure_ = code.status(), failedJob_ = i;
        failed_ = true;
        return;
      }
      results_[i] = std::move(code).value();
      if (options_.progress)
        options_.progress(++done_, jobs_.size());
    }
  }

  Result<CudaCode> compile(std::unique_ptr<Worker> &worker, const CudaJob &job) {
    const std::string origin = job.name + " for " + job.architecture;
    if (options_.cancelled) {
      const std::lock_guard lock(mutex_);
      if (options_.cancelled())
        return Status(base::StatusCode::kCancelled, "the caller cancelled", origin);
    }
    if (!worker) {
      PLATEN_ASSIGN_OR_RETURN(worker, Worker::start(program_, libraries_));
    }
    Result<Frame> answer =
        worker->ask({job.name, job.architecture, job.source}, options_.timeoutSeconds);
    if (!answer.isOk()) {
      worker.reset();
      return Status(answer.status().code(), std::string(answer.status().message()), origin);
    }
    return codeOf(job, std::move(answer).value(), options_.refuseSpills);
  }

  std::span<const CudaJob> jobs_;
  const CudaEmitOptions &options_;
  std::string program_;
  std::vector<std::string> libraries_;
  std::vector<std::optional<CudaCode>> results_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_; // of what follows
  size_t done_ = 0, failedJob_ = 0;
  Status failure_;
};

} // namespace

Status findCudaCompiler(const CudaEmitOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(const std::string program, findWorker(options.worker));
  const IgnoreBrokenPipes ignore;
  PLATEN_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker,
                          Worker::start(program, workerArguments(options)));
  PLATEN_ASSIGN_OR_RETURN(const Frame answer, worker->ask({"hello"}, options.timeoutSeconds));
  if (answer.size() == 3 && answer[0] == "error")
    return {static_cast<base::StatusCode>(std::atoi(answer[1].c_str())), answer[2], "cuda"};
  return Status::ok();
}

Result<std::vector<CudaCode>> emitCuda(std::span<const CudaJob> jobs,
                                       const CudaEmitOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(std::string program, findWorker(options.worker));
  return Emission(jobs, options, std::move(program)).run();
}

} // namespace platen::compiler
