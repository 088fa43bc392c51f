// Many requests at once: their results equal those of each alone whatever the limits; failures and
// cancellations stay with the request they concern; no page is lost.
#include "runtime/engine/reference_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>

namespace platen::engine {
namespace {

using base::Status;
using base::StatusCode;
using fake::kLetterA;
using fake::kLimits;
using fake::makeEngine;
using fake::Style;

struct RandomRun {
  explicit RandomRun(uint32_t seed) : random(seed) {}

  int64_t below(int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); }

  schedule::Limits limits() {
    schedule::Limits limits{.context_tokens = 200,
                            .step_tokens = 1 + below(20),
                            .step_rows = 1 + below(6),
                            .max_sequences = 1,
                            .page_tokens = 1 << below(4),
                            .total_pages = 0};
    limits.max_sequences = 1 + below(std::min(limits.step_tokens, limits.step_rows));
    limits.total_pages = (80 + below(30)) / limits.page_tokens + 1;
    return limits;
  }

  Request request() {
    Request request;
    for (int64_t n = 1 + below(50); n > 0; --n)
      request.tokens.push_back(kLetterA + static_cast<int32_t>(below(26)));
    request.max_tokens = 1 + below(30);
    request.sampling = {.temperature = below(2) == 0 ? 0.0F : 1.5F,
                        .top_k = static_cast<int32_t>(below(10)),
                        .top_p = below(2) == 0 ? 1.0F : 0.8F,
                        .min_p = below(2) == 0 ? 0.0F : 0.05F,
                        .repeat_penalty = below(2) == 0 ? 1.0F : 1.4F,
                        .seed = random()};
    return request;
  }

  std::mt19937 random;
};

TEST(Batch, ResultsEqualThoseOfEachRequestAlone) {
  uint64_t preemptions = 0, chunked = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    RandomRun random(seed);
    schedule::Limits limits = random.limits();
    // Whoever draws the tokens, they are those of the reference, which is the host's sampler.
    Engine engine = makeEngine(Style::kHash, limits, seed % 2 == 1);
    std::map<RequestId, Request> requests;
    std::map<RequestId, int64_t> cancelled;
    for (int arrivals = 12;
         arrivals > 0 || engine.metrics().running + engine.metrics().waiting > 0;) {
      if (arrivals > 0 && random.below(3) == 0) {
        Request request = random.request();
        chunked += std::ssize(request.tokens) > limits.step_tokens;
        auto id = engine.submit(request);
        ASSERT_TRUE(id.isOk()) << id.status().toString();
        requests[*id] = request;
        --arrivals;
      }
      if (!requests.empty() && random.below(25) == 0)
        if (RequestId id = 1 + static_cast<RequestId>(random.below(std::ssize(requests)));
            engine.cancel(id).isOk())
          cancelled[id] = 1;
      ASSERT_TRUE(engine.step().isOk());
    }
    for (const auto &[id, request] : requests) {
      auto result = engine.wait(id);
      ASSERT_TRUE(result.isOk());
      ASSERT_TRUE(result->status.isOk()) << result->status.toString();
      std::vector<int32_t> expected = fake::referenceTokens(request, Style::kHash);
      if (result->finish == FinishReason::kCancelled) {
        ASSERT_TRUE(cancelled.contains(id));
        ASSERT_LE(result->tokens.size(), expected.size());
        expected.resize(result->tokens.size());
      }
      ASSERT_EQ(result->tokens, expected) << "seed " << seed << " request " << id;
      ASSERT_EQ(result->text,
                *fake::Codec().decode(std::vector<int32_t>(expected.begin(), expected.end())));
    }
    Metrics metrics = engine.metrics();
    ASSERT_EQ(metrics.free_pages, limits.total_pages) << "a page was lost, seed " << seed;
    ASSERT_EQ(metrics.finished, requests.size());
    preemptions += metrics.preemptions;
  }
  EXPECT_GT(preemptions, 100u) << "the runs must meet page exhaustion";
  EXPECT_GT(chunked, 100u) << "the runs must meet chunked prefill";
}

TEST(Batch, PreemptedRequestsSayHowOften) {
  schedule::Limits limits = kLimits;
  limits.total_pages = 12; // 48 positions
  Engine engine = makeEngine(Style::kHash, limits);
  Request request{.tokens = {5, 6, 7}, .max_tokens = 40, .ignore_eos = true};
  auto older = engine.submit(request), younger = engine.submit(request);
  auto first = engine.wait(*older), second = engine.wait(*younger);
  EXPECT_EQ(first->preemptions, 0);
  EXPECT_GT(second->preemptions, 0);
  EXPECT_EQ(first->tokens, second->tokens);
  EXPECT_EQ(first->tokens.size(), 40u);
}

TEST(Batch, ScoresBesideGenerationAndPreemption) {
  schedule::Limits limits = kLimits;
  limits.total_pages = 20;
  for (int64_t rows : {4, 5, 8}) {
    limits.step_rows = rows;
    Engine engine = makeEngine(Style::kHash, limits);
    std::vector<RequestId> ids;
    Request request{.tokens = {9, 8, 7}, .max_tokens = 50, .ignore_eos = true};
    for (int i = 0; i < 3; ++i)
      ids.push_back(*engine.submit(request));
    for (int i = 0; i < 10; ++i)
      ASSERT_TRUE(engine.step().isOk());
    std::vector<int32_t> tokens = *engine.encode("pack my box with five dozen liquor jugs");
    auto scores = engine.score(tokens);
    ASSERT_TRUE(scores.isOk());
    std::vector<double> expected = fake::referenceScores(tokens, Style::kHash);
    ASSERT_EQ(scores->size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR((*scores)[i], expected[i], 1e-5);
    for (RequestId id : ids)
      EXPECT_EQ(engine.wait(id)->tokens, fake::referenceTokens(request, Style::kHash));
  }
}

TEST(Batch, OneBrokenRequestLeavesTheOthersAlone) {
  Engine engine = makeEngine(Style::kHash);
  Request good{.prompt = "good", .max_tokens = 20};
  auto before = engine.submit(good);
  auto bad = engine.submit({.tokens = {3, fake::kPoison, 4}, .max_tokens = 20});
  auto after = engine.submit(good);
  auto result = engine.wait(*bad);
  ASSERT_TRUE(result.isOk());
  EXPECT_EQ(result->finish, FinishReason::kError);
  EXPECT_EQ(result->status.code(), StatusCode::kInternal);
  EXPECT_THAT(result->status.toString(), testing::HasSubstr("position 3"));
  for (RequestId id : {*before, *after})
    EXPECT_EQ(engine.wait(id)->tokens, fake::referenceTokens(good, Style::kHash));
  EXPECT_EQ(engine.metrics().failed, 1u);
  EXPECT_EQ(engine.metrics().free_pages, kLimits.total_pages);
  // The same error, to the letter, where the executor draws.
  Engine device = makeEngine(Style::kHash, kLimits, true);
  auto beside = device.submit(good);
  auto broken = device.submit({.tokens = {3, fake::kPoison, 4}, .max_tokens = 20});
  EXPECT_EQ(device.wait(*broken)->status.toString(), result->status.toString());
  EXPECT_EQ(device.wait(*beside)->tokens, fake::referenceTokens(good, Style::kHash));
}

TEST(Batch, LogitsAreReadOnlyForWhoNeedsThem) {
  EngineParts parts = fake::makeParts(Style::kHash, kLimits, true);
  auto *model = static_cast<fake::Model *>(parts.executor.get());
  Engine engine = EngineAccess::make(std::move(parts));
  const Request plain{
      .prompt = "plain", .max_tokens = 10, .sampling = {.temperature = 1, .seed = 7}};
  Request penalised = plain, with_logprobs = plain;
  penalised.sampling.repeat_penalty = 1.3F;
  with_logprobs.top_logprobs = 0;
  EXPECT_EQ(engine.wait(*engine.submit(plain))->tokens, fake::referenceTokens(plain, Style::kHash));
  EXPECT_EQ(model->reads_of_logits, 0U);
  for (const Request &request : {penalised, with_logprobs}) {
    auto one = engine.submit(request), other = engine.submit(plain);
    auto result = engine.wait(*one);
    EXPECT_EQ(result->tokens, fake::referenceTokens(request, Style::kHash));
    EXPECT_EQ(result->logprobs.size(), request.top_logprobs < 0 ? 0 : result->tokens.size());
    EXPECT_EQ(engine.wait(*other)->tokens, fake::referenceTokens(plain, Style::kHash));
    EXPECT_GT(std::exchange(model->reads_of_logits, 0), 0U);
  }
  ASSERT_TRUE(engine.score(std::vector<int32_t>{3, 4, 5}).isOk());
  EXPECT_EQ(model->reads_of_logits, 1U);
  // A plan may come from anywhere: what its sampler says is checked.
  model->drawn_amiss = fake::kVocabulary;
  auto amiss = engine.submit(plain), beside = engine.submit(penalised);
  EXPECT_EQ(engine.wait(*beside)->tokens, fake::referenceTokens(penalised, Style::kHash));
  EXPECT_THAT(engine.wait(*amiss)->status.toString(), testing::HasSubstr("the vocabulary has 64"));
}

TEST(Batch, CancelKeepsWhatWasGenerated) {
  Engine engine = makeEngine(Style::kAlphabet);
  auto id = engine.submit({.prompt = "a", .max_tokens = 100, .stop = {"ez"}});
  while (engine.metrics().generated_tokens < 4)
    ASSERT_TRUE(engine.step().isOk());
  ASSERT_TRUE(engine.cancel(*id).isOk());
  auto result = engine.wait(*id);
  EXPECT_EQ(result->finish, FinishReason::kCancelled);
  EXPECT_EQ(result->text, "bcde") << "the held back e comes out";
  EXPECT_EQ(engine.cancel(*id).code(), StatusCode::kNotFound);
  EXPECT_EQ(engine.cancel(99).code(), StatusCode::kNotFound);
  EXPECT_FALSE(*engine.step()) << "nothing is left to do";
  EXPECT_EQ(engine.metrics().cancelled, 1u);
  EXPECT_EQ(engine.metrics().free_pages, kLimits.total_pages);
}

TEST(Batch, AFailedLaunchFailsItsStepOnly) {
  EngineParts parts = fake::makeParts(Style::kAlphabet);
  auto *model = static_cast<fake::Model *>(parts.executor.get());
  Engine engine = EngineAccess::make(std::move(parts));
  auto first = engine.submit({.prompt = "a", .max_tokens = 3});
  model->failNext(base::internalError("broken on purpose"));
  EXPECT_TRUE(engine.step().isOk());
  auto second = engine.submit({.prompt = "a", .max_tokens = 3});
  EXPECT_EQ(engine.wait(*first)->status.message(), "broken on purpose");
  EXPECT_EQ(engine.wait(*second)->text, "bcd");
  EXPECT_EQ(engine.metrics().free_pages, kLimits.total_pages);
}

TEST(Batch, ALostDeviceFailsEverythingForGood) {
  EngineParts parts = fake::makeParts(Style::kAlphabet);
  auto *model = static_cast<fake::Model *>(parts.executor.get());
  Engine engine = EngineAccess::make(std::move(parts));
  std::vector<RequestId> ids;
  for (int i = 0; i < 6; ++i) // two of them still wait for a place
    ids.push_back(*engine.submit({.prompt = "a", .max_tokens = 3}));
  model->failNext(base::Status(StatusCode::kDeviceLost, "unplugged"));
  EXPECT_EQ(engine.step().status().code(), StatusCode::kDeviceLost);
  for (RequestId id : ids)
    EXPECT_EQ(engine.wait(id)->status.code(), StatusCode::kDeviceLost);
  EXPECT_EQ(engine.submit({.prompt = "a"}).status().code(), StatusCode::kDeviceLost);
}

TEST(Batch, CallbacksMaySubmitAndCancelButNotStep) {
  Engine engine = makeEngine(Style::kAlphabet);
  RequestId follow_up = 0, other = *engine.submit({.prompt = "m", .max_tokens = 100});
  Status step_status, wait_status, stop_status;
  Request request{.prompt = "a", .max_tokens = 3};
  request.on_finish = [&](const RequestResult &result) {
    follow_up = *engine.submit({.prompt = result.text, .max_tokens = 2});
    EXPECT_TRUE(engine.cancel(other).isOk());
    step_status = engine.step().status();
    wait_status = engine.wait(other).status();
    stop_status = engine.stop();
  };
  ASSERT_TRUE(engine.submit(request).isOk());
  ASSERT_TRUE(engine.runUntilIdle().isOk());
  for (const Status &status : {step_status, wait_status, stop_status})
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(engine.wait(follow_up)->text, "ef");
  EXPECT_EQ(engine.wait(other)->finish, FinishReason::kCancelled);
}

TEST(Batch, AThrowingCallbackFailsItsRequestOnly) {
  Engine engine = makeEngine(Style::kAlphabet);
  base::Status seen;
  Request bad{.prompt = "a", .max_tokens = 5};
  bad.on_output = [](const Output &) { throw std::runtime_error("user bug"); };
  bad.on_finish = [&](const RequestResult &result) { seen = result.status; };
  auto good = engine.submit({.prompt = "a", .max_tokens = 5});
  ASSERT_TRUE(engine.submit(bad).isOk());
  bad.on_finish = nullptr;
  auto kept = engine.submit(bad);
  ASSERT_TRUE(engine.runUntilIdle().isOk());
  EXPECT_THAT(std::string(seen.message()), testing::HasSubstr("user bug"));
  EXPECT_EQ(engine.wait(*kept)->finish, FinishReason::kError);
  EXPECT_EQ(engine.wait(*good)->text, "bcdef");
  EXPECT_EQ(engine.metrics().failed, 2u);
  EXPECT_EQ(engine.metrics().free_pages, kLimits.total_pages);
}

TEST(Batch, MaxWaitingRefusesWhatCanBeRetried) {
  EngineParts parts = fake::makeParts(Style::kAlphabet);
  parts.max_waiting = 2;
  Engine engine = EngineAccess::make(std::move(parts));
  Request request{.prompt = "a", .max_tokens = 2};
  auto first = engine.submit(request);
  ASSERT_TRUE(engine.submit(request).isOk());
  EXPECT_EQ(engine.submit(request).status().code(), StatusCode::kResourceExhausted);
  ASSERT_TRUE(engine.wait(*first).isOk());
  EXPECT_TRUE(engine.submit(request).isOk());
}

TEST(Batch, MetricsCountPositionsAndTokens) {
  Engine engine = makeEngine(Style::kAlphabet);
  auto id = engine.submit({.prompt = "abcdefghijklmnopqrstuvwxyz", .max_tokens = 10});
  EXPECT_EQ(engine.metrics().waiting, 1);
  ASSERT_TRUE(engine.wait(*id).isOk());
  Metrics metrics = engine.metrics();
  EXPECT_EQ(metrics.prefill_tokens, 27u);
  EXPECT_EQ(metrics.decode_tokens, 9u) << "the last token is never executed";
  EXPECT_EQ(metrics.generated_tokens, 10u);
  EXPECT_EQ(metrics.steps, 11u) << "27 prompt tokens take two steps of 16";
  EXPECT_EQ(metrics.submitted, 1u);
  EXPECT_EQ(metrics.finished, 1u);
}

} // namespace
} // namespace platen::engine
