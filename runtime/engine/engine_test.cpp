// One request at a time: what it generates, how it ends, what it streams, and which requests are
// refused.
#include "runtime/engine/reference_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace platen::engine {
namespace {

using base::StatusCode;
using fake::kLetterA;
using fake::kLimits;
using fake::makeEngine;
using fake::Style;
using testing::ElementsAre;
using testing::HasSubstr;

RequestResult run(Engine &engine, Request request) {
  auto id = engine.submit(std::move(request));
  EXPECT_TRUE(id.isOk()) << id.status().toString();
  auto result = engine.wait(id.isOk() ? *id : 0);
  EXPECT_TRUE(result.isOk()) << result.status().toString();
  return result.isOk() ? *result : RequestResult{};
}

TEST(Engine, GeneratesWhatTheModelSays) {
  Engine engine = makeEngine(Style::kAlphabet);
  RequestResult result = run(engine, {.prompt = "abc", .max_tokens = 5});
  EXPECT_EQ(result.text, "defgh");
  EXPECT_EQ(result.finish, FinishReason::kMaxTokens);
  EXPECT_TRUE(result.status.isOk());
  EXPECT_EQ(result.prompt_tokens, 4) << "three letters and the beginning of sequence";
  EXPECT_EQ(result.tokens.size(), 5u);
  EXPECT_GT(result.timings.time_to_first_token_seconds, 0);
  EXPECT_GE(result.timings.max_inter_token_seconds, result.timings.mean_inter_token_seconds);
  EXPECT_EQ(engine.metrics().free_pages, kLimits.total_pages);
}

TEST(Engine, GreedyAndSampledEqualTheReference) {
  Engine engine = makeEngine(Style::kHash);
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (float temperature : {0.0F, 1.0F}) {
      Request request{.prompt = "once upon a time", .max_tokens = 40};
      request.sampling = {
          .temperature = temperature, .top_p = 0.9F, .repeat_penalty = 1.3F, .seed = seed};
      std::vector<int32_t> expected = fake::referenceTokens(request, Style::kHash);
      EXPECT_EQ(run(engine, request).tokens, expected);
    }
}

TEST(Engine, BosIsTheRequestsChoice) {
  Engine engine = makeEngine(Style::kHash);
  Request with{.prompt = "x", .max_tokens = 8};
  Request without{.prompt = "x", .add_bos = false, .max_tokens = 8};
  EXPECT_EQ(run(engine, with).prompt_tokens, 2);
  EXPECT_EQ(run(engine, without).prompt_tokens, 1);
  EXPECT_EQ(*engine.encode("<eos>", true, true), std::vector<int32_t>{fake::kEos});
  Request special{.prompt = "<eos>", .parse_special = true, .max_tokens = 1};
  EXPECT_EQ(run(engine, special).prompt_tokens, 1) << "control tokens are parsed when asked for";
  EXPECT_EQ(*engine.encode("ab"), (std::vector<int32_t>{fake::kBos, kLetterA, kLetterA + 1}));
  EXPECT_EQ(*engine.decode(*engine.encode("ab cd", false)), "ab cd");
}

TEST(Engine, StopTokenEndsAndGivesNoText) {
  Engine engine = makeEngine(Style::kAlphabet);
  RequestResult result =
      run(engine, {.prompt = "a", .max_tokens = 50, .stop_tokens = {kLetterA + 4}});
  EXPECT_EQ(result.finish, FinishReason::kStopToken);
  EXPECT_EQ(result.text, "bcd");
  EXPECT_EQ(result.tokens.size(), 4u) << "the stop token is counted";
}

TEST(Engine, ModelsEndOfSequenceCanBeIgnored) {
  Engine engine = makeEngine(Style::kHash);
  int ended = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Request request{.prompt = "q", .max_tokens = 60};
    request.sampling = {.temperature = 3, .seed = seed};
    RequestResult result = run(engine, request);
    EXPECT_EQ(result.tokens, fake::referenceTokens(request, Style::kHash));
    ended += result.finish == FinishReason::kStopToken;
    request.ignore_eos = true;
    EXPECT_EQ(run(engine, request).tokens.size(), 60u);
  }
  EXPECT_GT(ended, 5);
}

TEST(Engine, StopStringAcrossTokensIsHeldBackAndCut) {
  Engine engine = makeEngine(Style::kAlphabet);
  std::vector<std::string> deltas;
  Request request{.prompt = "a", .max_tokens = 50, .stop = {"xyz", "fgh"}};
  request.on_output = [&](const Output &output) { deltas.emplace_back(output.text); };
  RequestResult result = run(engine, request);
  EXPECT_EQ(result.finish, FinishReason::kStopString);
  EXPECT_EQ(result.text, "bcde");
  EXPECT_THAT(deltas, ElementsAre("b", "c", "d", "e", "", "", ""));
}

TEST(Engine, HeldBackTextComesOutWhenGenerationEnds) {
  Engine engine = makeEngine(Style::kAlphabet);
  RequestResult result = run(engine, {.prompt = "a", .max_tokens = 6, .stop = {"fgh"}});
  EXPECT_EQ(result.text, "bcdefg");
  EXPECT_EQ(result.finish, FinishReason::kMaxTokens);
}

bool isWholeUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<unsigned char>(text[i]);
    size_t bytes = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 9;
    if (i + bytes > text.size())
      return false;
    i += bytes;
  }
  return true;
}

TEST(Engine, StreamedTextIsWholeCharactersAndAddsUpToTheResult) {
  Engine engine = makeEngine(Style::kHash);
  bool met_two_bytes = false;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    std::string streamed, finished;
    std::vector<int32_t> tokens;
    Request request{
        .prompt = "hello", .max_tokens = 100, .stop = {"ab", "\xC3\xA9z"}, .ignore_eos = true};
    request.sampling = {.temperature = 2, .seed = seed};
    request.on_output = [&](const Output &output) {
      EXPECT_TRUE(isWholeUtf8(output.text));
      streamed += output.text;
      tokens.insert(tokens.end(), output.tokens.begin(), output.tokens.end());
    };
    request.on_finish = [&](const RequestResult &result) {
      finished = result.text;
      EXPECT_EQ(result.tokens, tokens);
    };
    auto id = engine.submit(request);
    ASSERT_TRUE(id.isOk());
    ASSERT_TRUE(engine.runUntilIdle().isOk());
    EXPECT_EQ(streamed, finished);
    EXPECT_EQ(finished.find("ab"), std::string::npos);
    met_two_bytes |= finished.find("\xC3\xA9") != std::string::npos;
    EXPECT_EQ(engine.wait(*id).status().code(), StatusCode::kNotFound) << "on_finish took it";
  }
  EXPECT_TRUE(met_two_bytes);
}

TEST(Engine, ReadGivesTheTextPieceByPiece) {
  Engine engine = makeEngine(Style::kAlphabet);
  auto id = engine.submit({.prompt = "a", .max_tokens = 4});
  std::vector<std::string> pieces;
  for (auto piece = engine.read(*id); piece.isOk() && !piece->empty(); piece = engine.read(*id))
    pieces.push_back(*piece);
  EXPECT_THAT(pieces, ElementsAre("b", "c", "d", "e"));
  EXPECT_EQ(engine.wait(*id)->text, "bcde");
  EXPECT_EQ(engine.wait(*id).status().code(), StatusCode::kNotFound) << "taken";
  EXPECT_EQ(engine.read(*id).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(engine.wait(77).status().code(), StatusCode::kNotFound);
  auto streamed =
      engine.submit({.prompt = "a", .max_tokens = 4, .on_output = [](const Output &) {}});
  EXPECT_EQ(engine.read(*streamed).status().code(), StatusCode::kInvalidArgument);
}

TEST(Engine, ContextFullEndsTheRequest) {
  schedule::Limits limits = kLimits;
  limits.context_tokens = 12;
  Engine engine = makeEngine(Style::kAlphabet, limits);
  RequestResult open_ended = run(engine, {.prompt = "abc"});
  EXPECT_EQ(open_ended.finish, FinishReason::kContextFull);
  EXPECT_EQ(open_ended.tokens.size(), 8u) << "4 of 12 positions hold the prompt";
  EXPECT_EQ(run(engine, {.prompt = "abc", .max_tokens = 100}).finish, FinishReason::kContextFull);
  EXPECT_EQ(run(engine, {.prompt = "abc", .max_tokens = 8}).finish, FinishReason::kMaxTokens);
  limits.context_tokens = 200;
  limits.total_pages = 3;
  Engine small = makeEngine(Style::kAlphabet, limits);
  EXPECT_EQ(run(small, {.prompt = "abc"}).tokens.size(), 9u)
      << "12 positions in the pool, and a last token that needs none";
}

TEST(Engine, LogprobsAreThoseOfTheRawDistribution) {
  Engine engine = makeEngine(Style::kHash);
  Request request{.prompt = "abc", .max_tokens = 10, .ignore_eos = true, .top_logprobs = 3};
  request.sampling = {.temperature = 2, .top_k = 20, .repeat_penalty = 1.5F};
  RequestResult result = run(engine, request);
  ASSERT_EQ(result.logprobs.size(), result.tokens.size());
  std::vector<int32_t> all = *engine.encode("abc");
  all.insert(all.end(), result.tokens.begin(), result.tokens.end());
  std::vector<double> scores = fake::referenceScores(all, Style::kHash);
  for (size_t i = 0; i < result.tokens.size(); ++i) {
    const GeneratedLogprob &logprob = result.logprobs[i];
    EXPECT_EQ(logprob.chosen.token, result.tokens[i]);
    EXPECT_NEAR(logprob.chosen.logprob, scores[3 + i], 1e-5);
    ASSERT_EQ(logprob.top.size(), 3u);
    EXPECT_GE(logprob.top[0].logprob, logprob.top[1].logprob);
    EXPECT_GE(logprob.top[0].logprob, logprob.chosen.logprob);
  }
  EXPECT_TRUE(run(engine, {.prompt = "a", .max_tokens = 2}).logprobs.empty());
}

TEST(Engine, ScoresEveryTokenInChunks) {
  Engine engine = makeEngine(Style::kHash);
  std::vector<int32_t> tokens = *engine.encode("the quick brown fox jumps over the lazy dog");
  std::vector<double> expected = fake::referenceScores(tokens, Style::kHash);
  auto scores = engine.score(tokens);
  ASSERT_TRUE(scores.isOk()) << scores.status().toString();
  ASSERT_EQ(scores->size(), tokens.size() - 1);
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR((*scores)[i], expected[i], 1e-5);
  EXPECT_GE(engine.metrics().steps, 5u) << "8 rows a step";
  EXPECT_EQ(engine.score(std::vector<int32_t>{5}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(engine.score(std::vector<int32_t>{5, fake::kPoison, 6}).status().code(),
            StatusCode::kInternal);
  EXPECT_EQ(engine.score(std::vector<int32_t>(202, 5)).status().code(),
            StatusCode::kInvalidArgument);
}

struct Refusal {
  std::string name;
  Request request;
  StatusCode code;
  std::string message;
};

TEST(Engine, RefusesWhatCannotWorkAndSaysWhy) {
  schedule::Limits limits = kLimits;
  limits.total_pages = 10;
  Engine engine = makeEngine(Style::kHash, limits);
  std::vector<Refusal> refusals{
      {"empty", {}, StatusCode::kInvalidArgument, "the prompt is empty"},
      {"both", {.prompt = "a", .tokens = {3}}, StatusCode::kInvalidArgument, "not both"},
      {"negative token", {.tokens = {3, -1}}, StatusCode::kInvalidArgument, "prompt token 1 is -1"},
      {"large token", {.tokens = {64}}, StatusCode::kInvalidArgument, "the vocabulary has 64"},
      {"too long",
       {.tokens = std::vector<int32_t>(200, 3)},
       StatusCode::kInvalidArgument,
       "the prompt has 200 tokens"},
      {"beyond the pool",
       {.tokens = std::vector<int32_t>(41, 3)},
       StatusCode::kResourceExhausted,
       "11 KV pages of 4 tokens"},
      {"grows beyond the pool",
       {.tokens = std::vector<int32_t>(30, 3), .max_tokens = 12},
       StatusCode::kResourceExhausted,
       "lower max_tokens"},
      {"negative max_tokens",
       {.prompt = "a", .max_tokens = -1},
       StatusCode::kInvalidArgument,
       "max_tokens is -1"},
      {"top_p", {.prompt = "a", .sampling = {.top_p = 2}}, StatusCode::kInvalidArgument, "top_p"},
      {"empty stop",
       {.prompt = "a", .stop = {""}},
       StatusCode::kInvalidArgument,
       "stop string is empty"},
      {"half stop", {.prompt = "a", .stop = {"\xA9"}}, StatusCode::kInvalidArgument, "not UTF-8"},
      {"stop token",
       {.prompt = "a", .stop_tokens = {99}},
       StatusCode::kInvalidArgument,
       "stop token 0 is 99"},
      {"logprobs",
       {.prompt = "a", .top_logprobs = 65},
       StatusCode::kInvalidArgument,
       "top_logprobs is 65"},
  };
  for (const Refusal &refusal : refusals) {
    auto id = engine.submit(refusal.request);
    ASSERT_FALSE(id.isOk()) << refusal.name;
    EXPECT_EQ(id.status().code(), refusal.code) << refusal.name;
    EXPECT_THAT(std::string(id.status().message()), HasSubstr(refusal.message)) << refusal.name;
  }
  EXPECT_EQ(engine.metrics().refused, refusals.size());
  EXPECT_EQ(
      run(engine, {.tokens = std::vector<int32_t>(30, 3), .max_tokens = 11, .ignore_eos = true})
          .tokens.size(),
      11u)
      << "the longest that fits";
}

TEST(Engine, WithoutAChatTemplateConversationsAreRefusedByName) {
  Engine engine = makeEngine(Style::kHash);
  auto prompt = engine.renderChat(R"([{"role": "user", "content": "hello"}])");
  EXPECT_EQ(prompt.status().code(), base::StatusCode::kUnsupported);
  EXPECT_NE(prompt.status().toString().find("chat template"), std::string::npos);
}

TEST(Engine, WithoutATokenizerTokenIdsStillWork) {
  EngineParts parts = fake::makeParts(Style::kAlphabet);
  parts.text = nullptr;
  Engine engine = EngineAccess::make(std::move(parts));
  EXPECT_EQ(engine.submit({.prompt = "a"}).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(engine.submit({.tokens = {kLetterA}, .stop = {"x"}}).status().code(),
            StatusCode::kUnsupported);
  EXPECT_EQ(engine.encode("a").status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(engine.decode(std::vector<int32_t>{3}).status().code(), StatusCode::kUnsupported);
  RequestResult result = run(engine, {.tokens = {kLetterA}, .max_tokens = 2});
  EXPECT_EQ(result.tokens, (std::vector<int32_t>{kLetterA + 1, kLetterA + 2}));
  EXPECT_EQ(result.text, "");
}

TEST(FinishReason, HasStableNames) {
  EXPECT_EQ(finishReasonName(FinishReason::kStopString), "stop_string");
  EXPECT_EQ(finishReasonName(FinishReason::kError), "error");
}

} // namespace
} // namespace platen::engine
