// What the next step executes: a pure function from the queue and the pool to a StepPlan.
//
// Policy, in this order:
//  1. Pages by age. Running sequences, oldest first, are entitled to the pages of all their known
//  tokens. A
//     sequence that lacks pages takes them from the youngest running ones (those are preempted:
//     they lose their pages and are prefilled again later); if even all younger ones' pages do not
//     suffice, it waits.
//  2. Tokens. Sequences with one pending token (decode) go first, then prefills in chunks, oldest
//  first, until
//     the step's token or row budget is spent.
//  3. Admission, strictly first come, first served: the head of the queue is admitted when its
//  known tokens and
//     one spare page for each running sequence fit. Nobody overtakes; nothing is admitted while
//     anybody lacks pages.
//
// Why nobody starves: running sequences are always the oldest ones, the oldest of them is never
// preempted and executes at least one token each step, and checkFits() refused what cannot fit into
// an empty pool. Preemption never changes results, because a token's logits do not depend on how
// its prefix was cut into steps.
//
// Cost: O(queue) a step, no allocation beyond the two result vectors. Reentrant.
#pragma once

#include "runtime/base/status.h"
#include "runtime/cache/sequence_pages.h"

#include <span>
#include <vector>

namespace platen::schedule {

struct Limits {
  int64_t context_tokens = 0; ///< positions a sequence may have
  int64_t step_tokens = 0;    ///< tokens a step may have
  int64_t step_rows = 0;      ///< rows of logits a step may have
  int64_t max_sequences = 0;  ///< sequences that run at the same time
  int64_t page_tokens = 0;    ///< positions a page holds
  int64_t total_pages = 0;
};

/// kInvalidArgument unless all limits are positive and max_sequences <= step_tokens and step_rows,
/// so that every running sequence can decode in the same step.
base::Status validate(const Limits &limits);

/// Whether a sequence that may cache up to `tokens` positions can ever run: kInvalidArgument if it
/// is longer than the context, kResourceExhausted if it needs more pages than the whole pool has.
/// The message holds the numbers.
base::Status checkFits(int64_t tokens, const Limits &limits);

/// One unfinished sequence. 0 <= cached_tokens < known_tokens.
struct SequenceState {
  int64_t known_tokens =
      0; ///< prompt and generated so far: positions [0, known_tokens) are to be executed
  int64_t cached_tokens = 0; ///< positions that are in the cache; 0 unless running
  int64_t first_row =
      0; ///< every position >= first_row needs its logits (generation: known_tokens - 1)
  int64_t held_pages = 0; ///< pages that it owns; 0 unless running
  bool running = false;   ///< admitted, and not preempted since
};

/// Positions [first, first + tokens) of one sequence.
struct Assignment {
  size_t sequence = 0;   ///< index into the queue
  int64_t first = 0;     ///< == cached_tokens
  int64_t tokens = 0;    ///< >= 1
  int64_t rows = 0;      ///< the last `rows` tokens of the range need logits
  int64_t new_pages = 0; ///< pages to reserve beyond held_pages
};

struct StepPlan {
  /// Sequences that lose all their pages before anything is reserved.
  std::vector<size_t> preempted;
  /// At most one a sequence; a sequence that was not running is running from now on.
  std::vector<Assignment> assignments;
};

/// `queue` stands in order of arrival; its running sequences come before all others (schedule()
/// keeps it so, and removing sequences cannot break it). `free_pages` + the held pages <=
/// total_pages. `limits` are valid. Reserving new_pages for every assignment succeeds once the
/// preempted sequences' pages are free.
StepPlan schedule(std::span<const SequenceState> queue, int64_t free_pages, const Limits &limits);

} // namespace platen::schedule
