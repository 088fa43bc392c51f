// Sampling on the device, executed from its PTX, against a reference in double: the token drawn is
// one that the uniform number could have chosen, given the filters, within the rounding of the
// weights.
#include "kernels/cuda/abi.h"
#include "runtime/decode/sampler.h"
#include "tests/conformance/kernel_set.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

namespace platen::conformance {
namespace {

using namespace kernels;
using namespace kernels::harness;

constexpr uint32_t kVocabulary = 1000;

class CudaSample : public testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
    set_.add(SampleSpec{kVocabulary});
    ASSERT_EQ(set_.compile(), "");
  }
  std::vector<int32_t> sample(const std::vector<std::vector<float>> &logits,
                              const std::vector<PlatenCudaSampling> &parameters) {
    std::vector<float> flat;
    for (const std::vector<float> &row : logits)
      flat.insert(flat.end(), row.begin(), row.end());
    Step step;
    step.rows = static_cast<int64_t>(logits.size());
    const auto sampling = std::make_shared<Buffer>(parameters.size() * sizeof(PlatenCudaSampling)),
               tokens = std::make_shared<Buffer>(logits.size() * 4);
    std::memcpy(sampling->data(), parameters.data(), sampling->bytes());
    std::vector<int32_t> drawn;
    for (const Order &order : orders()) {
      const std::string why = set_.run(set_.add(SampleSpec{kVocabulary}).front(), step,
                                       {floats(flat), sampling, tokens}, {.order = order});
      EXPECT_EQ(why, "");
      const std::vector<int32_t> now(tokens->as<int32_t>(), tokens->as<int32_t>() + logits.size());
      if (drawn.empty())
        drawn = now;
      EXPECT_EQ(now, drawn) << order.name;
    }
    return drawn;
  }
  KernelSet set_{GetParam()};
};

TEST_P(CudaSample, GreedyTakesTheFirstOfTheBestAndReportsBrokenRows) {
  std::vector<std::vector<float>> logits;
  for (uint32_t seed = 0; seed < 6; ++seed)
    logits.push_back(randomFloats(kVocabulary, seed, 3));
  logits[1][700] = logits[1][20] = 50;
  logits[2][5] = std::nanf("");
  logits[3][999] = std::numeric_limits<float>::infinity();
  std::fill(logits[4].begin(), logits[4].end(), -std::numeric_limits<float>::infinity());
  for (float &logit : logits[5])
    logit = -1 - std::abs(logit);
  logits[5][30] = -0.0F, logits[5][600] = 0.0F; // equal
  const std::vector<int32_t> tokens =
      sample(logits, std::vector<PlatenCudaSampling>(6, {0, 0, 1, 0, 0.5F}));
  for (size_t row = 0; row < logits.size(); ++row)
    EXPECT_EQ(tokens[row], decode::argmax(logits[row])) << row;
  EXPECT_EQ(tokens[1], 20);
  EXPECT_EQ(tokens[2], -1);
  EXPECT_EQ(tokens[5], 30);
}

/// Tokens in the sampler's order, with what is left of their probabilities by the filters.
struct Kept {
  std::vector<uint32_t> tokens;
  std::vector<double> weights; // e^((logit - best) / temperature)
};
Kept keep(const std::vector<float> &logits, const PlatenCudaSampling &p) {
  Kept kept;
  kept.tokens.resize(logits.size());
  std::iota(kept.tokens.begin(), kept.tokens.end(), 0U);
  std::stable_sort(kept.tokens.begin(), kept.tokens.end(),
                   [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  const double best = logits[kept.tokens[0]];
  auto probability = [&](uint32_t token) { return std::exp(logits[token] - best); };
  if (p.top_k > 0)
    kept.tokens.resize(std::min<size_t>(kept.tokens.size(), static_cast<size_t>(p.top_k)));
  if (p.top_p < 1) {
    double mass = 0, sum = 0;
    for (uint32_t token : kept.tokens)
      mass += probability(token);
    size_t count = 0;
    while (count < kept.tokens.size() && sum < double{p.top_p} * mass)
      sum += probability(kept.tokens[count++]);
    kept.tokens.resize(std::max<size_t>(1, count));
  }
  if (p.min_p > 0)
    std::erase_if(kept.tokens,
                  [&](uint32_t token) { return probability(token) < double{p.min_p}; });
  for (uint32_t token : kept.tokens)
    kept.weights.push_back(std::exp((logits[token] - best) / double{p.temperature}));
  return kept;
}

TEST_P(CudaSample, DrawsWhatTheUniformNumberChooses) {
  const std::vector<PlatenCudaSampling> settings = {
      {1.0F, 0, 1, 0, 0},     {0.7F, 40, 1, 0, 0},         {1.3F, 0, 0.9F, 0, 0},
      {1.0F, 0, 1, 0.05F, 0}, {0.8F, 50, 0.95F, 0.02F, 0}, {1.0F, 1, 1, 0, 0},
      {1.0F, 0, 0, 0, 0}, // the best alone
  };
  std::vector<std::vector<float>> logits;
  std::vector<PlatenCudaSampling> parameters;
  for (uint32_t draw = 0; draw < 8; ++draw)
    for (const PlatenCudaSampling &setting : settings) {
      logits.push_back(randomFloats(kVocabulary, 100 + draw, 4));
      logits.back()[draw] = logits.back()[draw + 9]; // a tie
      parameters.push_back(setting);
      parameters.back().uniform = draw == 0 ? 0 : static_cast<float>(draw) / 8 + 0.0321F;
    }
  const std::vector<int32_t> tokens = sample(logits, parameters);
  for (size_t row = 0; row < tokens.size(); ++row) {
    const Kept kept = keep(logits[row], parameters[row]);
    const double mass = std::accumulate(kept.weights.begin(), kept.weights.end(), 0.0);
    const auto found =
        std::find(kept.tokens.begin(), kept.tokens.end(), static_cast<uint32_t>(tokens[row]));
    ASSERT_NE(found, kept.tokens.end())
        << "row " << row << " drew " << tokens[row] << ", which the filters drop";
    const auto index = found - kept.tokens.begin();
    const double before =
        std::accumulate(kept.weights.begin(), kept.weights.begin() + index, 0.0) / mass;
    const double uniform = parameters[row].uniform, slack = 2e-6;
    EXPECT_LE(before, uniform + slack) << row;
    EXPECT_GE(before + kept.weights[static_cast<size_t>(index)] / mass, uniform - slack) << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaSample, testing::ValuesIn(testedArchitectures()),
                         [](const auto &info) { return info.param; });

} // namespace
} // namespace platen::conformance
