// Validation of requests, and bookkeeping of one sequence.
#include "runtime/engine/sequence.h"

#include <algorithm>
#include <utility>

namespace platen::engine {
namespace {

using base::invalidArgument;
using base::Status;

std::string number(int64_t value) { return std::to_string(value); }

Status checkTokens(std::span<const int32_t> tokens, int64_t vocabulary, const char *what) {
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocabulary)
      return invalidArgument(std::string(what) + " " + number(static_cast<int64_t>(i)) + " is " +
                             number(tokens[i]) + ", the vocabulary has " + number(vocabulary) +
                             " tokens");
  return {};
}

Status checkStops(const Request &request, const EngineParts &parts) {
  if (!request.stop.empty() && !parts.text)
    return base::unsupported(
        "the plan holds no tokenizer, so stop strings cannot be matched; give stop_tokens");
  for (const std::string &stop : request.stop) {
    if (stop.empty())
      return invalidArgument("a stop string is empty");
    if ((static_cast<unsigned char>(stop[0]) & 0xC0U) == 0x80U)
      return invalidArgument("a stop string is not UTF-8: it begins inside a character");
  }
  return checkTokens(request.stop_tokens, parts.model.vocabulary, "stop token");
}

decode::SamplingParams samplingParams(const Sampling &sampling) {
  return {.temperature = sampling.temperature,
          .top_k = sampling.top_k,
          .top_p = sampling.top_p,
          .min_p = sampling.min_p,
          .repeat_penalty = sampling.repeat_penalty,
          .repeat_last_tokens = sampling.repeat_last_tokens,
          .seed = sampling.seed};
}

// The prompt's token ids, checked.
base::Result<std::vector<int32_t>> promptTokens(const Request &request, const EngineParts &parts) {
  if (request.prompt.empty() && request.tokens.empty())
    return invalidArgument("the prompt is empty; to generate from nothing, submit the model's "
                           "beginning-of-sequence token");
  if (!request.prompt.empty() && !request.tokens.empty())
    return invalidArgument("give either a text prompt or token ids, not both");
  if (!request.tokens.empty()) {
    PLATEN_RETURN_IF_ERROR(checkTokens(request.tokens, parts.model.vocabulary, "prompt token"));
    return request.tokens;
  }
  if (!parts.text)
    return base::unsupported("the plan holds no tokenizer; submit token ids");
  PLATEN_ASSIGN_OR_RETURN(
      std::vector<int32_t> tokens,
      parts.text->encode(request.prompt, request.add_bos && parts.add_bos, request.parse_special));
  if (tokens.empty())
    return invalidArgument("the prompt has no tokens");
  PLATEN_RETURN_IF_ERROR(checkTokens(tokens, parts.model.vocabulary, "prompt token"));
  return tokens;
}

// How many tokens the request may generate. The last one is never executed, so it takes a position
// but no page.
base::Result<int64_t> mostGenerated(int64_t prompt, int64_t max_tokens,
                                    const schedule::Limits &limits) {
  if (max_tokens < 0)
    return invalidArgument("max_tokens is " + number(max_tokens) +
                           ", it must be positive, or 0 for as many as fit");
  int64_t context_left = limits.context_tokens - prompt;
  if (context_left < 1)
    return invalidArgument("the prompt has " + number(prompt) + " tokens, but the context of " +
                           number(limits.context_tokens) +
                           " positions must hold it and at least one generated token");
  PLATEN_RETURN_IF_ERROR(schedule::checkFits(prompt, limits));
  if (max_tokens == 0) {
    int64_t pool_left = limits.total_pages * limits.page_tokens + 1 - prompt;
    return std::min(context_left, pool_left);
  }
  int64_t most = std::min(max_tokens, context_left);
  Status fits = schedule::checkFits(prompt + most - 1, limits);
  if (!fits.isOk())
    return Status(fits.code(),
                  std::string(fits.message()) + " (" + number(prompt) + " prompt tokens, up to " +
                      number(most) +
                      " generated); lower max_tokens or give the engine more kv_bytes");
  return most;
}

} // namespace

base::Result<std::unique_ptr<Sequence>> makeSequence(Request request, const EngineParts &parts) {
  auto sequence = std::make_unique<Sequence>();
  sequence->submitted_at = Clock::now();
  sequence->sampling = samplingParams(request.sampling);
  PLATEN_RETURN_IF_ERROR(decode::validate(sequence->sampling));
  PLATEN_RETURN_IF_ERROR(checkStops(request, parts));
  if (request.top_logprobs < -1 || request.top_logprobs > parts.model.vocabulary)
    return invalidArgument("top_logprobs is " + number(request.top_logprobs) +
                           ", it must be -1 (off) or between 0 and the vocabulary's size");
  PLATEN_ASSIGN_OR_RETURN(sequence->tokens, promptTokens(request, parts));
  sequence->prompt_tokens = static_cast<int64_t>(sequence->tokens.size());
  PLATEN_ASSIGN_OR_RETURN(sequence->most_generated,
                          mostGenerated(sequence->prompt_tokens, request.max_tokens, parts.limits));
  std::span<const int32_t> eos;
  if (!request.ignore_eos)
    eos = parts.model.eos_tokens;
  sequence->stop_tokens = decode::StopTokens(eos, request.stop_tokens);
  sequence->stop_strings = StopStrings(request.stop);
  if (parts.text) {
    // The decoder sees the prompt, because a token's text may depend on what stands before it
    // (leading spaces).
    sequence->decoder = parts.text->decoder();
    std::string ignored;
    for (int32_t token : sequence->tokens)
      sequence->decoder->push(token, ignored);
  }
  sequence->request = std::move(request);
  return sequence;
}

base::Result<std::unique_ptr<Sequence>> makeScoreSequence(std::span<const int32_t> tokens,
                                                          const EngineParts &parts) {
  if (tokens.size() < 2)
    return invalidArgument("scoring needs at least 2 tokens, there are " +
                           number(static_cast<int64_t>(tokens.size())));
  PLATEN_RETURN_IF_ERROR(checkTokens(tokens, parts.model.vocabulary, "token"));
  PLATEN_RETURN_IF_ERROR(
      schedule::checkFits(static_cast<int64_t>(tokens.size()) - 1, parts.limits));
  auto sequence = std::make_unique<Sequence>();
  sequence->submitted_at = Clock::now();
  sequence->score_only = true;
  sequence->tokens.assign(tokens.begin(), tokens.end());
  sequence->prompt_tokens = static_cast<int64_t>(tokens.size());
  return sequence;
}

schedule::SequenceState Sequence::state() const {
  auto known = static_cast<int64_t>(tokens.size());
  schedule::SequenceState state;
  state.known_tokens = score_only ? known - 1 : known; // nothing follows the last scored token
  state.first_row = score_only ? static_cast<int64_t>(scores.size()) : known - 1;
  state.cached_tokens = cachedTokens();
  state.held_pages = pages ? static_cast<int64_t>(pages->pages().size()) : 0;
  state.running = running;
  return state;
}

RequestResult Sequence::takeResult(FinishReason finish, base::Status status) {
  RequestResult taken = std::move(result);
  taken.id = id;
  taken.status = std::move(status);
  taken.finish = finish;
  taken.prompt_tokens = prompt_tokens;
  taken.tokens.assign(tokens.begin() + prompt_tokens, tokens.end());
  if (started_at != Clock::time_point())
    taken.timings.queue_seconds = secondsBetween(submitted_at, started_at);
  if (generated() > 0) {
    taken.timings.time_to_first_token_seconds = secondsBetween(submitted_at, first_token_at);
    taken.timings.prefill_seconds = secondsBetween(started_at, first_token_at);
    taken.timings.decode_seconds = secondsBetween(first_token_at, last_token_at);
  }
  if (generated() > 1)
    taken.timings.mean_inter_token_seconds =
        taken.timings.decode_seconds / static_cast<double>(generated() - 1);
  return taken;
}

} // namespace platen::engine
