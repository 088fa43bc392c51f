// One unfinished request inside the engine: its tokens, its pages, its text.
#pragma once

#include "runtime/cache/sequence_pages.h"
#include "runtime/decode/sampler.h"
#include "runtime/decode/stop_tokens.h"
#include "runtime/engine/parts.h"
#include "runtime/engine/stop_strings.h"

#include <chrono>
#include <memory>

namespace platen::engine {

using Clock = std::chrono::steady_clock;

inline double secondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

struct Sequence {
  // Given when the request is accepted.
  RequestId id = 0;
  Request request;
  bool score_only = false;    // wants the log probability of each token, generates nothing
  int64_t prompt_tokens = 0;  // prefix of `tokens`
  int64_t most_generated = 0; // max_tokens, or what fits when that is less
  decode::SamplingParams sampling;
  decode::StopTokens stop_tokens;
  StopStrings stop_strings;
  std::unique_ptr<TextDecoder> decoder; // null without a tokenizer
  Clock::time_point submitted_at;

  // Grows while it runs.
  std::vector<int32_t> tokens; // [prompt_tokens + generated]
  std::vector<float> scores;   // score_only: ln p(tokens[i + 1] | tokens[0..i]) so far
  std::unique_ptr<cache::SequencePages> pages; // null until first admitted
  bool running = false;
  Clock::time_point started_at, first_token_at, last_token_at;
  RequestResult result; // text, logprobs, preemptions so far

  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens; }
  int64_t cachedTokens() const { return pages ? pages->committedTokens() : 0; }
  schedule::SequenceState state() const;
  /// The result as it stands, with timings; leaves the sequence without one.
  RequestResult takeResult(FinishReason finish, base::Status status);
};

/// Checks a request against the model and its limits and builds its sequence; see Engine::submit
/// for the errors. `parts` is only read, and only what never changes: safe on any thread.
base::Result<std::unique_ptr<Sequence>> makeSequence(Request request, const EngineParts &parts);
/// The same for Engine::score().
base::Result<std::unique_ptr<Sequence>> makeScoreSequence(std::span<const int32_t> tokens,
                                                          const EngineParts &parts);

} // namespace platen::engine
