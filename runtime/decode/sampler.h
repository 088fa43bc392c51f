// Logits -> one token.
//
// Order of operations (llama.cpp's default chain; Hugging Face applies the temperature before the
// filters):
//
//   repetition penalty -> top-k -> top-p -> min-p -> temperature -> draw
//
//  - Repetition penalty r: for every distinct token among the last `repeat_last_tokens` of the
//  sequence,
//    logit > 0 ? logit / r : logit * r (Keskar et al. 2019).
//  - top-k keeps the k largest logits; top-p (Holtzman et al. 2019) the shortest prefix, by
//  descending probability,
//    whose probabilities sum to at least p; min-p (Nguyen et al. 2024) what is at least min_p times
//    as probable as the best. Each sees the softmax of what the one before left, at temperature 1.
//  - Equal logits are ordered by id, lowest first, in the argmax and in every filter: results are
//  deterministic.
//  - Temperature 0 takes the argmax after the penalty.
//  - The filters so keep a prefix of the order (logit descending, id ascending); the draw inverts
//  the
//    cumulative distribution of what they kept in the order of ids, lowest first, at
//    uniform(seed, index): the first id at which the sum of weights exceeds uniform * their total.
//
// Devices that sample (kernels/cuda/sample.cuh) do the same, without the penalty. Equal logits,
// parameters, seed and index give the same token there, unless the uniform number or top-p falls so
// close to a boundary of the cumulative distribution that the rounding of the weights decides: f32
// exponentials and sums here, fixed point in units of 2^-40 of the best's weight there (the bound
// is 2^-16 of the total).
//
// Cost for V = 262144 (one 3 GHz core, SSE2): greedy 0.12 ms, plain sampling 0.5 ms, top-k or min-p
// 0.2 to 0.3 ms, because filters look only at the logits within a few nats of the best and sort
// those alone. Top-p without top-k must sort its whole nucleus: 20 to 70 ms when that is
// a large part of the vocabulary.
#pragma once

#include "runtime/base/status.h"
#include "runtime/plan/kernel_abi.h"

#include <cstdint>
#include <span>
#include <vector>

namespace platen::decode {

/// Dividing logits by less would overflow; the draw is the argmax there anyway.
inline constexpr float kGreedyTemperature = 1e-6F;

struct SamplingParams {
  float temperature = 0;           ///< below kGreedyTemperature: greedy
  int32_t top_k = 0;               ///< <= 0: off
  float top_p = 1;                 ///< 1: off; in (0, 1]
  float min_p = 0;                 ///< 0: off; in [0, 1]
  float repeat_penalty = 1;        ///< 1: off; in [0.01, 100]
  int32_t repeat_last_tokens = 64; ///< window of the penalty; -1: the whole sequence, 0: off
  uint64_t seed = 0;
};

/// kInvalidArgument naming the parameter, its value and its range.
base::Status validate(const SamplingParams &params);

/// Whether a penalty changes the logits; a device that samples does not know of penalties.
bool hasPenalty(const SamplingParams &params);

/// How a device draws what Sampler::sample() does with these parameters and no penalty.
PlatenSampling onDevice(const SamplingParams &params, uint64_t index);

/// Why there is no token: the model is broken for this sequence. kInternal.
base::Status brokenLogits();

/// A token and the natural logarithm of its probability.
struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

/// Owns scratch that grows to the vocabulary and is reused. Not thread-safe; results do not depend
/// on earlier calls.
class Sampler {
public:
  /// logits [V] f32 of the next token; `history` is the sequence so far, prompt included; `index`
  /// counts this request's draws. `params` are valid. kInternal if the logits hold NaN or +infinity
  /// or are all -infinity: the model is broken for this sequence, others are unaffected.
  base::Result<int32_t> sample(std::span<const float> logits, const SamplingParams &params,
                               std::span<const int32_t> history, uint64_t index);

  struct Candidate {
    float logit;
    int32_t token;
  };

private:
  std::span<const float> penalise(std::span<const float> logits, const SamplingParams &params,
                                  std::span<const int32_t> history);
  void keepTopK(std::span<const float> logits, float best, size_t k);
  void keepTopP(std::span<const float> logits, float best, float p);
  void keepMinP(std::span<const float> logits, float best, float p);
  void orderById(std::span<const float> logits);
  int32_t draw(float best, float scale, double uniform) const;
  int32_t drawFromAll(std::span<const float> logits, float best, float scale, double uniform);

  std::vector<float> penalised_;      // [V]
  std::vector<Candidate> candidates_; // what the filters left
  bool filtered_ = false;             // false: every token is a candidate, candidates_ is unused
  std::vector<double> block_sums_;    // [ceil(V / kSoftmaxBlock)]
};

/// The argmax, lowest id first among equals; -1 if any logit is NaN or +infinity or all are
/// -infinity.
int32_t argmax(std::span<const float> logits);

/// ln softmax(logits)[token]. 0 <= token < V.
float logprob(std::span<const float> logits, int32_t token);

/// The `count` most probable tokens, best first (at most V of them), appended to `top`.
void topLogprobs(std::span<const float> logits, size_t count, std::vector<TokenLogprob> &top);

} // namespace platen::decode
