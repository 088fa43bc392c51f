// Threads that run one kernel over a range of units together and meet at a barrier.
//
// run() cuts [0, units) into one contiguous range a thread, fixed by units and thread count alone;
// the caller takes the first. Waiting threads spin for a while (a barrier then costs about 0.1-0.2
// us), then sleep on a futex.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/status.h"
#include "runtime/plan/kernel_abi.h"

namespace platen::device {

struct Work {
  PlatenHostKernel function = nullptr;
  void *const *operands = nullptr; // [operand_count], without the scratch
  size_t operand_count = 0;        // at most kMaxTableOperands
  bool scratch = false;            // append the thread's scratch to the operands
};

class WorkerPool {
public:
  /// The step, and as many operands as a plan's launch may have.
  static constexpr size_t kMaxTableOperands = 65;

  /// `cpus`: the CPU of each thread (that of the caller, [0], is not touched); empty: no pinning.
  static base::Result<std::unique_ptr<WorkerPool>>
  create(unsigned threads, const std::vector<int> &cpus, unsigned spin_us);
  ~WorkerPool();

  unsigned threads() const { return threads_; }
  /// Gives each thread at least so much scratch, 64-byte aligned. Not during run().
  base::Status reserveScratch(uint64_t bytes);
  /// Runs all units and returns when the last is done. One caller at a time.
  void run(const Work &work, int64_t units);

private:
  WorkerPool(unsigned threads, unsigned spin_us) : threads_(threads), spin_us_(spin_us) {}
  base::Status start(const std::vector<int> &cpus);
  void workerMain(unsigned index);
  void runRange(unsigned index, int64_t begin, int64_t end) const;
  void runShare(unsigned index) const;
  /// Waits until `word` differs from `seen` and returns its value; announces its sleep in
  /// `sleepers`.
  uint32_t waitWhileEqual(std::atomic<uint32_t> &word, uint32_t seen,
                          std::atomic<uint32_t> &sleepers) const;

  // Written by the caller before it raises epoch_, read by workers after they saw that.
  Work work_;
  int64_t units_ = 0;
  bool stop_ = false;
  std::vector<base::AlignedBuffer> scratch_; // one a thread

  const unsigned threads_;
  const unsigned spin_us_;
  std::vector<std::thread> workers_;
  // Each on its own cache line: the caller writes the first, the workers the second.
  alignas(64) std::atomic<uint32_t> epoch_{0};   // grows with every run
  alignas(64) std::atomic<uint32_t> running_{0}; // workers that have not finished the present run
  alignas(64) std::atomic<uint32_t> sleeping_workers_{0};
  std::atomic<uint32_t> sleeping_caller_{0};
};

} // namespace platen::device
