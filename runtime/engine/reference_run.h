// What a request must produce, computed without an engine: one token at a time over the whole
// prefix. For tests.
#pragma once

#include "runtime/decode/sampler.h"
#include "runtime/engine/fake_model.h"

#include <cmath>

namespace platen::engine::fake {

inline std::vector<int32_t> referenceTokens(const Request &request, Style style) {
  std::vector<int32_t> tokens = request.tokens;
  if (tokens.empty())
    tokens = *Codec().encode(request.prompt, request.add_bos, request.parse_special);
  size_t prompt = tokens.size();
  decode::Sampler sampler;
  const Sampling &s = request.sampling;
  decode::SamplingParams params{s.temperature,        s.top_k, s.top_p, s.min_p, s.repeat_penalty,
                                s.repeat_last_tokens, s.seed};
  while (static_cast<int64_t>(tokens.size() - prompt) < request.max_tokens) {
    int32_t token =
        *sampler.sample(logitsAfter(tokens, style), params, tokens, tokens.size() - prompt);
    tokens.push_back(token);
    bool stop = std::ranges::count(request.stop_tokens, token) > 0;
    if (stop || (token == kEos && !request.ignore_eos))
      break;
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt), tokens.end()};
}

/// ln p(tokens[i + 1] | tokens[0..i]) in double precision.
inline std::vector<double> referenceScores(std::span<const int32_t> tokens, Style style) {
  std::vector<double> scores;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    std::vector<float> logits = logitsAfter(tokens.first(i + 1), style);
    double total = 0;
    for (float logit : logits)
      total += std::exp(static_cast<double>(logit));
    scores.push_back(logits[static_cast<size_t>(tokens[i + 1])] - std::log(total));
  }
  return scores;
}

} // namespace platen::engine::fake
