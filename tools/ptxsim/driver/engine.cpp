#include "tools/ptxsim/driver/engine.h"

#include "tools/ptxsim/driver/objects.h"

#include <algorithm>

namespace platen::ptxsim::driver {
namespace {
thread_local bool isExecutor = false;
} // namespace

Engine::Engine(const Settings &settings, std::mutex &mutex)
    : settings_(settings), mutex_(mutex), random_(settings.seed) {}

Engine::Executor &Engine::executorOf(int which) {
  Executor &executor = executors_[which];
  if (!executor.thread.joinable() && !stopping_)
    executor.thread = std::thread([this, &executor] { loop(executor); });
  return executor;
}

void Engine::submit(const WorkPointer &work, const std::vector<WorkPointer> &after) {
  work->id = nextId_++;
  work->submittedAt = std::chrono::steady_clock::now();
  open_[work->id] = work;
  for (const WorkPointer &other : after) {
    if (!other || other->isDone ||
        std::find(work->after.begin(), work->after.end(), other) != work->after.end())
      continue;
    work->after.push_back(other);
    other->before.push_back(work);
    ++work->missing;
  }
  bool atOnce = settings_.order == AsyncOrder::kEarliest ||
                (settings_.order == AsyncOrder::kRandom && random_() % 4 == 0);
  if (work->missing == 0)
    becomeReady(work);
  if (atOnce)
    force(work);
}

void Engine::becomeReady(const WorkPointer &work) {
  if (!work->perform) {
    complete(work);
    return;
  }
  Executor &executor = executorOf(work->executor);
  executor.ready.push_back(work);
  executor.wake.notify_one();
}

void Engine::complete(WorkPointer first) {
  std::vector<WorkPointer> finished{std::move(first)};
  while (!finished.empty()) {
    WorkPointer work = std::move(finished.back());
    finished.pop_back();
    work->isDone = true;
    work->doneAt = std::chrono::steady_clock::now();
    work->after.clear();
    work->perform = nullptr;
    open_.erase(work->id);
    for (WorkPointer &next : work->before)
      if (--next->missing == 0) {
        if (next->perform)
          becomeReady(next);
        else
          finished.push_back(next);
      }
    work->before.clear();
  }
  done_.notify_all();
}

void Engine::force(const WorkPointer &work) {
  std::vector<WorkPointer> open{work};
  while (!open.empty()) {
    WorkPointer next = std::move(open.back());
    open.pop_back();
    if (!next || next->isDone || next->isForced)
      continue;
    next->isForced = true;
    open.insert(open.end(), next->after.begin(), next->after.end());
  }
  for (auto &[which, executor] : executors_)
    executor.wake.notify_one();
}

void Engine::forceAll() {
  for (auto &[id, work] : open_)
    work->isForced = true;
  for (auto &[which, executor] : executors_)
    executor.wake.notify_one();
}

void Engine::wait(Lock &lock, const WorkPointer &work) {
  if (!work || work->isDone)
    return;
  if (settings_.order == AsyncOrder::kRandom && random_() % 2 == 0)
    forceAll();
  force(work);
  done_.wait(lock, [&] { return work->isDone || stopping_; });
}

WorkPointer Engine::pick(Executor &executor, std::chrono::steady_clock::time_point &wakeAt) {
  auto now = std::chrono::steady_clock::now();
  wakeAt = now + std::chrono::hours(1);
  std::vector<size_t> mayStart;
  for (size_t i = 0; i < executor.ready.size(); ++i) {
    Work &work = *executor.ready[i];
    if (!work.isForced && now - work.submittedAt >= settings_.grace)
      work.isForced = true;
    if (work.isForced)
      mayStart.push_back(i);
    else
      wakeAt = std::min(wakeAt, work.submittedAt + settings_.grace);
  }
  if (mayStart.empty())
    return nullptr;
  auto older = [&](size_t a, size_t b) { return executor.ready[a]->id < executor.ready[b]->id; };
  size_t chosen = 0;
  switch (settings_.order) {
  case AsyncOrder::kEarliest:
    chosen = *std::min_element(mayStart.begin(), mayStart.end(), older);
    break;
  case AsyncOrder::kLatest:
    chosen = *std::max_element(mayStart.begin(), mayStart.end(), older);
    break;
  case AsyncOrder::kRandom:
    chosen = mayStart[random_() % mayStart.size()];
    break;
  }
  WorkPointer work = executor.ready[chosen];
  executor.ready.erase(executor.ready.begin() + static_cast<ptrdiff_t>(chosen));
  return work;
}

void Engine::loop(Executor &executor) {
  isExecutor = true;
  Lock lock(mutex_);
  while (!stopping_) {
    std::chrono::steady_clock::time_point wakeAt;
    WorkPointer work = pick(executor, wakeAt);
    if (!work) {
      executor.wake.wait_until(lock, wakeAt);
      continue;
    }
    if (work->context->error == CUDA_SUCCESS || work->evenIfFailed) {
      auto perform = std::move(work->perform);
      lock.unlock();
      CUresult result = perform();
      perform = nullptr; // what it holds may need no lock either
      lock.lock();
      if (result != CUDA_SUCCESS && work->context->error == CUDA_SUCCESS)
        work->context->error = result;
    }
    complete(std::move(work));
  }
}

size_t Engine::shutDown(Lock &lock) {
  stopping_ = true;
  done_.notify_all();
  for (auto &[which, executor] : executors_)
    executor.wake.notify_one();
  for (auto &[which, executor] : executors_) {
    if (!executor.thread.joinable())
      continue;
    if (isExecutor) { // a host function ended the process
      executor.thread.detach();
      continue;
    }
    lock.unlock();
    executor.thread.join();
    lock.lock();
  }
  size_t lost = 0;
  for (auto &[id, work] : open_)
    lost += work->perform ? 1 : 0;
  return lost;
}

} // namespace platen::ptxsim::driver
