// Sampling on the device, executed from its PTX: equal logits, parameters and seeds give the token
// that the host draws, which a restatement in double of runtime/decode/sampler.h gives too. Both
// may differ from it only where the uniform number or top-p lies within rounding of a boundary, and
// there both must draw a token beside that boundary.
#include "kernels/cuda/abi.h"
#include "runtime/decode/philox.h"
#include "runtime/decode/sampler.h"
#include "tests/conformance/kernel_set.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

namespace platen::conformance {
namespace {

using namespace kernels;
using namespace kernels::harness;
using decode::SamplingParams;

static_assert(sizeof(PlatenSampling) == sizeof(PlatenCudaSampling));
static_assert(offsetof(PlatenSampling, uniform) == offsetof(PlatenCudaSampling, uniform));
static_assert(offsetof(PlatenSampling, temperature) == offsetof(PlatenCudaSampling, temperature));
static_assert(offsetof(PlatenSampling, top_k) == offsetof(PlatenCudaSampling, top_k));
static_assert(offsetof(PlatenSampling, top_p) == offsetof(PlatenCudaSampling, top_p));
static_assert(offsetof(PlatenSampling, log_min_p) == offsetof(PlatenCudaSampling, log_min_p));

/// What sampler.h states: the rounding of weights and their sums, as a part of the total.
constexpr double kSlack = 0x1p-16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Rows = std::vector<std::vector<float>>;

class CudaSample : public testing::TestWithParam<std::string> {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
  }
  /// Rows of equal length; the same tokens in every order.
  std::vector<int32_t> sample(const Rows &logits, const std::vector<PlatenSampling> &parameters) {
    const CudaKernelInfo kernel = set_.add(SampleSpec{logits[0].size()}).front();
    EXPECT_EQ(set_.compile(), "");
    std::vector<float> flat;
    for (const std::vector<float> &row : logits)
      flat.insert(flat.end(), row.begin(), row.end());
    Step step;
    step.rows = static_cast<int64_t>(logits.size());
    const auto sampling = std::make_shared<Buffer>(parameters.size() * sizeof(PlatenSampling)),
               tokens = std::make_shared<Buffer>(logits.size() * 4);
    std::memcpy(sampling->data(), parameters.data(), sampling->bytes());
    std::vector<int32_t> drawn;
    for (const Order &order : orders()) {
      const std::string why =
          set_.run(kernel, step, {floats(flat), sampling, tokens}, {.order = order});
      EXPECT_EQ(why, "");
      const std::vector<int32_t> now(tokens->as<int32_t>(), tokens->as<int32_t>() + logits.size());
      if (drawn.empty())
        drawn = now;
      EXPECT_EQ(now, drawn) << order.name;
    }
    return drawn;
  }
  void expectTheHostsTokens(const Rows &logits, const std::vector<SamplingParams> &parameters);
  KernelSet set_{GetParam()};
};

TEST_P(CudaSample, GreedyTakesTheFirstOfTheBestAndReportsBrokenRows) {
  Rows logits;
  for (uint32_t seed = 0; seed < 6; ++seed)
    logits.push_back(randomFloats(1000, seed, 3));
  logits[1][700] = logits[1][20] = 50;
  logits[2][5] = std::nanf("");
  logits[3][999] = kInfinity;
  std::fill(logits[4].begin(), logits[4].end(), -kInfinity);
  for (float &logit : logits[5])
    logit = -1 - std::abs(logit);
  logits[5][30] = -0.0F, logits[5][600] = 0.0F; // equal
  for (float temperature : {0.0F, 1.0F}) {
    const SamplingParams params{.temperature = temperature, .top_k = 1};
    const std::vector<int32_t> tokens =
        sample(logits, std::vector<PlatenSampling>(6, onDevice(params, 0)));
    for (size_t row = 0; row < logits.size(); ++row)
      EXPECT_EQ(tokens[row], decode::argmax(logits[row])) << row;
    EXPECT_EQ(tokens[1], 20);
    EXPECT_EQ(tokens[2], -1);
    EXPECT_EQ(tokens[5], 30);
  }
}

/// Tokens that the filters keep, in the order of ids, and the sum of weights up to each, of 1.
struct Kept {
  std::vector<uint32_t> tokens;
  std::vector<double> sums;
  size_t at(double uniform) const {
    const auto found = std::upper_bound(sums.begin(), sums.end(), uniform);
    return std::min(static_cast<size_t>(found - sums.begin()), sums.size() - 1);
  }
};
Kept keep(const std::vector<float> &logits, const SamplingParams &p, double topP) {
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  const double best = logits[order[0]];
  auto probability = [&](uint32_t token) { return std::exp(logits[token] - best); };
  if (p.top_k > 0)
    order.resize(std::min<size_t>(order.size(), static_cast<size_t>(p.top_k)));
  if (p.top_p < 1) {
    double mass = 0, sum = 0;
    for (uint32_t token : order)
      mass += probability(token);
    size_t count = 0;
    while (count < order.size() && sum < topP * mass)
      sum += probability(order[count++]);
    order.resize(std::max<size_t>(1, count));
  }
  if (p.min_p > 0)
    std::erase_if(order, [&](uint32_t token) { return probability(token) < double{p.min_p}; });
  std::sort(order.begin(), order.end());
  Kept kept{std::move(order), {}};
  double sum = 0;
  for (uint32_t token : kept.tokens)
    kept.sums.push_back(sum += std::exp((logits[token] - best) / double{p.temperature}));
  for (double &part : kept.sums)
    part /= sum;
  return kept;
}

/// The tokens that rounding may lead to: one alone, unless a boundary is near.
std::set<int32_t> admissible(const std::vector<float> &logits, const SamplingParams &p,
                             double uniform) {
  std::set<int32_t> tokens;
  for (double shift : {-kSlack, 0.0, kSlack}) {
    const Kept kept = keep(logits, p, double{p.top_p} + shift);
    for (size_t i = kept.at(uniform - kSlack); i <= kept.at(uniform + kSlack); ++i)
      tokens.insert(static_cast<int32_t>(kept.tokens[i]));
    if (p.top_p == 1)
      break;
  }
  return tokens;
}

void CudaSample::expectTheHostsTokens(const Rows &logits,
                                      const std::vector<SamplingParams> &parameters) {
  constexpr uint64_t kIndex = 5;
  std::vector<PlatenSampling> sampling;
  for (const SamplingParams &params : parameters)
    sampling.push_back(onDevice(params, kIndex));
  const std::vector<int32_t> tokens = sample(logits, sampling);
  decode::Sampler sampler;
  size_t near = 0, differ = 0;
  for (size_t row = 0; row < tokens.size(); ++row) {
    const SamplingParams &params = parameters[row];
    auto host = sampler.sample(logits[row], params, {}, kIndex);
    ASSERT_TRUE(host.isOk()) << host.status().toString();
    const std::set<int32_t> allowed =
        admissible(logits[row], params, decode::uniform(params.seed, kIndex));
    near += allowed.size() > 1;
    differ += tokens[row] != *host;
    EXPECT_TRUE(allowed.contains(tokens[row])) << "device, row " << row << ": " << tokens[row];
    EXPECT_TRUE(allowed.contains(*host)) << "host, row " << row << ": " << *host;
    EXPECT_TRUE(allowed.size() > 1 || tokens[row] == *host) << row;
  }
  EXPECT_LE(near * 20, tokens.size()) << "most rows must decide something";
  RecordProperty("rows", std::to_string(tokens.size()));
  RecordProperty("rows_near_a_boundary", std::to_string(near));
  RecordProperty("rows_that_differ", std::to_string(differ));
}

std::vector<SamplingParams> settings() {
  return {{.temperature = 1},
          {.temperature = 0.7F, .top_k = 40},
          {.temperature = 1.3F, .top_p = 0.9F},
          {.temperature = 2, .top_p = 0.3F},
          {.temperature = 1, .min_p = 0.05F},
          {.temperature = 0.8F, .top_k = 50, .top_p = 0.95F, .min_p = 0.02F},
          {.temperature = 1, .top_k = 1},
          {.temperature = 1, .top_p = 1e-30F}, // the best alone
          {.temperature = 1, .min_p = 1}};
}

TEST_P(CudaSample, EqualSeedsDrawTheHostsTokens) {
  for (size_t vocabulary : {1U, 257U, 1000U}) {
    Rows logits;
    std::vector<SamplingParams> parameters;
    for (uint32_t draw = 0; draw < 24; ++draw)
      for (SamplingParams params : settings()) {
        logits.push_back(randomFloats(vocabulary, 100 + draw, 4));
        if (vocabulary > 1) {
          logits.back()[draw] = logits.back()[draw + 9]; // a tie
          logits.back()[2 * draw + 1] = -kInfinity;
        }
        params.seed = logits.size();
        parameters.push_back(params);
      }
    SCOPED_TRACE(vocabulary);
    expectTheHostsTokens(logits, parameters);
  }
}

TEST_P(CudaSample, EqualSeedsDrawTheHostsTokensFromLargeVocabularies) {
  Rows logits;
  std::vector<SamplingParams> parameters;
  for (size_t setting : {0, 2, 5}) {
    logits.push_back(randomFloats(262144, static_cast<uint32_t>(200 + setting), 4));
    for (size_t peak = 0; peak < 40; ++peak) // tokens that are worth drawing, at all ends
      logits.back()[peak * 6721] = 13 + static_cast<float>(peak % 7) / 4;
    parameters.push_back(settings()[setting]);
    parameters.back().seed = 300 + setting;
  }
  expectTheHostsTokens(logits, parameters);
}

TEST_P(CudaSample, TheEndsOfTheUniformNumberChooseTheFirstAndTheLastKept) {
  const SamplingParams plain{.temperature = 1}, three{.temperature = 1, .top_k = 3},
      most{.temperature = 1, .top_k = 3, .top_p = 0.8F}; // 2.4 of 3
  Rows logits;
  std::vector<PlatenSampling> parameters;
  for (const SamplingParams &params : {plain, three, most})
    for (uint64_t uniform : {uint64_t{0}, ~uint64_t{0}}) {
      logits.emplace_back(1000, 1.0F);
      for (size_t masked : {0U, 1U, 2U, 997U, 998U, 999U})
        logits.back()[masked] = -kInfinity;
      for (size_t better : {990U, 500U, 70U})
        logits.back()[better] = 2;
      parameters.push_back(onDevice(params, 0));
      parameters.back().uniform = uniform;
    }
  EXPECT_EQ(sample(logits, parameters), (std::vector<int32_t>{3, 996, 70, 990, 70, 990}));
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaSample, testing::ValuesIn(testedArchitectures()),
                         [](const auto &info) { return info.param; });

} // namespace
} // namespace platen::conformance
