// The three phases of schedule.h over plain counters.
#include "runtime/schedule/schedule.h"

#include <algorithm>
#include <string>

namespace platen::schedule {
namespace {

using cache::pagesFor;

class Planner {
public:
  Planner(std::span<const SequenceState> queue, int64_t free_pages, const Limits &limits)
      : queue_(queue), limits_(limits), free_pages_(free_pages), tokens_left_(limits.step_tokens),
        rows_left_(limits.step_rows) {
    while (running_ < queue.size() && queue[running_].running)
      ++running_;
  }

  StepPlan plan() {
    entitlePages();
    for (size_t i = 0; i < ready_; ++i)
      if (pending(i) == 1)
        assign(i);
    for (size_t i = 0; i < ready_; ++i)
      if (pending(i) > 1)
        assign(i);
    if (ready_ == running_ && plan_.preempted.empty())
      admit();
    return std::move(plan_);
  }

private:
  int64_t pending(size_t i) const { return queue_[i].known_tokens - queue_[i].cached_tokens; }
  int64_t missingPages(size_t i) const {
    int64_t needed = pagesFor(queue_[i].known_tokens, limits_.page_tokens);
    return std::max<int64_t>(needed - queue_[i].held_pages, 0);
  }

  // Phase 1. Sequences [0, ready_) have every page they need; the one after them, if still running,
  // waits.
  void entitlePages() {
    for (ready_ = 0; ready_ < running_; ++ready_) {
      int64_t missing = missingPages(ready_);
      int64_t reachable = free_pages_;
      for (size_t younger = ready_ + 1; younger < running_; ++younger)
        reachable += queue_[younger].held_pages;
      if (missing > reachable)
        return;
      while (missing > free_pages_) {
        --running_;
        free_pages_ += queue_[running_].held_pages;
        plan_.preempted.push_back(running_);
      }
      free_pages_ -= missing;
    }
  }

  // Phase 2: as much of sequence i as the budgets allow.
  void assign(size_t i) {
    const SequenceState &sequence = queue_[i];
    int64_t end = std::min(sequence.known_tokens, sequence.cached_tokens + tokens_left_);
    end = std::min(end, std::max(sequence.cached_tokens, sequence.first_row) + rows_left_);
    if (end <= sequence.cached_tokens)
      return;
    Assignment range;
    range.sequence = i;
    range.first = sequence.cached_tokens;
    range.tokens = end - range.first;
    range.rows = std::max<int64_t>(end - std::max(range.first, sequence.first_row), 0);
    range.new_pages =
        std::max<int64_t>(pagesFor(end, limits_.page_tokens) - sequence.held_pages, 0);
    tokens_left_ -= range.tokens;
    rows_left_ -= range.rows;
    plan_.assignments.push_back(range);
  }

  // Phase 3.
  void admit() {
    auto running = static_cast<int64_t>(running_);
    for (size_t i = running_; i < queue_.size(); ++i, ++running) {
      int64_t needed = missingPages(i);
      if (running >= limits_.max_sequences || tokens_left_ == 0 || needed + running > free_pages_)
        return;
      size_t before = plan_.assignments.size();
      assign(i);
      if (plan_.assignments.size() == before)
        return; // no row left
      free_pages_ -= needed;
    }
  }

  std::span<const SequenceState> queue_;
  const Limits &limits_;
  int64_t free_pages_;
  int64_t tokens_left_;
  int64_t rows_left_;
  size_t running_ = 0;
  size_t ready_ = 0;
  StepPlan plan_;
};

} // namespace

base::Status validate(const Limits &limits) {
  if (limits.context_tokens <= 0 || limits.step_tokens <= 0 || limits.step_rows <= 0 ||
      limits.max_sequences <= 0 || limits.page_tokens <= 0 || limits.total_pages <= 0)
    return base::invalidArgument("every limit of the scheduler must be at least 1");
  if (limits.max_sequences > std::min(limits.step_tokens, limits.step_rows))
    return base::invalidArgument(std::to_string(limits.max_sequences) +
                                 " running sequences do not fit into steps of " +
                                 std::to_string(limits.step_tokens) + " tokens and " +
                                 std::to_string(limits.step_rows) + " rows");
  return {};
}

base::Status checkFits(int64_t tokens, const Limits &limits) {
  if (tokens > limits.context_tokens)
    return base::invalidArgument("the sequence takes " + std::to_string(tokens) +
                                 " positions, the context has " +
                                 std::to_string(limits.context_tokens));
  int64_t pages = pagesFor(tokens, limits.page_tokens);
  if (pages > limits.total_pages)
    return base::resourceExhausted(
        "the sequence may take " + std::to_string(tokens) + " positions, which need " +
        std::to_string(pages) + " KV pages of " + std::to_string(limits.page_tokens) +
        " tokens, but the whole pool has " + std::to_string(limits.total_pages));
  return {};
}

StepPlan schedule(std::span<const SequenceState> queue, int64_t free_pages, const Limits &limits) {
  return Planner(queue, free_pages, limits).plan();
}

} // namespace platen::schedule
