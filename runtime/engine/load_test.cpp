// Engine::load() on plan files: real machine code, a real device, and every way in which a plan or
// a request cannot work there.
#include "runtime/engine/platen.h"
#include "runtime/plan/testing/tiny_plan.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace platen::engine {
namespace {

using base::StatusCode;
using plan::testing::TinyPlanOptions;
using testing::HasSubstr;

class LoadTest : public testing::Test {
protected:
  void SetUp() override {
    const auto *info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            ("platen_load_" + std::to_string(getpid()) + "_" + info->name());
  }
  void TearDown() override { std::filesystem::remove(path_); }

  base::Result<Engine> load(const TinyPlanOptions &plan, const EngineOptions &options = {}) {
    auto written = plan::testing::writeTinyPlan(path_.string(), plan);
    EXPECT_TRUE(written.isOk()) << written.toString();
    return Engine::load(path_.string(), options);
  }
  void expectRefused(StatusCode code, const std::string &text) {
    auto engine = Engine::load(path_.string());
    ASSERT_FALSE(engine.isOk());
    EXPECT_EQ(engine.status().code(), code) << engine.status().toString();
    EXPECT_THAT(engine.status().toString(), HasSubstr(text));
    EXPECT_THAT(engine.status().toString(), HasSubstr(path_.string()));
  }
  std::string bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string &bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  std::filesystem::path path_;
};

std::vector<int32_t> promptOf(int64_t tokens) {
  return std::vector<int32_t>(static_cast<size_t>(tokens), 3);
}

TEST_F(LoadTest, GeneratesWithThePlansOwnCode) {
  auto engine = load({});
  ASSERT_TRUE(engine.isOk()) << engine.status().toString();
  auto id = engine->submit({.tokens = {1, 2, 3}, .max_tokens = 5});
  ASSERT_TRUE(id.isOk()) << id.status().toString();
  auto result = engine->wait(*id);
  ASSERT_TRUE(result.isOk() && result->status.isOk());
  std::vector<int32_t> history{1, 2, 3};
  for (int i = 0; i < 5; ++i)
    history.push_back(plan::testing::tinyNextToken(history, 32));
  EXPECT_THAT(result->tokens, testing::ElementsAreArray(history.begin() + 3, history.end()));
}

TEST_F(LoadTest, APlanWithoutCodeForThisCpu) {
  ASSERT_FALSE(load({.targets = {{"x86-64-future", {"platen-never"}}}}).isOk());
  expectRefused(StatusCode::kUnsupported, "no code for this CPU: x86-64-future needs platen-never");
}

TEST_F(LoadTest, APlanThatIsMissingTruncatedOrChanged) {
  expectRefused(StatusCode::kNotFound, "");
  ASSERT_TRUE(load({}).isOk());
  const std::string good = bytes();
  write("");
  expectRefused(StatusCode::kCorrupt, "");
  for (size_t i = 1; i < 16; ++i) {
    SCOPED_TRACE(i);
    write(good.substr(0, good.size() * i / 16));
    expectRefused(StatusCode::kCorrupt, "");
    std::string flipped = good;
    flipped[good.size() * i / 16] ^= 0x10;
    write(flipped);
    expectRefused(StatusCode::kCorrupt, "");
  }
  write(good + "x");
  expectRefused(StatusCode::kCorrupt, "");
  write(good);
  EXPECT_TRUE(Engine::load(path_.string()).isOk());
}

TEST_F(LoadTest, APromptLongerThanThePlansLimitDoesNotDisturbOthers) {
  auto engine = load({});
  ASSERT_TRUE(engine.isOk());
  auto good = engine->submit({.tokens = promptOf(63), .max_tokens = 1});
  ASSERT_TRUE(good.isOk());
  auto bad = engine->submit({.tokens = promptOf(64), .max_tokens = 1});
  ASSERT_FALSE(bad.isOk());
  EXPECT_EQ(bad.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(bad.status().toString(), HasSubstr("64 tokens, but the context of 64 positions"));
  auto result = engine->wait(*good);
  ASSERT_TRUE(result.isOk());
  EXPECT_EQ(result->tokens.size(), 1u);
}

TEST_F(LoadTest, NoPagesLeftRefusesWhatNeverFitsAndQueuesTheRest) {
  auto engine = load({}, {.kv_pages = 4}); // 16 positions
  ASSERT_TRUE(engine.isOk()) << engine.status().toString();
  auto bad = engine->submit({.tokens = promptOf(17), .max_tokens = 1});
  ASSERT_FALSE(bad.isOk());
  EXPECT_EQ(bad.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(bad.status().toString(), HasSubstr("the whole pool has 4"));
  std::vector<RequestId> ids; // each alone takes the whole pool
  for (int i = 0; i < 5; ++i) {
    auto id = engine->submit({.tokens = promptOf(10), .max_tokens = 7});
    ASSERT_TRUE(id.isOk()) << id.status().toString();
    ids.push_back(*id);
  }
  std::vector<int32_t> first;
  for (RequestId id : ids) {
    auto result = engine->wait(id);
    ASSERT_TRUE(result.isOk() && result->status.isOk());
    EXPECT_EQ(result->tokens.size(), 7u);
    if (first.empty())
      first = result->tokens;
    EXPECT_EQ(result->tokens, first);
  }
}

TEST_F(LoadTest, KvMemoryByDefaultHoldsAWholeContext) {
  auto writer = plan::PlanWriter::create(path_.string());
  ASSERT_TRUE(writer.isOk());
  TinyPlanOptions plan;
  plan.limits.context_tokens = 1 << 24;
  plan.limits.page_tokens = 4096;
  auto manifest = plan::testing::buildTinyPlan(*writer, plan);
  ASSERT_TRUE(manifest.isOk());
  manifest->programs[0].caches[0].kv_heads = 4; // 2 GiB of keys and values, never touched
  ASSERT_TRUE(writer->finish(std::move(*manifest)).isOk());
  auto engine = Engine::load(path_.string());
  ASSERT_TRUE(engine.isOk()) << engine.status().toString();
  const ModelInfo &model = engine->model();
  EXPECT_GT(static_cast<uint64_t>(model.kv_pages) * model.kv_page_bytes, uint64_t{1} << 30);
  EXPECT_EQ(model.kv_pages * model.page_tokens, model.context_tokens);
  auto small = Engine::load(path_.string(), {.kv_bytes = model.kv_page_bytes * 3});
  ASSERT_TRUE(small.isOk());
  EXPECT_EQ(small->model().kv_pages, 3);
}

} // namespace
} // namespace platen::engine
