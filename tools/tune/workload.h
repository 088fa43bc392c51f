// The steps that kernels are tested on: random tokens of several sequences, some with a past.
//
// Sequence 0 has the longest past, so that attention walks more than one of its chunks; the last
// has none. A step of n tokens gives one token to each sequence (a decode) and what remains to the
// last (a prefill beside decodes); the last tokens are the rows that the head is asked for. Pages
// are handed out in a shuffled order. Everything follows from the seed.
#pragma once

#include "runtime/exec/executor.h"
#include "runtime/plan/plan.h"

#include <cstdint>
#include <random>
#include <vector>

namespace platen::tune {

/// Arrays of one step.
struct Step {
  std::vector<int32_t> tokens, positions, owners, rows;
  const std::vector<int32_t> *pages = nullptr; ///< [sequences, stride]
  int64_t sequences = 0, stride = 0;

  exec::StepInputs inputs() const {
    return {tokens,
            positions,
            owners,
            rows,
            sequences,
            stride,
            std::span(*pages).first(static_cast<size_t>(sequences * stride))};
  }
};

class Workload {
public:
  /// For steps of at most `step_tokens` tokens (fewer if the plan allows only fewer), whose longest
  /// past is `past_tokens` or half the plan's context.
  Workload(const plan::Manifest &manifest, uint64_t step_tokens, uint64_t past_tokens,
           uint64_t seed);

  uint64_t stepTokens() const { return step_tokens_; }
  uint32_t pages() const { return page_count_; }
  /// Steps that write the pasts into the cache, in order.
  std::vector<Step> past();
  /// A step of `tokens` tokens behind the pasts. Requires 1 <= tokens <= stepTokens().
  Step step(uint64_t tokens);

private:
  /// Fills the page table for sequences of these lengths.
  void handOutPages(const std::vector<uint64_t> &lengths);
  Step empty() const;
  void append(Step &step, size_t sequence, uint64_t first, uint64_t count);

  const plan::Limits &limits_;
  uint32_t vocabulary_;
  uint64_t step_tokens_;
  std::vector<uint64_t> pasts_; // [sequences]
  std::vector<int32_t> table_;  // [sequences, stride_]
  int64_t stride_ = 0;
  uint32_t page_count_ = 0;
  std::mt19937_64 random_;
};

} // namespace platen::tune
