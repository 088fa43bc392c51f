// Engine: the order in which queued work happens.
//
// Work is a graph: each piece follows others (the one before it in its stream, an event, an edge of
// a CUDA graph). One thread for each device, and one for host functions, executes what is ready;
// one piece at a time on each. Nothing else is promised, and the engine uses that freedom against
// the program:
//   earliest  everything starts as soon as it can, the oldest first
//   latest    nothing starts before somebody waits for it (or for what follows it); of what may
//             start, the newest goes first, so that a missing dependency shows
//   random    drawn from the seed: what starts at once, whether a wait also starts what it does not
//             need, and who goes first
// Work that nobody waits for starts after a grace period (a program may watch memory instead).
// Thread-safety: everything is guarded by the one mutex of the driver, which is not held while work
// executes.
#pragma once

#include "tools/ptxsim/driver/settings.h"

#include <condition_variable>
#include <cuda.h>
#include <mutex>
#include <random>
#include <thread>

namespace platen::ptxsim::driver {

struct Context;
using Lock = std::unique_lock<std::mutex>;

inline constexpr int kHostExecutor = -1;

struct Work {
  std::shared_ptr<Context> context;
  int executor = 0; // device, or kHostExecutor
  /// What is done, without the mutex. Empty: a marker, done as soon as what it follows is.
  std::function<CUresult()> perform;
  /// Performed even if the context has failed meanwhile.
  bool evenIfFailed = false;
  bool isDone = false;
  std::chrono::steady_clock::time_point doneAt;

private:
  friend class Engine;
  uint64_t id = 0;
  bool isForced = false;
  size_t missing = 0; // of `after`
  std::vector<std::shared_ptr<Work>> after, before;
  std::chrono::steady_clock::time_point submittedAt;
};
using WorkPointer = std::shared_ptr<Work>;

class Engine {
public:
  Engine(const Settings &settings, std::mutex &mutex);
  /// Queues `work` behind `after` (null and finished entries do not matter).
  void submit(const WorkPointer &work, const std::vector<WorkPointer> &after);
  /// Lets `work` and all that it follows start, without waiting.
  void force(const WorkPointer &work);
  /// force(), and waits until it is done.
  void wait(Lock &lock, const WorkPointer &work);
  /// Stops the threads after what they execute now. Returns how many pieces were never executed.
  size_t shutDown(Lock &lock);

private:
  struct Executor {
    std::thread thread;
    std::condition_variable wake;
    std::vector<WorkPointer> ready;
  };
  Executor &executorOf(int which);
  void loop(Executor &executor);
  WorkPointer pick(Executor &executor, std::chrono::steady_clock::time_point &wakeAt);
  void becomeReady(const WorkPointer &work);
  void complete(WorkPointer work);
  void forceAll();

  const Settings &settings_;
  std::mutex &mutex_;
  std::condition_variable done_;
  std::map<int, Executor> executors_; // never shrinks: references stay valid
  std::map<uint64_t, WorkPointer> open_;
  std::mt19937_64 random_;
  uint64_t nextId_ = 1;
  bool stopping_ = false;
};

} // namespace platen::ptxsim::driver
