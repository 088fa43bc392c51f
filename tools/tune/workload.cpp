// See workload.h.
#include "tools/tune/workload.h"

#include <algorithm>
#include <numeric>

namespace platen::tune {

namespace {

constexpr uint64_t kSequences = 4;
constexpr uint64_t kMiddlePasts[] = {41, 7}; // inside a page, whatever its size

} // namespace

Workload::Workload(const plan::Manifest &manifest, uint64_t step_tokens, uint64_t past_tokens,
                   uint64_t seed)
    : limits_(manifest.limits), vocabulary_(manifest.model.vocabulary), random_(seed) {
  const uint64_t sequences = std::min<uint64_t>(kSequences, limits_.step_sequences);
  for (uint64_t s = 0; s < sequences; ++s) {
    const uint64_t past = s == 0               ? past_tokens
                          : s + 1 == sequences ? 0
                                               : kMiddlePasts[std::min<uint64_t>(s - 1, 1)];
    pasts_.push_back(std::min<uint64_t>(past, limits_.context_tokens / 2));
  }
  // One token for each sequence but the last, which takes what remains of its context.
  const uint64_t room = limits_.context_tokens - pasts_.back();
  step_tokens_ = std::max<uint64_t>(
      1, std::min({step_tokens, uint64_t{limits_.step_tokens}, sequences - 1 + room}));
  std::vector<uint64_t> lengths = pasts_;
  for (uint64_t s = 0; s < sequences; ++s)
    lengths[s] += s + 1 == sequences ? std::min(step_tokens_, room) : 1;
  handOutPages(lengths);
}

void Workload::handOutPages(const std::vector<uint64_t> &lengths) {
  auto pagesOf = [&](uint64_t length) {
    return (length + limits_.page_tokens - 1) / limits_.page_tokens;
  };
  for (uint64_t length : lengths) {
    stride_ = std::max(stride_, static_cast<int64_t>(pagesOf(length)));
    page_count_ += static_cast<uint32_t>(pagesOf(length));
  }
  std::vector<int32_t> free(page_count_);
  std::iota(free.begin(), free.end(), 0);
  for (size_t i = free.size(); i > 1; --i) // std::shuffle's order is the library's own
    std::swap(free[i - 1], free[random_() % i]);
  for (uint64_t length : lengths)
    for (int64_t i = 0; i < stride_; ++i) {
      const bool needed = static_cast<uint64_t>(i) < pagesOf(length);
      table_.push_back(needed ? free.back() : -1);
      if (needed)
        free.pop_back();
    }
}

Step Workload::empty() const {
  Step step;
  step.pages = &table_;
  step.stride = stride_;
  step.sequences = static_cast<int64_t>(pasts_.size());
  return step;
}

void Workload::append(Step &step, size_t sequence, uint64_t first, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    step.tokens.push_back(static_cast<int32_t>(random_() % vocabulary_));
    step.positions.push_back(static_cast<int32_t>(first + i));
    step.owners.push_back(static_cast<int32_t>(sequence));
  }
}

std::vector<Step> Workload::past() {
  std::vector<Step> steps;
  for (size_t s = 0; s < pasts_.size(); ++s)
    for (uint64_t first = 0; first < pasts_[s]; first += limits_.step_tokens) {
      steps.push_back(empty());
      append(steps.back(), s, first, std::min<uint64_t>(limits_.step_tokens, pasts_[s] - first));
    }
  return steps;
}

Step Workload::step(uint64_t tokens) {
  Step step = empty();
  const size_t sequences = std::min<size_t>(pasts_.size(), tokens);
  step.sequences = static_cast<int64_t>(sequences);
  for (size_t s = 0; s < sequences; ++s) {
    // Fewer tokens than sequences: the first ones, which have a past.
    const bool last = s + 1 == pasts_.size();
    append(step, s, pasts_[s], last ? tokens - s : 1);
  }
  const uint64_t rows = std::min<uint64_t>(step.tokens.size(), limits_.step_rows);
  for (uint64_t r = step.tokens.size() - rows; r < step.tokens.size(); ++r)
    step.rows.push_back(static_cast<int32_t>(r));
  return step;
}

} // namespace platen::tune
