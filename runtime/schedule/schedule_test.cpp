// The policy case by case, then thousands of random lives against a simulated engine with a real
// page pool: no page lost, none shared, nobody starved, every request executes each of its
// positions and asks for each of its rows.
#include "runtime/schedule/schedule.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <list>
#include <random>
#include <set>

namespace platen::schedule {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr Limits kLimits{.context_tokens = 1000,
                         .step_tokens = 32,
                         .step_rows = 8,
                         .max_sequences = 4,
                         .page_tokens = 16,
                         .total_pages = 10};

SequenceState waiting(int64_t known) { return {.known_tokens = known, .first_row = known - 1}; }
SequenceState running(int64_t known, int64_t cached, int64_t pages) {
  return {known, cached, known - 1, pages, true};
}

TEST(Schedule, PrefillIsCutIntoChunksAndAsksForItsLastRowOnly) {
  SequenceState state = waiting(50);
  StepPlan first = schedule({&state, 1}, 10, kLimits);
  ASSERT_EQ(first.assignments.size(), 1u);
  EXPECT_EQ(first.assignments[0].tokens, 32);
  EXPECT_EQ(first.assignments[0].rows, 0);
  EXPECT_EQ(first.assignments[0].new_pages, 2);
  state = running(50, 32, 2);
  StepPlan second = schedule({&state, 1}, 8, kLimits);
  ASSERT_EQ(second.assignments.size(), 1u);
  EXPECT_EQ(second.assignments[0].first, 32);
  EXPECT_EQ(second.assignments[0].tokens, 18);
  EXPECT_EQ(second.assignments[0].rows, 1);
  EXPECT_EQ(second.assignments[0].new_pages, 2);
}

TEST(Schedule, DecodesGoBeforeAnOlderPrefill) {
  std::vector<SequenceState> queue{running(60, 10, 1), running(11, 10, 1), running(21, 20, 2)};
  StepPlan plan = schedule(queue, 6, kLimits);
  ASSERT_EQ(plan.assignments.size(), 3u);
  EXPECT_EQ(plan.assignments[0].sequence, 1u);
  EXPECT_EQ(plan.assignments[1].sequence, 2u);
  EXPECT_EQ(plan.assignments[2].sequence, 0u);
  EXPECT_EQ(plan.assignments[2].tokens, 30) << "the prefill gets what the decodes leave";
}

TEST(Schedule, PreemptsTheYoungestWhenAnOlderOneNeedsItsPages) {
  std::vector<SequenceState> queue{running(65, 64, 4), running(49, 48, 3), running(40, 39, 3)};
  StepPlan plan = schedule(queue, 0, kLimits);
  EXPECT_THAT(plan.preempted, ElementsAre(2));
  ASSERT_EQ(plan.assignments.size(), 2u) << "both older ones got a page";
  EXPECT_EQ(plan.assignments[0].new_pages + plan.assignments[1].new_pages, 2);
}

TEST(Schedule, TheYoungestWaitsRatherThanLosingItsOwnPages) {
  std::vector<SequenceState> queue{running(100, 99, 7), running(49, 48, 3)};
  StepPlan plan = schedule(queue, 0, kLimits);
  EXPECT_THAT(plan.preempted, IsEmpty());
  ASSERT_EQ(plan.assignments.size(), 1u);
  EXPECT_EQ(plan.assignments[0].sequence, 0u);
}

TEST(Schedule, NobodyOvertakesTheHeadOfTheQueue) {
  std::vector<SequenceState> queue{running(97, 96, 6), waiting(100), waiting(1)};
  StepPlan plan = schedule(queue, 4, kLimits);
  ASSERT_EQ(plan.assignments.size(), 1u)
      << "100 tokens need 7 pages; the short request stays behind";
  EXPECT_EQ(plan.assignments[0].sequence, 0u);
}

TEST(Schedule, NeverRunsMoreSequencesThanAllowed) {
  std::vector<SequenceState> queue(6, waiting(1));
  EXPECT_EQ(schedule(queue, 10, kLimits).assignments.size(), 4u);
}

TEST(Schedule, RowsOfAScoredSequenceCutItsRange) {
  SequenceState state{.known_tokens = 30, .first_row = 5};
  StepPlan plan = schedule({&state, 1}, 10, kLimits);
  ASSERT_EQ(plan.assignments.size(), 1u);
  EXPECT_EQ(plan.assignments[0].tokens, 13) << "5 tokens without a row, then the step's 8 rows";
  EXPECT_EQ(plan.assignments[0].rows, 8);
}

TEST(Schedule, EmptyQueueGivesAnEmptyPlan) {
  StepPlan plan = schedule({}, 10, kLimits);
  EXPECT_THAT(plan.assignments, IsEmpty());
  EXPECT_THAT(plan.preempted, IsEmpty());
}

TEST(CheckFits, RefusesWithNumbers) {
  EXPECT_TRUE(checkFits(160, kLimits).isOk());
  base::Status pages = checkFits(161, kLimits);
  EXPECT_EQ(pages.code(), base::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(pages.message()), testing::HasSubstr("11 KV pages of 16 tokens"));
  base::Status context = checkFits(1001, kLimits);
  EXPECT_EQ(context.code(), base::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(context.message()), testing::HasSubstr("1001"));
}

TEST(Validate, RefusesLimitsThatWouldStarveSomebody) {
  EXPECT_TRUE(validate(kLimits).isOk());
  Limits limits = kLimits;
  limits.max_sequences = 9;
  EXPECT_EQ(validate(limits).code(), base::StatusCode::kInvalidArgument);
  limits = kLimits;
  limits.total_pages = 0;
  EXPECT_EQ(validate(limits).code(), base::StatusCode::kInvalidArgument);
}

// One random life of an engine: requests arrive, are cancelled, fail to fit, and must finish.
class Life {
public:
  explicit Life(uint32_t seed) : random_(seed) {
    limits_ = {.context_tokens = 1 + below(200),
               .step_tokens = 1 + below(40),
               .step_rows = 1 + below(12),
               .max_sequences = 1,
               .page_tokens = 1 + below(20),
               .total_pages = 1 + below(30)};
    limits_.max_sequences = 1 + below(std::min(limits_.step_tokens, limits_.step_rows));
    pool_ = cache::PagePool(limits_.total_pages);
    arrivals_left_ = 1 + below(25);
  }

  void run() {
    ASSERT_TRUE(validate(limits_).isOk());
    int64_t steps = 0;
    while (arrivals_left_ > 0 || !sequences_.empty()) {
      for (; arrivals_left_ > 0 && below(4) == 0; --arrivals_left_)
        arrive();
      if (!sequences_.empty() && below(30) == 0)
        sequences_.erase(std::next(sequences_.begin(), below(std::ssize(sequences_))));
      ASSERT_NO_FATAL_FAILURE(step());
      ASSERT_LT(++steps, 100000) << "somebody starves";
    }
    ASSERT_EQ(pool_.freePages(), pool_.totalPages());
  }

  int64_t preemptions() const { return preemptions_; }
  int64_t finished() const { return finished_; }

private:
  struct Sequence {
    explicit Sequence(cache::SequencePages owned) : pages(std::move(owned)) {}
    SequenceState state;
    int64_t generate = 0; // tokens still to generate
    bool score = false;   // wants every row, generates nothing
    int64_t rows_seen = 0;
    int64_t rows_expected = 0;
    cache::SequencePages pages;
  };

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  void arrive() {
    int64_t prompt = 1 + below(below(3) == 0 ? 150 : 20);
    Sequence sequence(cache::SequencePages(pool_, limits_.page_tokens));
    sequence.score = below(5) == 0;
    sequence.generate = sequence.score ? 0 : 1 + below(100);
    sequence.state.known_tokens = prompt;
    sequence.state.first_row = sequence.score ? 0 : prompt - 1;
    sequence.rows_expected = sequence.score ? prompt : sequence.generate;
    int64_t longest = prompt + std::max<int64_t>(sequence.generate - 1, 0);
    bool fits =
        longest <= limits_.context_tokens && longest <= limits_.total_pages * limits_.page_tokens;
    ASSERT_EQ(checkFits(longest, limits_).isOk(), fits);
    if (fits)
      sequences_.push_back(std::move(sequence));
  }

  void step() {
    std::vector<SequenceState> queue;
    std::vector<Sequence *> by_index;
    for (Sequence &sequence : sequences_) {
      queue.push_back(sequence.state);
      by_index.push_back(&sequence);
    }
    StepPlan plan = schedule(queue, pool_.freePages(), limits_);
    for (size_t i : plan.preempted) {
      ASSERT_TRUE(by_index[i]->state.running);
      preempt(*by_index[i]);
    }
    ASSERT_NO_FATAL_FAILURE(checkPlan(plan, queue));
    for (const Assignment &range : plan.assignments)
      ASSERT_NO_FATAL_FAILURE(reserve(*by_index[range.sequence], range));
    ASSERT_NO_FATAL_FAILURE(checkPages());
    for (const Assignment &range : plan.assignments)
      ASSERT_NO_FATAL_FAILURE(execute(*by_index[range.sequence], range));
    ASSERT_NO_FATAL_FAILURE(checkRunning());
    for (const Sequence &sequence : sequences_)
      if (done(sequence)) {
        ASSERT_EQ(sequence.rows_seen, sequence.rows_expected);
        ++finished_;
      }
    sequences_.remove_if(done);
  }

  static bool done(const Sequence &sequence) {
    return sequence.state.cached_tokens == sequence.state.known_tokens;
  }

  void preempt(Sequence &sequence) {
    sequence.pages.clear();
    sequence.state.running = false;
    sequence.state.cached_tokens = sequence.state.held_pages = 0;
    ++preemptions_;
  }

  void checkPlan(const StepPlan &plan, std::span<const SequenceState> queue) {
    int64_t tokens = 0, rows = 0;
    std::set<size_t> touched(plan.preempted.begin(), plan.preempted.end());
    for (const Assignment &range : plan.assignments) {
      ASSERT_TRUE(touched.insert(range.sequence).second) << "assigned twice, or though preempted";
      const SequenceState &state = queue[range.sequence];
      ASSERT_EQ(range.first, state.cached_tokens);
      ASSERT_GE(range.tokens, 1);
      ASSERT_LE(range.first + range.tokens, state.known_tokens);
      int64_t expected_rows = 0;
      for (int64_t p = range.first; p < range.first + range.tokens; ++p)
        expected_rows += p >= state.first_row;
      ASSERT_EQ(range.rows, expected_rows);
      tokens += range.tokens;
      rows += range.rows;
    }
    ASSERT_LE(tokens, limits_.step_tokens);
    ASSERT_LE(rows, limits_.step_rows);
    if (!queue.empty()) {
      ASSERT_TRUE(std::any_of(plan.assignments.begin(), plan.assignments.end(),
                              [](const Assignment &range) { return range.sequence == 0; }))
          << "the oldest request must advance in every step";
    }
  }

  void reserve(Sequence &sequence, const Assignment &range) {
    size_t before = sequence.pages.pages().size();
    base::Status status = sequence.pages.reserve(range.first + range.tokens);
    ASSERT_TRUE(status.isOk()) << status.toString();
    ASSERT_EQ(std::ssize(sequence.pages.pages()) - static_cast<int64_t>(before), range.new_pages);
  }

  void execute(Sequence &sequence, const Assignment &range) {
    int64_t end = range.first + range.tokens;
    ASSERT_TRUE(sequence.pages.commit(end).isOk());
    SequenceState &state = sequence.state;
    state.running = true;
    state.cached_tokens = end;
    state.held_pages = std::ssize(sequence.pages.pages());
    sequence.rows_seen += range.rows;
    if (sequence.score) {
      state.first_row = std::max(state.first_row, end);
    } else if (range.rows == 1 && --sequence.generate > 0) {
      ++state.known_tokens;
      ++state.first_row;
    }
  }

  void checkPages() {
    std::set<cache::PageId> seen;
    for (const Sequence &sequence : sequences_)
      for (cache::PageId page : sequence.pages.pages())
        ASSERT_TRUE(seen.insert(page).second) << "page " << page << " is shared";
    ASSERT_EQ(std::ssize(seen) + pool_.freePages(), pool_.totalPages()) << "a page was lost";
  }

  void checkRunning() {
    int64_t running = 0;
    bool prefix = true;
    for (const Sequence &sequence : sequences_) {
      ASSERT_TRUE(prefix || !sequence.state.running) << "somebody was overtaken";
      prefix = sequence.state.running;
      running += prefix;
    }
    ASSERT_LE(running, limits_.max_sequences);
  }

  std::mt19937 random_;
  Limits limits_;
  cache::PagePool pool_{0};
  std::list<Sequence> sequences_; // in order of arrival
  int64_t arrivals_left_ = 0;
  int64_t preemptions_ = 0;
  int64_t finished_ = 0;
};

TEST(Schedule, RandomLives) {
  int64_t preemptions = 0, finished = 0;
  for (uint32_t seed = 0; seed < 6000; ++seed) {
    Life life(seed);
    ASSERT_NO_FATAL_FAILURE(life.run()) << "seed " << seed;
    preemptions += life.preemptions();
    finished += life.finished();
  }
  EXPECT_GT(preemptions, 1000) << "the lives must meet page exhaustion";
  EXPECT_GT(finished, 20000);
}

} // namespace
} // namespace platen::schedule
