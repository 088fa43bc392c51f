// The background thread with submitters, readers and cancellers beside it. Meant to be run under
// ThreadSanitizer too.
#include "runtime/engine/reference_run.h"

#include <gtest/gtest.h>
#include <thread>

namespace platen::engine {
namespace {

using base::StatusCode;
using fake::makeEngine;
using fake::Style;

Request numbered(int thread, int i) {
  Request request{.prompt = std::string(static_cast<size_t>(1 + (thread * 7 + i) % 30), 'k'),
                  .max_tokens = 1 + (thread + i) % 20};
  request.sampling = {.temperature = 1, .seed = static_cast<uint64_t>(thread * 100 + i)};
  return request;
}

TEST(Background, ManyThreadsSubmitReadAndCancel) {
  schedule::Limits limits = fake::kLimits;
  limits.total_pages = 30;
  Engine engine = makeEngine(Style::kHash, limits);
  ASSERT_TRUE(engine.start().isOk());
  EXPECT_EQ(engine.start().code(), StatusCode::kInvalidArgument);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&engine, thread] {
      for (int i = 0; i < 40; ++i) {
        Request request = numbered(thread, i);
        auto id = engine.submit(request);
        ASSERT_TRUE(id.isOk()) << id.status().toString();
        std::string read;
        bool cancel = i % 10 == 3;
        if (cancel)
          (void)engine.cancel(*id); // it may be finished already
        else if (i % 2 == 0)
          for (auto piece = engine.read(*id); piece.isOk() && !piece->empty();
               piece = engine.read(*id))
            read += *piece;
        (void)engine.metrics();
        auto result = engine.wait(*id);
        ASSERT_TRUE(result.isOk()) << result.status().toString();
        std::vector<int32_t> expected = fake::referenceTokens(request, Style::kHash);
        if (result->finish == FinishReason::kCancelled)
          expected.resize(result->tokens.size());
        ASSERT_EQ(result->tokens, expected);
        if (!cancel && i % 2 == 0) {
          ASSERT_EQ(read, result->text);
        }
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  ASSERT_TRUE(engine.stop().isOk());
  EXPECT_EQ(engine.metrics().finished, 160u);
  EXPECT_EQ(engine.metrics().free_pages, limits.total_pages);
}

TEST(Background, StopKeepsRequestsAndWaitersGoOnThemselves) {
  Engine engine = makeEngine(Style::kHash);
  Request request{.prompt = "abc", .max_tokens = 150, .ignore_eos = true};
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(engine.start().isOk());
    auto id = engine.submit(request);
    std::thread waiter([&] {
      auto result = engine.wait(*id);
      ASSERT_TRUE(result.isOk());
      EXPECT_EQ(result->tokens, fake::referenceTokens(request, Style::kHash));
    });
    ASSERT_TRUE(engine.stop().isOk());
    waiter.join();
  }
  EXPECT_TRUE(engine.stop().isOk()) << "stopping twice is harmless";
}

TEST(Background, ScoresFromSeveralThreads) {
  Engine engine = makeEngine(Style::kHash);
  ASSERT_TRUE(engine.start().isOk());
  std::vector<int32_t> tokens = *engine.encode("sphinx of black quartz judge my vow");
  std::vector<double> expected = fake::referenceScores(tokens, Style::kHash);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        auto scores = engine.score(tokens);
        ASSERT_TRUE(scores.isOk());
        for (size_t k = 0; k < expected.size(); ++k)
          ASSERT_NEAR((*scores)[k], expected[k], 1e-5);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(Background, DestructionDropsUnfinishedRequestsWithoutCallbacks) {
  std::atomic<bool> destroyed{false};
  std::atomic<int> late{0};
  for (int round = 0; round < 10; ++round) {
    destroyed = false;
    {
      Engine engine = makeEngine(Style::kHash);
      ASSERT_TRUE(engine.start().isOk());
      Request request{.prompt = "abc", .max_tokens = 190, .ignore_eos = true};
      request.on_output = [&](const Output &) { late += destroyed; };
      request.on_finish = [&](const RequestResult &) { late += destroyed; };
      ASSERT_TRUE(engine.submit(request).isOk());
      ASSERT_TRUE(engine.submit(request).isOk());
    }
    destroyed = true;
  }
  EXPECT_EQ(late, 0);
}

TEST(Background, TwoThreadsMayStepTheSameEngine) {
  Engine engine = makeEngine(Style::kHash);
  Request request{.prompt = "abc", .max_tokens = 100};
  std::vector<RequestId> ids;
  for (int i = 0; i < 8; ++i)
    ids.push_back(*engine.submit(request));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 2; ++thread)
    threads.emplace_back([&engine, &ids, &request, thread] {
      for (size_t i = static_cast<size_t>(thread); i < ids.size(); i += 2)
        ASSERT_EQ(engine.wait(ids[i])->tokens, fake::referenceTokens(request, Style::kHash));
    });
  for (std::thread &thread : threads)
    thread.join();
}

} // namespace
} // namespace platen::engine
