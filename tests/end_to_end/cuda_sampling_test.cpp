// Tokens drawn on a device by the kernel that plans carry, against the host's: a tiny plan whose
// logits are the same bits on both, with the compiler's sampler in place of its own.
#include "compiler/emit/cuda/emit.h"
#include "compiler/emit/cuda/plan_code.h"
#include "runtime/device/cuda/cuda_device.h"
#include "runtime/engine/platen.h"
#include "runtime/plan/testing/tiny_plan.h"
#include "tests/end_to_end/compiled_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace platen::end_to_end {
namespace {

using engine::Engine;
using engine::RequestId;
using engine::Sampling;

constexpr uint32_t kVocabulary = 48;

class CudaSampling : public testing::Test {
protected:
  void SetUp() override {
    if (const base::Status found = compiler::findCudaCompiler(); !found.isOk())
      GTEST_SKIP() << found.toString();
    if (auto device = device::CudaDevice::open(); !device.isOk())
      GTEST_SKIP() << device.status().toString();
  }
  /// Host code and PTX, and the sampler that the compiler gives a program.
  void writePlan(int32_t broken_token) {
    const kernels::CudaArchitecture &ptx = *kernels::findCudaArchitecture("compute_80");
    auto kernels = kernels::cudaCandidates(kernels::SampleSpec{kVocabulary}, ptx);
    ASSERT_TRUE(kernels.isOk()) << kernels.status().toString();
    const kernels::CudaKernelInfo &kernel = kernels->front();
    const compiler::CudaJob job{kernel.name, kernel.source, "compute_80"};
    auto code = compiler::emitCuda(std::span(&job, 1), {});
    ASSERT_TRUE(code.isOk()) << code.status().toString();
    plan::testing::TinyPlanOptions options{.vocabulary = kVocabulary,
                                           .cuda_targets = {{"compute_80", {"compute_80"}}}};
    options.sampler = *compiler::planKernel(kernel);
    options.sampler_image = code->front().image;
    options.broken_token = broken_token;
    const base::Status status = plan::testing::writeTinyPlan((folder_ / "plan").string(), options);
    ASSERT_TRUE(status.isOk()) << status.toString();
  }
  base::Result<Engine> load(engine::EngineOptions options) {
    return Engine::load((folder_ / "plan").string(), options);
  }
  TemporaryFolder folder_;
};

/// Logits are 1 for one token and 0 for the others, so ties decide nearly everything.
std::vector<engine::Request> requests() {
  std::vector<engine::Request> all;
  uint64_t seed = 0;
  for (const Sampling &sampling :
       {Sampling{}, Sampling{.temperature = 1}, Sampling{.temperature = 0.3F},
        Sampling{.temperature = 1, .top_k = 7}, Sampling{.temperature = 0.5F, .top_p = 0.55F},
        Sampling{.temperature = 0.7F, .min_p = 0.5F}, Sampling{.temperature = 2, .min_p = 0.3F},
        Sampling{.temperature = 0.8F, .top_k = 20, .top_p = 0.9F, .min_p = 0.1F},
        Sampling{.temperature = 1, .repeat_penalty = 1.5F}})
    for (int32_t length : {1, 19}) {
      engine::Request request{.max_tokens = 12, .sampling = sampling};
      request.tokens.assign(static_cast<size_t>(length), static_cast<int32_t>(seed % kVocabulary));
      request.sampling.seed = ++seed;
      all.push_back(request);
    }
  return all;
}

std::vector<engine::RequestResult>
runAll(Engine &engine, const std::vector<engine::Request> &requests, bool together) {
  std::vector<RequestId> ids;
  std::vector<engine::RequestResult> results;
  for (const engine::Request &request : requests) {
    auto id = engine.submit(request);
    EXPECT_TRUE(id.isOk()) << id.status().toString();
    ids.push_back(*id);
    if (!together)
      results.push_back(*engine.wait(ids.back()));
  }
  for (size_t i = results.size(); i < ids.size(); ++i)
    results.push_back(*engine.wait(ids[i]));
  return results;
}

TEST_F(CudaSampling, OnACudaDriverEqualSeedsGiveTheHostsTokens) {
  ASSERT_NO_FATAL_FAILURE(writePlan(-1));
  auto host = load({.device = "host"});
  ASSERT_TRUE(host.isOk()) << host.status().toString();
  const auto expected = runAll(*host, requests(), true);
  std::set<std::vector<int32_t>> distinct;
  for (const engine::RequestResult &result : expected)
    distinct.insert(result.tokens);
  EXPECT_GT(distinct.size(), expected.size() / 2) << "the seeds must matter";
  for (bool graphs : {true, false})
    for (bool together : {true, false}) {
      auto cuda = load({.device = "cuda", .cuda_graphs = graphs});
      ASSERT_TRUE(cuda.isOk()) << cuda.status().toString();
      const auto results = runAll(*cuda, requests(), together);
      for (size_t i = 0; i < results.size(); ++i) {
        EXPECT_TRUE(results[i].status.isOk()) << results[i].status.toString();
        EXPECT_EQ(results[i].tokens, expected[i].tokens) << "request " << i;
      }
    }
}

TEST_F(CudaSampling, OnACudaDriverBrokenLogitsFailTheirSequenceAloneAsOnTheHost) {
  const std::vector<int32_t> broken = {5, 6, 7}, fine = {8};
  const int32_t never = plan::testing::tinyNextToken(broken, kVocabulary);
  ASSERT_NE(plan::testing::tinyNextToken(fine, kVocabulary), never);
  ASSERT_NO_FATAL_FAILURE(writePlan(never));
  std::vector<engine::Request> both(2);
  both[0] = {.tokens = broken, .max_tokens = 1, .sampling = {.temperature = 1, .top_p = 0.9F}};
  both[1] = {.tokens = fine, .max_tokens = 1, .sampling = {.temperature = 1, .top_p = 0.9F}};
  std::vector<engine::RequestResult> results[2];
  for (const char *device : {"host", "cuda"}) {
    auto engine = load({.device = device});
    ASSERT_TRUE(engine.isOk()) << engine.status().toString();
    results[*device == 'c'] = runAll(*engine, both, true);
  }
  EXPECT_EQ(results[0][0].status.code(), base::StatusCode::kInternal);
  EXPECT_THAT(results[0][0].status.toString(), testing::HasSubstr("position 3"));
  EXPECT_EQ(results[1][0].status.toString(), results[0][0].status.toString());
  for (const auto &of : results)
    EXPECT_TRUE(of[1].status.isOk()) << of[1].status.toString();
  EXPECT_EQ(results[1][1].tokens, results[0][1].tokens);
}

} // namespace
} // namespace platen::end_to_end
