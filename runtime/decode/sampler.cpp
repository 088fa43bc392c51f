// Filters over the few logits that can matter, and draws from the cumulative distribution.
#include "runtime/decode/sampler.h"

#include "runtime/decode/philox.h"
#include "runtime/decode/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace platen::decode {
namespace {

using Candidate = Sampler::Candidate;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kLanes = 8;

bool before(const Candidate &a, const Candidate &b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

// The largest logit of a block; +infinity stands for "holds NaN or +infinity". Lanes, so that it
// vectorises.
float blockMaximum(std::span<const float> block) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -kInfinity);
  size_t i = 0;
  for (; i + kLanes <= block.size(); i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) {
      float x = block[i + lane] < kInfinity ? block[i + lane] : kInfinity; // NaN becomes +infinity
      lanes[lane] = lanes[lane] > x ? lanes[lane] : x;
    }
  for (; i < block.size(); ++i)
    lanes[0] = std::max(lanes[0], block[i] < kInfinity ? block[i] : kInfinity);
  return *std::max_element(lanes, lanes + kLanes);
}

// Replaces `candidates` by the tokens whose logit is at least `floor`, in order of id.
void gather(std::span<const float> logits, float floor, std::vector<Candidate> &candidates) {
  candidates.clear();
  for (size_t first = 0; first < logits.size(); first += kLanes) {
    size_t last = std::min(first + kLanes, logits.size());
    int any = 0;
    for (size_t i = first; i < last; ++i)
      any |= logits[i] >= floor;
    if (any == 0) [[likely]]
      continue;
    for (size_t i = first; i < last; ++i)
      if (logits[i] >= floor)
        candidates.push_back({logits[i], static_cast<int32_t>(i)});
  }
}

// The k best of all logits, best first. Looks at a widening band below the best until it holds k.
void gatherTop(std::span<const float> logits, float best, size_t k,
               std::vector<Candidate> &candidates) {
  k = std::min(k, logits.size());
  for (float band = 4;; band *= 2) {
    gather(logits, band < 1024 ? best - band : -kInfinity, candidates);
    if (candidates.size() >= k)
      break;
  }
  auto end = candidates.begin() + static_cast<std::ptrdiff_t>(k);
  if (end != candidates.end())
    std::nth_element(candidates.begin(), end, candidates.end(), before);
  candidates.erase(end, candidates.end());
  std::sort(candidates.begin(), candidates.end(), before);
}

double mass(std::span<const Candidate> candidates, float best) {
  double sum = 0;
  for (const Candidate &candidate : candidates)
    sum += expNonPositive(candidate.logit - best);
  return sum;
}

// Sorts as many of the best as it takes to reach `wanted` mass and drops the rest.
void keepMass(std::vector<Candidate> &candidates, float best, double wanted) {
  double sum = 0;
  size_t sorted = 0;
  for (size_t chunk = 64; sorted < candidates.size(); chunk *= 4) {
    auto first = candidates.begin() + static_cast<std::ptrdiff_t>(sorted);
    size_t end = std::min(sorted + chunk, candidates.size());
    auto last = candidates.begin() + static_cast<std::ptrdiff_t>(end);
    if (last != candidates.end())
      std::nth_element(first, last, candidates.end(), before);
    std::sort(first, last, before);
    for (; sorted < end; ++sorted) {
      sum += expNonPositive(candidates[sorted].logit - best);
      if (sum >= wanted) {
        candidates.resize(sorted + 1);
        return;
      }
    }
  }
}

/// What min-p adds to the best logit.
float logMinP(float p) { return p > 0 ? std::log(p) : -kInfinity; }

base::Status outOfRange(const char *name, double value, const char *range) {
  return base::invalidArgument(std::string(name) + " is " + std::to_string(value) +
                               ", it must be " + range);
}

} // namespace

base::Status validate(const SamplingParams &params) {
  if (!std::isfinite(params.temperature))
    return outOfRange("temperature", params.temperature, "finite");
  if (!(params.top_p > 0 && params.top_p <= 1))
    return outOfRange("top_p", params.top_p, "in (0, 1]");
  if (!(params.min_p >= 0 && params.min_p <= 1))
    return outOfRange("min_p", params.min_p, "in [0, 1]");
  if (!(params.repeat_penalty >= 0.01F && params.repeat_penalty <= 100))
    return outOfRange("repeat_penalty", params.repeat_penalty, "in [0.01, 100]");
  if (params.repeat_last_tokens < -1)
    return outOfRange("repeat_last_tokens", params.repeat_last_tokens, "at least -1");
  return {};
}

bool hasPenalty(const SamplingParams &params) {
  return params.repeat_penalty != 1 && params.repeat_last_tokens != 0;
}

PlatenSampling onDevice(const SamplingParams &params, uint64_t index) {
  return {.uniform = uniformFraction(params.seed, index),
          .temperature = params.temperature,
          .top_k = params.top_k,
          .top_p = params.top_p,
          .log_min_p = logMinP(params.min_p)};
}

base::Status brokenLogits() {
  return base::internalError("the logits hold NaN or +infinity, or are all -infinity");
}

int32_t argmax(std::span<const float> logits) {
  float best = -kInfinity;
  size_t best_block = 0;
  for (size_t first = 0; first < logits.size(); first += kSoftmaxBlock) {
    float maximum =
        blockMaximum(logits.subspan(first, std::min(kSoftmaxBlock, logits.size() - first)));
    if (maximum > best) {
      best = maximum;
      best_block = first;
    }
  }
  if (!std::isfinite(best))
    return -1;
  while (logits[best_block] != best)
    ++best_block;
  return static_cast<int32_t>(best_block);
}

float logprob(std::span<const float> logits, int32_t token) {
  int32_t best_token = argmax(logits);
  if (best_token < 0)
    return std::numeric_limits<float>::quiet_NaN();
  float best = logits[static_cast<size_t>(best_token)];
  double total = sumExp(logits, best, 1);
  return static_cast<float>(logits[static_cast<size_t>(token)] - best - std::log(total));
}

void topLogprobs(std::span<const float> logits, size_t count, std::vector<TokenLogprob> &top) {
  int32_t best_token = argmax(logits);
  if (best_token < 0 || count == 0)
    return;
  float best = logits[static_cast<size_t>(best_token)];
  double log_total = std::log(sumExp(logits, best, 1));
  std::vector<Candidate> candidates;
  gatherTop(logits, best, count, candidates);
  for (const Candidate &candidate : candidates)
    top.push_back({candidate.token, static_cast<float>(candidate.logit - best - log_total)});
}

std::span<const float> Sampler::penalise(std::span<const float> logits,
                                         const SamplingParams &params,
                                         std::span<const int32_t> history) {
  if (params.repeat_last_tokens >= 0)
    history =
        history.last(std::min(history.size(), static_cast<size_t>(params.repeat_last_tokens)));
  if (!hasPenalty(params) || history.empty())
    return logits;
  penalised_.assign(logits.begin(), logits.end());
  for (int32_t token : history) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size())
      continue;
    float logit = logits[static_cast<size_t>(token)]; // the original: a repeated token counts once
    penalised_[static_cast<size_t>(token)] =
        logit > 0 ? logit / params.repeat_penalty : logit * params.repeat_penalty;
  }
  return penalised_;
}

void Sampler::keepTopK(std::span<const float> logits, float best, size_t k) {
  gatherTop(logits, best, k, candidates_);
  filtered_ = true;
}

void Sampler::keepTopP(std::span<const float> logits, float best, float p) {
  double wanted = 0;
  if (filtered_) {
    wanted = p * mass(candidates_, best);
  } else {
    wanted = p * sumExp(logits, best, 1);
    for (float band = 4;; band *= 2) {
      gather(logits, band < 1024 ? best - band : -kInfinity, candidates_);
      if (band >= 1024 || mass(candidates_, best) >= wanted)
        break;
    }
    filtered_ = true;
  }
  keepMass(candidates_, best, wanted);
}

void Sampler::keepMinP(std::span<const float> logits, float best, float p) {
  float floor = best + logMinP(p);
  if (!filtered_)
    gather(logits, floor, candidates_);
  else
    std::erase_if(candidates_, [&](const Candidate &c) { return c.logit < floor; });
  filtered_ = true;
}

// What the filters left stands best first or, after min-p alone, by id already. If it is much, it
// is faster to look at all logits again than to sort.
void Sampler::orderById(std::span<const float> logits) {
  if (std::ranges::is_sorted(candidates_, {}, &Candidate::token))
    return;
  if (candidates_.size() <= kSoftmaxBlock) {
    std::ranges::sort(candidates_, {}, &Candidate::token);
    return;
  }
  Candidate last = candidates_.back();
  gather(logits, last.logit, candidates_);
  std::erase_if(candidates_, [&](const Candidate &c) { return before(last, c); });
}

int32_t Sampler::draw(float best, float scale, double uniform) const {
  double total = 0;
  for (const Candidate &candidate : candidates_)
    total += expNonPositive((candidate.logit - best) * scale);
  double left = uniform * total;
  int32_t chosen = candidates_.front().token;
  for (const Candidate &candidate : candidates_) {
    double weight = expNonPositive((candidate.logit - best) * scale);
    if (weight > 0)
      chosen = candidate.token;
    left -= weight;
    if (left < 0)
      break;
  }
  return chosen;
}

int32_t Sampler::drawFromAll(std::span<const float> logits, float best, float scale,
                             double uniform) {
  block_sums_.clear();
  double total = 0;
  for (size_t first = 0; first < logits.size(); first += kSoftmaxBlock) {
    block_sums_.push_back(sumExpBlock(
        logits.subspan(first, std::min(kSoftmaxBlock, logits.size() - first)), best, scale));
    total += block_sums_.back();
  }
  double left = uniform * total;
  size_t chosen_block = 0;
  for (size_t block = 0; block < block_sums_.size(); ++block) {
    if (block_sums_[block] > 0)
      chosen_block = block;
    if (left < block_sums_[block])
      break;
    left -= block_sums_[block];
  }
  size_t first = chosen_block * kSoftmaxBlock;
  auto block = logits.subspan(first, std::min(kSoftmaxBlock, logits.size() - first));
  size_t chosen = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    double weight = expNonPositive((block[i] - best) * scale);
    if (weight > 0)
      chosen = i;
    left -= weight;
    if (left < 0)
      break;
  }
  return static_cast<int32_t>(first + chosen);
}

base::Result<int32_t> Sampler::sample(std::span<const float> logits, const SamplingParams &params,
                                      std::span<const int32_t> history, uint64_t index) {
  logits = penalise(logits, params, history);
  int32_t best_token = argmax(logits);
  if (best_token < 0)
    return brokenLogits();
  if (params.temperature < kGreedyTemperature)
    return best_token;
  float best = logits[static_cast<size_t>(best_token)];
  filtered_ = false;
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < logits.size())
    keepTopK(logits, best, static_cast<size_t>(params.top_k));
  if (params.top_p < 1)
    keepTopP(logits, best, params.top_p);
  if (params.min_p > 0)
    keepMinP(logits, best, params.min_p);
  double u = uniform(params.seed, index);
  float scale = 1 / params.temperature;
  if (!filtered_)
    return drawFromAll(logits, best, scale, u);
  orderById(logits);
  return draw(best, scale, u);
}

} // namespace platen::decode
