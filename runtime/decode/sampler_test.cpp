// The sampler against a plain double-precision restatement of its documentation, and its draws
// against the distribution they should have (chi-square). Philox against the known answers of its
// authors (Random123 kat_vectors).
#include "runtime/decode/sampler.h"

#include "runtime/decode/philox.h"
#include "runtime/decode/softmax.h"
#include "runtime/decode/stop_tokens.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>
#include <set>

namespace platen::decode {
namespace {

using Words = std::array<uint32_t, 4>;

TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  constexpr uint32_t kOnes = 0xffffffffU;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}));
  EXPECT_EQ(
      philox4x32({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}),
      (Words{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
}

TEST(Philox, UniformsAreInRangeAndDifferByEveryArgument) {
  std::set<double> seen;
  for (uint64_t seed : {0ULL, 1ULL, 1ULL << 32})
    for (uint64_t index : {0ULL, 1ULL, 1ULL << 32})
      for (uint32_t stream : {0U, 1U}) {
        double u = uniform(seed, index, stream);
        EXPECT_GE(u, 0);
        EXPECT_LT(u, 1);
        EXPECT_TRUE(seen.insert(u).second);
      }
}

TEST(Softmax, ExponentialIsAccurate) {
  double worst = 0;
  for (int i = 0; i <= 870000; ++i) {
    float x = -1e-4F * static_cast<float>(i);
    double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(expNonPositive(x) - exact) / exact);
  }
  EXPECT_LT(worst, 3e-7);
  EXPECT_EQ(expNonPositive(0), 1);
  EXPECT_EQ(expNonPositive(-std::numeric_limits<float>::infinity()), 0);
}

TEST(Softmax, SumsTailsOfEveryLength) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  for (size_t n : {1U, 7U, 8U, 9U, 1023U, 1024U, 1025U, 5000U}) {
    std::vector<float> logits(n);
    std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
    float best = *std::max_element(logits.begin(), logits.end());
    double exact = 0;
    for (float x : logits)
      exact += std::exp((static_cast<double>(x) - best) * 0.7);
    EXPECT_NEAR(sumExp(logits, best, 0.7F) / exact, 1, 1e-6) << n;
  }
}

// ---- The documentation of sampler.h, restated without any concern for speed. ----

struct Weighted {
  int32_t token;
  double logit;
  double weight; // normalised probability after the temperature
};

void normalise(std::vector<Weighted> &items, double temperature) {
  double total = 0;
  for (Weighted &item : items)
    total += item.weight = std::exp((item.logit - items.front().logit) / temperature);
  for (Weighted &item : items)
    item.weight /= total;
}

std::vector<Weighted> reference(const std::vector<float> &logits, const SamplingParams &params,
                                const std::vector<int32_t> &history) {
  std::vector<Weighted> items;
  for (size_t i = 0; i < logits.size(); ++i)
    items.push_back({static_cast<int32_t>(i), logits[i], 0});
  size_t window =
      params.repeat_last_tokens < 0
          ? history.size()
          : std::min<size_t>(history.size(), static_cast<size_t>(params.repeat_last_tokens));
  std::set<int32_t> seen(history.end() - static_cast<std::ptrdiff_t>(window), history.end());
  for (int32_t token : seen) {
    double &logit = items[static_cast<size_t>(token)].logit;
    // Rounded to f32 as any f32 implementation must.
    logit = static_cast<float>(logit > 0 ? logit / params.repeat_penalty
                                         : logit * params.repeat_penalty);
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Weighted &a, const Weighted &b) { return a.logit > b.logit; });
  if (params.temperature <= 0)
    items.resize(1);
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < items.size())
    items.resize(static_cast<size_t>(params.top_k));
  normalise(items, 1);
  if (params.top_p < 1) {
    double sum = 0;
    size_t kept = 0;
    while (kept < items.size() && sum < params.top_p)
      sum += items[kept++].weight;
    items.resize(kept);
  }
  if (params.min_p > 0) {
    double floor = params.min_p * items.front().weight;
    std::erase_if(items, [&](const Weighted &item) { return item.weight < floor; });
  }
  normalise(items, params.temperature > 0 ? params.temperature : 1);
  return items;
}

// Upper 1 - 1e-6 quantile of chi-square with n degrees of freedom (Wilson-Hilferty).
double chiSquareLimit(double n) {
  double z = 4.753;
  double t = 1 - 2 / (9 * n) + z * std::sqrt(2 / (9 * n));
  return n * t * t * t;
}

void expectDistribution(const std::vector<float> &logits, const SamplingParams &base_params,
                        const std::vector<int32_t> &history, const std::string &name) {
  const int draws = logits.size() > 1000 ? 4000 : 20000;
  std::vector<Weighted> expected = reference(logits, base_params, history);
  std::vector<int> counts(logits.size());
  Sampler sampler;
  for (int i = 0; i < draws; ++i) {
    SamplingParams params = base_params;
    params.seed = static_cast<uint64_t>(i % 7);
    auto token = sampler.sample(logits, params, history, static_cast<uint64_t>(i / 7));
    ASSERT_TRUE(token.isOk()) << name;
    ++counts[static_cast<size_t>(*token)];
  }
  double statistic = 0, rest_expected = 0, rest_seen = 0;
  int cells = 0, total_seen = 0;
  for (const Weighted &item : expected) {
    int seen = counts[static_cast<size_t>(item.token)];
    total_seen += seen;
    double wanted = item.weight * draws;
    if (wanted < 10) { // too rare for a cell of its own
      rest_expected += wanted;
      rest_seen += seen;
      continue;
    }
    statistic += (seen - wanted) * (seen - wanted) / wanted;
    ++cells;
  }
  ASSERT_EQ(total_seen, draws) << name << ": a token was drawn that the filters exclude";
  if (rest_expected >= 10) {
    statistic += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    ++cells;
  }
  if (cells > 1) {
    EXPECT_LT(statistic, chiSquareLimit(cells - 1)) << name << ", " << cells << " cells";
  }
}

std::vector<float> randomLogits(uint32_t seed, size_t count, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float &logit : logits)
    logit = std::round(normal(random) * 8) / 8; // many exact ties
  return logits;
}

TEST(Sampler, DrawsFollowTheDocumentedDistribution) {
  std::vector<int32_t> history{1, 2, 3, 2, 50, 60, 70, 7};
  struct Case {
    std::string name;
    SamplingParams params;
  };
  std::vector<Case> cases{
      {"plain", {.temperature = 1}},
      {"hot", {.temperature = 2.5F}},
      {"cold", {.temperature = 0.3F}},
      {"top-k", {.temperature = 1, .top_k = 5}},
      {"top-p", {.temperature = 1, .top_p = 0.7F}},
      {"min-p", {.temperature = 1, .min_p = 0.1F}},
      {"penalty", {.temperature = 1, .repeat_penalty = 1.8F}},
      {"penalty in a window", {.temperature = 1, .repeat_penalty = 3, .repeat_last_tokens = 3}},
      {"all",
       {.temperature = 0.8F,
        .top_k = 40,
        .top_p = 0.9F,
        .min_p = 0.05F,
        .repeat_penalty = 1.2F,
        .repeat_last_tokens = -1}},
      {"trivial filters", {.temperature = 1, .top_k = 100000, .top_p = 0.999999F, .min_p = 1e-9F}},
  };
  for (const Case &test : cases)
    for (size_t vocabulary : {100U, 1500U})
      ASSERT_NO_FATAL_FAILURE(
          expectDistribution(randomLogits(7, vocabulary, 2), test.params, history, test.name));
}

// The definition that devices share: the first id, of what is left, whose sum of weights exceeds
// the uniform number.
TEST(Sampler, DrawsInvertTheDistributionInOrderOfIds) {
  Sampler sampler;
  size_t decided = 0;
  for (const SamplingParams &base_params :
       {SamplingParams{.temperature = 1}, SamplingParams{.temperature = 0.7F, .top_k = 20},
        SamplingParams{.temperature = 2, .top_p = 0.95F}, // thousands of the 9000
        SamplingParams{.temperature = 1, .top_k = 60, .top_p = 0.9F, .min_p = 0.02F},
        SamplingParams{.temperature = 1, .min_p = 0.1F}})
    for (uint32_t seed = 0; seed < 200; ++seed) {
      SamplingParams params = base_params;
      params.seed = seed;
      std::vector<float> logits = randomLogits(seed, seed % 10 == 0 ? 9000 : 1500, 2);
      std::vector<Weighted> left = reference(logits, params, {});
      std::ranges::sort(left, {}, &Weighted::token);
      double u = uniform(seed, 9), sum = 0;
      auto chosen = left.begin();
      for (; sum + chosen->weight <= u; ++chosen)
        sum += chosen->weight;
      if (u - sum < 1e-5 || sum + chosen->weight - u < 1e-5)
        continue; // rounding decides
      EXPECT_EQ(*sampler.sample(logits, params, {}, 9), chosen->token) << seed;
      ++decided;
    }
  EXPECT_GT(decided, 930U);
}

// The support of the filters, exactly: draws at many quantiles stay inside and reach most of it.
TEST(Sampler, FiltersKeepExactlyTheReferenceSupport) {
  Sampler sampler;
  for (uint32_t seed = 0; seed < 150; ++seed) {
    std::mt19937 random(seed);
    SamplingParams params;
    params.temperature = 50; // nearly uniform over whatever is kept
    params.seed = seed;
    params.top_k = static_cast<int32_t>(random() % 3 ? 0 : 1 + random() % 30);
    params.top_p = random() % 3 ? 1.0F : 0.05F + 0.9F * static_cast<float>(random() % 1000) / 1000;
    params.min_p = random() % 3 ? 0.0F : 0.9F * static_cast<float>(random() % 1000) / 1000;
    params.repeat_penalty = random() % 2 ? 1.0F : 1.5F;
    std::vector<float> logits = randomLogits(seed, 20 + random() % 60, seed % 2 ? 1 : 4);
    std::vector<int32_t> history{3, 3, 9, 0};
    std::set<int32_t> kept, drawn;
    for (const Weighted &item : reference(logits, params, history))
      kept.insert(item.token);
    for (uint64_t index = 0; index < 2000; ++index)
      drawn.insert(*sampler.sample(logits, params, history, index));
    EXPECT_EQ(drawn, kept) << "seed " << seed;
  }
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  Sampler sampler;
  std::vector<float> logits(5000, 1.0F);
  logits[3000] = logits[4100] = 2;
  EXPECT_EQ(*sampler.sample(logits, {}, {}, 0), 3000);
  EXPECT_EQ(*sampler.sample(logits, {.temperature = 1, .top_k = 1}, {}, 0), 3000);
  std::vector<int32_t> history{3000};
  EXPECT_EQ(*sampler.sample(logits, {.repeat_penalty = 1.5F}, history, 0), 4100);
  EXPECT_EQ(*sampler.sample(logits, {.repeat_penalty = 1.5F, .repeat_last_tokens = 0}, history, 0),
            3000);
}

TEST(Sampler, ResultsDependOnSeedAndIndexAlone) {
  std::vector<float> logits = randomLogits(3, 3000, 1);
  std::vector<float> other = randomLogits(4, 200, 5);
  SamplingParams params{.temperature = 1, .top_p = 0.95F, .seed = 42};
  Sampler fresh, used;
  for (uint64_t index = 0; index < 50; ++index) {
    (void)used.sample(other, {.temperature = 2, .top_k = 9}, {}, index);
    EXPECT_EQ(*used.sample(logits, params, {}, index), *fresh.sample(logits, params, {}, index));
  }
}

TEST(Sampler, MaskedTokensAreNeverDrawn) {
  std::vector<float> logits(100, -std::numeric_limits<float>::infinity());
  logits[17] = 1;
  logits[99] = 1;
  Sampler sampler;
  std::set<int32_t> drawn;
  for (const SamplingParams &params :
       {SamplingParams{.temperature = 9}, SamplingParams{.temperature = 9, .top_k = 50},
        SamplingParams{.temperature = 9, .top_p = 0.9999F}})
    for (uint64_t index = 0; index < 100; ++index)
      drawn.insert(*sampler.sample(logits, params, {}, index));
  EXPECT_THAT(drawn, testing::ElementsAre(17, 99));
}

TEST(Sampler, BrokenLogitsAreAnErrorOfThisSequence) {
  Sampler sampler;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (size_t at : {0U, 1030U, 1999U})
    for (float bad : {kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> logits(2000, 1.0F);
      logits[at] = bad;
      EXPECT_EQ(sampler.sample(logits, {}, {}, 0).status().code(), base::StatusCode::kInternal);
    }
  std::vector<float> masked(2000, -kInfinity);
  EXPECT_FALSE(sampler.sample(masked, {.temperature = 1}, {}, 0).isOk());
}

TEST(Sampler, LogprobsMatchDoublePrecision) {
  std::vector<float> logits = randomLogits(11, 4000, 3);
  std::vector<Weighted> all = reference(logits, {.temperature = 1}, {});
  std::vector<TokenLogprob> top;
  topLogprobs(logits, 25, top);
  ASSERT_EQ(top.size(), 25u);
  for (size_t i = 0; i < top.size(); ++i) {
    EXPECT_EQ(top[i].token, all[i].token);
    EXPECT_NEAR(top[i].logprob, std::log(all[i].weight), 1e-5);
  }
  for (const Weighted &item : all)
    ASSERT_NEAR(logprob(logits, item.token), std::log(item.weight), 1e-5);
  top.clear();
  topLogprobs(std::vector<float>{1, 2}, 5, top);
  EXPECT_EQ(top.size(), 2u);
}

TEST(SamplingParams, OutOfRangeIsNamed) {
  EXPECT_TRUE(validate(SamplingParams{}).isOk());
  struct Case {
    SamplingParams params;
    const char *name;
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Case &test : {Case{{.temperature = kNan}, "temperature"}, Case{{.top_p = 0}, "top_p"},
                           Case{{.top_p = 1.5F}, "top_p"}, Case{{.min_p = -1}, "min_p"},
                           Case{{.repeat_penalty = 0}, "repeat_penalty"},
                           Case{{.repeat_last_tokens = -2}, "repeat_last_tokens"}}) {
    base::Status status = validate(test.params);
    EXPECT_EQ(status.code(), base::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(test.name));
  }
}

TEST(StopTokens, HoldsTheModelsAndTheRequests) {
  StopTokens stop(std::vector<int32_t>{106, 1}, std::vector<int32_t>{5});
  EXPECT_TRUE(stop.contains(1) && stop.contains(5) && stop.contains(106));
  EXPECT_FALSE(stop.contains(2));
  EXPECT_FALSE(StopTokens().contains(0));
}

} // namespace
} // namespace platen::decode
