// Engines on CUDA devices, over the driver's double: which device is chosen and what is said of it,
// memory for pages, graphs, and the same tokens as on the host.
#include "runtime/engine/platen.h"

#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <unistd.h>

#include "runtime/device/cuda/testing/driver_double.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::engine {
namespace {

using base::StatusCode;
using device::cuda::CudaDouble;
using plan::testing::TinyPlanOptions;
using testing::HasSubstr;

class ChooseDevice : public testing::Test {
protected:
  ChooseDevice() {
    void *library = dlopen(PLATEN_CUDA_DOUBLE, RTLD_NOW | RTLD_LOCAL);
    EXPECT_NE(library, nullptr) << dlerror();
    driver_ =
        reinterpret_cast<device::cuda::CudaDoubleAccess>(dlsym(library, "platenCudaDouble"))();
    driver_->reset();
    if (const char *before = std::getenv("PLATEN_CUDA_DRIVER"))
      before_ = before;
    setenv("PLATEN_CUDA_DRIVER", PLATEN_CUDA_DOUBLE, 1);
    const auto *info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            ("platen_choose_" + std::to_string(getpid()) + "_" + info->name());
  }
  ~ChooseDevice() override {
    if (before_)
      setenv("PLATEN_CUDA_DRIVER", before_->c_str(), 1);
    else
      unsetenv("PLATEN_CUDA_DRIVER");
    std::filesystem::remove(path_);
  }
  base::Result<Engine> load(const TinyPlanOptions &plan, const EngineOptions &options) {
    auto written = plan::testing::writeTinyPlan(path_.string(), plan);
    EXPECT_TRUE(written.isOk()) << written.toString();
    return Engine::load(path_.string(), options);
  }
  static std::vector<int32_t> generate(Engine &engine, std::vector<int32_t> prompt, int64_t count) {
    auto id = engine.submit({.tokens = std::move(prompt), .max_tokens = count});
    EXPECT_TRUE(id.isOk()) << id.status().toString();
    auto result = engine.wait(*id);
    EXPECT_TRUE(result.isOk() && result->status.isOk());
    return result->tokens;
  }
  TinyPlanOptions both() { return {.cuda_targets = {{"ptx", {"compute_80"}}}}; }

  CudaDouble *driver_ = nullptr;
  std::optional<std::string> before_;
  std::filesystem::path path_;
};

TEST_F(ChooseDevice, AutoPrefersACudaDeviceThatThePlanHasCodeFor) {
  auto engine = load(both(), {});
  ASSERT_TRUE(engine.isOk()) << engine.status().toString();
  EXPECT_THAT(engine->model().device, HasSubstr("cuda:0, Driver double"));
  EXPECT_EQ(engine->model().code_target, "ptx");
  EXPECT_THAT(engine->model().device_reason, HasSubstr("the first CUDA device"));
  auto host = load(both(), {.device = "host"});
  ASSERT_TRUE(host.isOk());
  EXPECT_THAT(host->model().device, HasSubstr("host"));
  EXPECT_EQ(host->model().device_reason, "asked for");
}

TEST_F(ChooseDevice, AutoFallsBackToTheHostAndSaysWhy) {
  auto plain = load({}, {});
  ASSERT_TRUE(plain.isOk());
  EXPECT_EQ(plain->model().device_reason, "the plan has code for the host alone");
  auto other = load({.cuda_targets = {{"sm_90a", {"sm_90a"}}}}, {});
  ASSERT_TRUE(other.isOk());
  EXPECT_THAT(other->model().device, HasSubstr("host"));
  EXPECT_THAT(other->model().device_reason,
              HasSubstr("sm_90a needs compute capability 9.0 exactly"));
  driver_->devices = 0;
  auto none = load(both(), {});
  ASSERT_TRUE(none.isOk());
  EXPECT_THAT(none->model().device_reason, HasSubstr("CUDA_ERROR_NO_DEVICE"));
  setenv("PLATEN_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  auto driverless = load(both(), {});
  ASSERT_TRUE(driverless.isOk());
  EXPECT_THAT(driverless->model().device_reason, HasSubstr("there is no CUDA driver"));
}

TEST_F(ChooseDevice, NothingThatFitsNamesEachReason) {
  TinyPlanOptions plan{.targets = {{"x86-64-future", {"platen-never"}}},
                       .cuda_targets = {{"sm_90a", {"sm_90a"}}}};
  auto engine = load(plan, {});
  EXPECT_EQ(engine.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(engine.status().toString(), HasSubstr("x86-64-future needs platen-never"));
  EXPECT_THAT(engine.status().toString(), HasSubstr("and no CUDA device can"));
}

TEST_F(ChooseDevice, WhatWasAskedForIsTakenOrRefused) {
  auto second = load(both(), {.device = "cuda:1"});
  EXPECT_EQ(second.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(second.status().toString(), HasSubstr("there is no CUDA device 1"));
  EXPECT_TRUE(load(both(), {.device = "cuda:0"}).isOk());
  EXPECT_TRUE(load(both(), {.device = "cuda"}).isOk());
  auto without = load({}, {.device = "cuda"});
  EXPECT_EQ(without.status().code(), StatusCode::kUnsupported);
  for (const char *choice : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "CUDA"}) {
    auto engine = load(both(), {.device = choice});
    EXPECT_EQ(engine.status().code(), StatusCode::kInvalidArgument) << choice;
    EXPECT_THAT(engine.status().toString(), HasSubstr("must be auto, host, cuda or cuda:N"));
  }
}

TEST_F(ChooseDevice, GraphsAreUsedAndChangeNothing) {
  std::vector<int32_t> expected;
  {
    auto host = load(both(), {.device = "host"});
    ASSERT_TRUE(host.isOk());
    expected = generate(*host, {1, 2, 3}, 9);
  }
  for (bool graphs : {true, false}) {
    driver_->reset();
    auto engine = load(both(), {.cuda_graphs = graphs});
    ASSERT_TRUE(engine.isOk()) << engine.status().toString();
    EXPECT_EQ(generate(*engine, {1, 2, 3}, 9), expected);
    EXPECT_EQ(driver_->graph_launches, graphs ? 9U : 0U);
    EXPECT_EQ(driver_->graphs, graphs ? 2U : 0U) << "one for the prompt, one for single tokens";
  }
}

TEST_F(ChooseDevice, TokensAreDrawnOnTheDeviceAndLogitsReadOnlyWhenNeeded) {
  std::vector<int32_t> expected{1, 2, 3};
  for (int i = 0; i < 6; ++i)
    expected.push_back(plan::testing::tinyNextToken(expected, 32));
  expected.erase(expected.begin(), expected.begin() + 3);
  for (bool device_sampling : {true, false}) {
    driver_->reset();
    auto engine = load(both(), {.device_sampling = device_sampling});
    ASSERT_TRUE(engine.isOk()) << engine.status().toString();
    auto sampled = [&] {
      return std::ranges::count(driver_->launched, "platen_tiny_sample",
                                &CudaDouble::Launched::entry);
    };
    EXPECT_EQ(generate(*engine, {1, 2, 3}, 6), expected);
    EXPECT_EQ(sampled(), device_sampling ? 6 : 0);
    EXPECT_EQ(driver_->downloads, 6U) << "tokens or logits, once a step";
    // Beside it a request that needs logits: each keeps its own way.
    auto plain = engine->submit({.tokens = {1, 2, 3}, .max_tokens = 6});
    auto with_logprobs = engine->submit({.tokens = {1, 2, 3}, .max_tokens = 6, .top_logprobs = 2});
    auto penalised = engine->submit(
        {.tokens = {1, 2, 3}, .max_tokens = 6, .sampling = {.repeat_penalty = 1.0001F}});
    for (auto *id : {&plain, &with_logprobs, &penalised}) {
      auto result = engine->wait(**id);
      ASSERT_TRUE(result.isOk() && result->status.isOk()) << result->status.toString();
      EXPECT_EQ(result->tokens, expected);
      EXPECT_EQ(result->logprobs.size(), id == &with_logprobs ? 6U : 0U);
    }
    auto scores = engine->score(std::vector<int32_t>{1, 2, 3, expected[0]});
    ASSERT_TRUE(scores.isOk());
    EXPECT_GT(scores->back(), -3.0F) << "the token that comes next";
    EXPECT_LT(scores->front(), -3.0F);
  }
  // A plan without a sampler reads the logits.
  driver_->reset();
  auto engine = load({.cuda_targets = {{"ptx", {"compute_80"}}}, .cuda_sampler = false}, {});
  ASSERT_TRUE(engine.isOk());
  EXPECT_EQ(generate(*engine, {1, 2, 3}, 6), expected);
}

TEST_F(ChooseDevice, StepsAllocateNothing) {
  auto engine = load(both(), {});
  ASSERT_TRUE(engine.isOk());
  (void)generate(*engine, {1, 2, 3}, 3);
  uint64_t before = driver_->allocations + driver_->pinned_allocations;
  (void)generate(*engine, {4, 5}, 20);
  EXPECT_EQ(driver_->allocations + driver_->pinned_allocations, before);
}

TEST_F(ChooseDevice, FreeMemoryBoundsTheDefaultPages) {
  // 64 positions a context, 8 contexts: 128 pages of 128 bytes.
  uint64_t used = 0;
  {
    auto plenty = load(both(), {});
    ASSERT_TRUE(plenty.isOk());
    EXPECT_EQ(plenty->model().kv_pages, 128);
    used = driver_->used_bytes - 128 * 128;
  }
  // A sixteenth is kept back, and a layer's pages begin at a multiple of 4096 bytes.
  driver_->total_bytes = (used + 4096 + 50 * 128) * 16 / 15;
  {
    auto little = load(both(), {});
    ASSERT_TRUE(little.isOk()) << little.status().toString();
    EXPECT_LE(little->model().kv_pages, 50);
    EXPECT_GE(little->model().kv_pages, 45);
    EXPECT_EQ(generate(*little, {1}, 2).size(), 2U);
  }
  auto asked = load(both(), {.kv_pages = 1 << 20});
  EXPECT_EQ(asked.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(asked.status().toString(), HasSubstr("KV cache of 1048576 pages"));
  driver_->total_bytes = used;
  auto nothing = load(both(), {});
  EXPECT_EQ(nothing.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(nothing.status().toString(), HasSubstr("leaves too little for a KV page of 128"));
}

TEST_F(ChooseDevice, ALostDeviceFailsItsRequestsAndThoseToCome) {
  auto engine = load(both(), {});
  ASSERT_TRUE(engine.isOk());
  auto id = engine->submit({.tokens = {1, 2}, .max_tokens = 5});
  ASSERT_TRUE(id.isOk());
  ASSERT_TRUE(engine->step().isOk());
  driver_->fail_function = "cuStreamSynchronize";
  driver_->fail_call = 1;
  driver_->fail_result = device::cuda::CUDA_ERROR_ILLEGAL_ADDRESS;
  driver_->fail_sticks = true;
  auto result = engine->wait(*id);
  ASSERT_TRUE(result.isOk());
  EXPECT_EQ(result->status.code(), StatusCode::kDeviceLost);
  EXPECT_THAT(result->status.toString(), HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
  EXPECT_EQ(engine->submit({.tokens = {1}, .max_tokens = 1}).status().code(),
            StatusCode::kDeviceLost);
  engine = base::Status(base::internalError("gone"));
  void *library = dlopen(PLATEN_CUDA_DOUBLE, RTLD_NOW | RTLD_LOCAL);
  (void)reinterpret_cast<device::cuda::CudaDoubleAccess>(dlsym(library, "platenCudaDouble"))();
}

// Over whatever driver with a device there is, a GPU's or a simulator's: batches, graphs, the whole
// history.
TEST(CudaDriver, GeneratesWhatTheHostDoes) {
  auto path = std::filesystem::temp_directory_path() /
              ("platen_cuda_driver_" + std::to_string(getpid()) + ".plan");
  ASSERT_TRUE(plan::testing::writeTinyPlan(
                  path.string(), {.targets = {}, .cuda_targets = {{"ptx", {"compute_80"}}}})
                  .isOk());
  for (bool graphs : {true, false}) {
    auto engine = Engine::load(path.string(), {.device = "cuda", .cuda_graphs = graphs});
    if (!engine.isOk()) {
      std::filesystem::remove(path);
      GTEST_SKIP() << engine.status().toString();
    }
    std::vector<std::pair<RequestId, std::vector<int32_t>>> requests;
    for (int32_t i = 0; i < 6; ++i) { // with prompts of up to 36 tokens, in steps of at most 16
      std::vector<int32_t> history(static_cast<size_t>(1 + 7 * i), i);
      auto id = engine->submit({.tokens = history, .max_tokens = 20});
      ASSERT_TRUE(id.isOk()) << id.status().toString();
      requests.emplace_back(*id, history);
    }
    for (auto &[id, history] : requests) {
      auto result = engine->wait(id);
      ASSERT_TRUE(result.isOk() && result->status.isOk()) << result->status.toString();
      ASSERT_EQ(result->tokens.size(), 20U);
      for (int32_t token : result->tokens) {
        ASSERT_EQ(token, plan::testing::tinyNextToken(history, 32)) << history.size();
        history.push_back(token);
      }
    }
  }
  std::filesystem::remove(path);
}

} // namespace
} // namespace platen::engine
