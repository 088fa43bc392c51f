// Gemma 3 270M, the whole model: greedy tokens against those of the framework in fp32, one by one
// and as one batch that arrives shuffled; perplexity of the smaller formats against fp32.
//
// Needs PLATEN_GEMMA_DIR (models/gemma3/export.py writes it) and the shared fixtures; skipped
// without them.
#include "tests/end_to_end/gemma_model.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <random>

namespace platen::end_to_end {
namespace {

using compiler::WeightFormat;
using engine::Engine;

/// Plans are compiled once for all tests of the process.
class GemmaTest : public testing::Test {
protected:
  static void SetUpTestSuite() { plans_ = std::make_unique<TemporaryFolder>(); }
  static void TearDownTestSuite() { plans_.reset(); }
  void SetUp() override {
    if (gemmaFolder().empty() || sharedFixtures().empty())
      GTEST_SKIP()
          << "needs the exported model (PLATEN_GEMMA_DIR) and the shared fixtures (PLATEN_SHARED)";
  }

  static std::filesystem::path plan(WeightFormat format) {
    std::filesystem::path path =
        *plans_ / (std::string(compiler::weightFormatName(format)) + ".plan");
    if (!std::filesystem::exists(path)) {
      auto report =
          compileForTest(gemmaFolder() / "model.onnx", path, format, {4096, 256, 32, 8, 16});
      EXPECT_TRUE(report.isOk()) << report.status().toString();
    }
    return path;
  }

  /// Token for token, up to where the reference's own margin no longer decides.
  static void compare(const Expected &expected, const std::vector<int32_t> &tokens) {
    ASSERT_EQ(tokens.size(), expected.tokens.size()) << expected.name;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == expected.tokens[i])
        continue;
      EXPECT_LE(expected.margins[i], 0.001) << expected.name << " parts at token " << i;
      return; // from here on the texts differ
    }
  }

  /// exp of the mean negative log probability of perplexity.txt's tokens, in windows of 1024 that
  /// begin with bos.
  static double perplexity(Engine &engine) {
    std::ifstream file(std::filesystem::path(std::getenv("PLATEN_SOURCE_DIR")) /
                       "models/gemma3/perplexity.txt");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    auto ids = engine.encode(text, /*add_bos=*/false);
    EXPECT_TRUE(ids.isOk() && ids->size() >= 2000);
    double sum = 0;
    size_t count = 0;
    for (size_t start = 0; start < ids->size(); start += 1023) {
      std::vector<int32_t> window{2};
      window.insert(window.end(), ids->begin() + static_cast<long>(start),
                    ids->begin() + static_cast<long>(std::min(ids->size(), start + 1023)));
      auto scores = engine.score(window);
      EXPECT_TRUE(scores.isOk()) << scores.status().toString();
      for (float score : *scores)
        sum -= score;
      count += scores->size();
    }
    return std::exp(sum / static_cast<double>(count));
  }

  static std::unique_ptr<TemporaryFolder> plans_;
};
std::unique_ptr<TemporaryFolder> GemmaTest::plans_;

TEST_F(GemmaTest, TokensOneByOne) {
  auto engine = Engine::load(plan(WeightFormat::kF32).string());
  ASSERT_TRUE(engine.isOk()) << engine.status().toString();
  for (const Expected &expected : readExpected()) {
    auto id = engine->submit(greedy(expected, expected.tokens.size()));
    ASSERT_TRUE(id.isOk()) << id.status().toString();
    auto result = engine->wait(*id);
    ASSERT_TRUE(result.isOk()) << result.status().toString();
    compare(expected, result->tokens);
  }
}

TEST_F(GemmaTest, TokensAsOneShuffledBatchInChunks) {
  engine::EngineOptions options;
  options.step_tokens = 48; // the long prompts take many chunks
  auto engine = Engine::load(plan(WeightFormat::kF32).string(), options);
  ASSERT_TRUE(engine.isOk()) << engine.status().toString();
  std::vector<Expected> all = readExpected();
  std::shuffle(all.begin(), all.end(), std::mt19937(11));
  std::vector<engine::RequestId> ids;
  for (const Expected &expected : all) {
    auto id = engine->submit(greedy(expected, expected.tokens.size()));
    ASSERT_TRUE(id.isOk()) << id.status().toString();
    ids.push_back(*id);
    for (int step = 0; step < 3; ++step)
      ASSERT_TRUE(engine->step().isOk());
  }
  for (size_t i = 0; i < all.size(); ++i) {
    auto result = engine->wait(ids[i]);
    ASSERT_TRUE(result.isOk()) << result.status().toString();
    compare(all[i], result->tokens);
  }
}

TEST_F(GemmaTest, PerplexityOfSmallerFormats) {
  std::map<WeightFormat, double> values;
  for (WeightFormat format : {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kF16,
                              WeightFormat::kInt8, WeightFormat::kInt4}) {
    auto engine = Engine::load(plan(format).string());
    ASSERT_TRUE(engine.isOk()) << engine.status().toString();
    values[format] = perplexity(*engine);
    std::printf("perplexity %s %.4f\n", std::string(compiler::weightFormatName(format)).c_str(),
                values[format]);
  }
  double fp32 = values[WeightFormat::kF32];
  EXPECT_NEAR(values[WeightFormat::kBF16] / fp32, 1, 0.01);
  EXPECT_NEAR(values[WeightFormat::kF16] / fp32, 1, 0.001);
  EXPECT_NEAR(values[WeightFormat::kInt8] / fp32, 1, 0.01);
}

} // namespace
} // namespace platen::end_to_end
