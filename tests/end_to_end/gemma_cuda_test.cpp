// Gemma 3 270M, the whole model, through the unchanged runtime on a CUDA device: one plan for host
// and CUDA, whose greedy tokens must be the same on both.
//
// The device is whatever the driver has: a GPU, or the simulator (PLATEN_CUDA_DRIVER). Needs
// PLATEN_GEMMA_DIR, the shared fixtures and NVRTC; skipped without them.
#include "runtime/device/cuda/cuda_device.h"
#include "tests/end_to_end/gemma_model.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <map>

namespace platen::end_to_end {
namespace {

using compiler::WeightFormat;
using engine::Engine;

constexpr size_t kTokens = 8;

class GemmaCudaTest : public testing::TestWithParam<WeightFormat> {
protected:
  static void SetUpTestSuite() { plans_ = std::make_unique<TemporaryFolder>(); }
  static void TearDownTestSuite() { plans_.reset(); }
  void SetUp() override {
    if (gemmaFolder().empty() || sharedFixtures().empty())
      GTEST_SKIP()
          << "needs the exported model (PLATEN_GEMMA_DIR) and the shared fixtures (PLATEN_SHARED)";
    if (auto device = device::CudaDevice::open(); !device.isOk())
      GTEST_SKIP() << device.status().toString();
    plan_ = *plans_ / (std::string(compiler::weightFormatName(GetParam())) + ".plan");
    if (!std::filesystem::exists(plan_)) {
      auto report = compileForTest(gemmaFolder() / "model.onnx", plan_, GetParam(),
                                   {1024, 64, 8, 4, 16}, {hostTargetHere(), "sm_80", "sm_90a"});
      if (report.status().code() == base::StatusCode::kNotFound)
        GTEST_SKIP() << report.status().toString();
      ASSERT_TRUE(report.isOk()) << report.status().toString();
    }
  }

  std::unique_ptr<Engine> engineOn(const std::string &device, bool graphs = true) const {
    engine::EngineOptions options;
    options.device = device;
    options.cuda_graphs = graphs;
    options.kv_pages = 64;
    auto engine = Engine::load(plan_.string(), options);
    EXPECT_TRUE(engine.isOk()) << engine.status().toString();
    return engine.isOk() ? std::make_unique<Engine>(std::move(*engine)) : nullptr;
  }

  /// Results of all prompts, which run together.
  static std::vector<engine::RequestResult> run(Engine &engine,
                                                const std::vector<Expected> &prompts) {
    std::vector<engine::RequestId> ids;
    for (const Expected &prompt : prompts) {
      engine::Request request = greedy(prompt, kTokens);
      request.top_logprobs = 2;
      auto id = engine.submit(request);
      EXPECT_TRUE(id.isOk()) << id.status().toString();
      ids.push_back(*id);
    }
    std::vector<engine::RequestResult> results;
    for (engine::RequestId id : ids) {
      auto result = engine.wait(id);
      EXPECT_TRUE(result.isOk()) << result.status().toString();
      EXPECT_TRUE(result->status.isOk()) << result->status.toString();
      EXPECT_EQ(result->tokens.size(), kTokens);
      results.push_back(std::move(*result));
    }
    return results;
  }

  /// Token for token; where they part, the host itself must have been undecided.
  static void compare(const std::string &name, const engine::RequestResult &host,
                      const engine::RequestResult &cuda) {
    for (size_t i = 0; i < kTokens; ++i) {
      if (host.tokens[i] == cuda.tokens[i])
        continue;
      const auto &top = host.logprobs[i].top;
      const float margin = top[0].logprob - top[1].logprob;
      std::printf("%s parts at token %zu, where the host's margin is %.4f\n", name.c_str(), i,
                  static_cast<double>(margin));
      EXPECT_LE(margin, kMargin) << name << " parts at token " << i;
      return;
    }
  }

  /// Both ways round values of 10 to 30 to bf16 (8 bits) at different places of 18 layers.
  static constexpr float kMargin = 0.1F;
  std::filesystem::path plan_;
  static std::unique_ptr<TemporaryFolder> plans_;
};
std::unique_ptr<TemporaryFolder> GemmaCudaTest::plans_;

TEST_P(GemmaCudaTest, TokensAreTheHostsAloneAndInABatchOfFour) {
  std::vector<Expected> prompts = readExpected();
  prompts.resize(4);
  std::unique_ptr<Engine> host = engineOn("host"), cuda = engineOn("cuda");
  ASSERT_TRUE(host && cuda);
  std::printf("%s: %s, %s\n", std::string(compiler::weightFormatName(GetParam())).c_str(),
              cuda->model().device.c_str(), cuda->model().code_target.c_str());
  const std::vector<engine::RequestResult> expected = run(*host, prompts);
  const std::vector<engine::RequestResult> batch = run(*cuda, prompts);
  for (size_t i = 0; i < prompts.size(); ++i)
    compare(prompts[i].name, expected[i], batch[i]);
  std::unique_ptr<Engine> direct = engineOn("cuda", /*graphs=*/false);
  ASSERT_TRUE(direct);
  for (size_t i = 0; i < 2; ++i) { // alone: the batch changes nothing, nor do graphs
    EXPECT_EQ(run(*cuda, {prompts[i]})[0].tokens, batch[i].tokens) << prompts[i].name;
    if (i == 0) {
      EXPECT_EQ(run(*direct, {prompts[i]})[0].tokens, batch[i].tokens) << prompts[i].name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, GemmaCudaTest,
                         testing::Values(WeightFormat::kBF16, WeightFormat::kInt4),
                         [](const auto &info) {
                           return std::string(compiler::weightFormatName(info.param));
                         });

/// Formats that GPUs alone multiply: there is no host to compare with. Two prompts against what the
/// framework generates in fp32, and how probable that is to the plan; both are printed.
class GemmaNarrowTest : public testing::TestWithParam<std::pair<WeightFormat, const char *>> {};

TEST_P(GemmaNarrowTest, TokensAndTheirProbabilitiesBesideFp32s) {
  if (gemmaFolder().empty() || sharedFixtures().empty())
    GTEST_SKIP()
        << "needs the exported model (PLATEN_GEMMA_DIR) and the shared fixtures (PLATEN_SHARED)";
  const auto [format, target] = GetParam();
  TemporaryFolder folder;
  const std::filesystem::path plan = folder / "narrow.plan";
  auto report =
      compileForTest(gemmaFolder() / "model.onnx", plan, format, {1024, 32, 32, 4, 16}, {target});
  if (report.status().code() == base::StatusCode::kNotFound)
    GTEST_SKIP() << report.status().toString();
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  engine::EngineOptions options;
  options.device = "cuda";
  options.kv_pages = 64;
  auto engine = Engine::load(plan.string(), options);
  if (!engine.isOk())
    GTEST_SKIP() << engine.status().toString();
  std::vector<Expected> prompts = readExpected();
  prompts.resize(2);
  std::vector<engine::RequestId> ids;
  for (const Expected &prompt : prompts) {
    auto id = engine->submit(greedy(prompt, kTokens));
    ASSERT_TRUE(id.isOk()) << id.status().toString();
    ids.push_back(*id);
  }
  for (size_t p = 0; p < prompts.size(); ++p) {
    auto result = engine->wait(ids[p]);
    ASSERT_TRUE(result.isOk() && result->status.isOk());
    ASSERT_EQ(result->tokens.size(), kTokens);
    size_t equal = 0;
    while (equal < kTokens && result->tokens[equal] == prompts[p].tokens[equal])
      ++equal;
    std::vector<int32_t> text = prompts[p].prompt;
    text.insert(text.end(), prompts[p].tokens.begin(), prompts[p].tokens.begin() + 12);
    auto scores = engine->score(text);
    ASSERT_TRUE(scores.isOk()) << scores.status().toString();
    double sum = 0; // of the generated tokens
    for (size_t i = scores->size() - 12; i < scores->size(); ++i)
      sum += double{(*scores)[i]};
    std::printf("%s on %s, %s: %zu of %zu tokens as fp32; fp32's margin at the next is %.4f; mean "
                "log probability of fp32's first 12 tokens: %.4f\n",
                std::string(compiler::weightFormatName(format)).c_str(), target,
                prompts[p].name.c_str(), equal, kTokens, prompts[p].margins[equal], sum / 12);
    // Twelve tokens of a vocabulary of 262144 that a broken kernel finds as likely as any other
    // have -12.
    EXPECT_GT(sum / 12, -3) << prompts[p].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, GemmaNarrowTest,
                         testing::Values(std::pair(WeightFormat::kFp8, "sm_90a"),
                                         std::pair(WeightFormat::kNvfp4, "sm_120f")),
                         [](const auto &info) {
                           return std::string(compiler::weightFormatName(info.param.first));
                         });

} // namespace
} // namespace platen::end_to_end
