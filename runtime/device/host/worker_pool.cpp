// Epoch barrier. The caller publishes work_ and raises epoch_; each worker runs its range and
// lowers running_; the caller waits for 0. Sleeping is announced before the futex call, and the
// waker looks at the announcement after its store, both sequentially consistent: one of the two
// always sees the other, so no wake-up is lost.
#include "runtime/device/host/worker_pool.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <linux/futex.h>
#include <pthread.h>
#include <string>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

#include "runtime/device/host/topology.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace platen::device {
namespace {

using base::Status;

void pauseCpu() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Kernels run with the default rounding and without flushing denormals, whatever the calling
/// thread has set: results must not depend on which thread computes them.
class DefaultFloatMode {
public:
#if defined(__x86_64__)
  DefaultFloatMode() : saved_(_mm_getcsr()) {
    if ((saved_ & ~kFlags) != kDefault)
      _mm_setcsr(kDefault);
  }
  ~DefaultFloatMode() {
    if ((saved_ & ~kFlags) != kDefault)
      _mm_setcsr(saved_);
  }

private:
  static constexpr unsigned kFlags = 0x3f, kDefault = 0x1f80;
  unsigned saved_;
#else
  DefaultFloatMode() {}
#endif
};

void futexWait(std::atomic<uint32_t> &word, uint32_t seen) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}

void futexWakeAll(std::atomic<uint32_t> &word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

} // namespace

base::Result<std::unique_ptr<WorkerPool>>
WorkerPool::create(unsigned threads, const std::vector<int> &cpus, unsigned spin_us) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool(threads, spin_us));
  pool->scratch_.resize(threads);
  PLATEN_RETURN_IF_ERROR(pool->start(cpus));
  return pool;
}

Status WorkerPool::start(const std::vector<int> &cpus) {
  for (unsigned index = 1; index < threads_; ++index) {
    try {
      workers_.emplace_back([this, index] { workerMain(index); });
    } catch (const std::system_error &error) {
      return base::resourceExhausted("cannot start worker thread " + std::to_string(index) +
                                     " of " + std::to_string(threads_) + ": " + error.what());
    }
    // A CPU may have gone offline since the mask was read; the thread then runs where it may.
    if (index < cpus.size())
      (void)pinThread(workers_.back().native_handle(), cpus[index]);
    (void)pthread_setname_np(workers_.back().native_handle(), "platen-worker");
  }
  return Status::ok();
}

WorkerPool::~WorkerPool() {
  stop_ = true;
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  futexWakeAll(epoch_);
  for (auto &worker : workers_)
    worker.join();
}

Status WorkerPool::reserveScratch(uint64_t bytes) {
  for (auto &scratch : scratch_) {
    if (scratch.size() >= bytes)
      continue;
    PLATEN_ASSIGN_OR_RETURN(scratch,
                            base::AlignedBuffer::create(bytes, "scratch of a worker thread"));
  }
  return Status::ok();
}

uint32_t WorkerPool::waitWhileEqual(std::atomic<uint32_t> &word, uint32_t seen,
                                    std::atomic<uint32_t> &sleepers) const {
  using Clock = std::chrono::steady_clock;
  constexpr int kPausesPerLook = 64;
  auto deadline = Clock::time_point::max();
  while (spin_us_ != 0) {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (uint32_t value = word.load(std::memory_order_acquire); value != seen)
        return value;
      pauseCpu();
    }
    auto now = Clock::now();
    if (deadline == Clock::time_point::max())
      deadline = now + std::chrono::microseconds(spin_us_);
    else if (now >= deadline)
      break;
  }
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  uint32_t value = word.load(std::memory_order_seq_cst);
  for (; value == seen; value = word.load(std::memory_order_seq_cst))
    futexWait(word, seen);
  sleepers.fetch_sub(1, std::memory_order_relaxed);
  return value;
}

void WorkerPool::runRange(unsigned index, int64_t begin, int64_t end) const {
  if (begin >= end)
    return;
  if (!work_.scratch)
    return work_.function(work_.operands, begin, end);
  void *table[kMaxTableOperands + 1];
  std::copy_n(work_.operands, work_.operand_count, table);
  table[work_.operand_count] = scratch_[index].data();
  work_.function(table, begin, end);
}

void WorkerPool::runShare(unsigned index) const {
  // The first `rest` threads take one unit more.
  int64_t share = units_ / threads_, rest = units_ % threads_;
  int64_t begin = share * index + std::min<int64_t>(index, rest);
  runRange(index, begin, begin + share + (index < rest ? 1 : 0));
}

void WorkerPool::workerMain(unsigned index) {
  DefaultFloatMode mode;
  for (uint32_t seen = 0;;) {
    seen = waitWhileEqual(epoch_, seen, sleeping_workers_);
    if (stop_)
      return;
    runShare(index);
    if (running_.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
        sleeping_caller_.load(std::memory_order_seq_cst) != 0)
      futexWakeAll(running_);
  }
}

void WorkerPool::run(const Work &work, int64_t units) {
  DefaultFloatMode mode;
  work_ = work;
  units_ = units;
  if (threads_ == 1 || units == 1) // nobody needs to be woken
    return runRange(0, 0, units);
  running_.store(threads_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_workers_.load(std::memory_order_seq_cst) != 0)
    futexWakeAll(epoch_);
  runShare(0);
  for (uint32_t left = running_.load(std::memory_order_acquire); left != 0;)
    left = waitWhileEqual(running_, left, sleeping_caller_);
}

} // namespace platen::device
