// Token ids from generation_config.json and genai_config.json, and what is wrong with bad ones.
#include "compiler/write/generation_config.h"

#include <fstream>
#include <gtest/gtest.h>

namespace platen::compiler {
namespace {

class GenerationConfigTest : public testing::Test {
protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
    model_.vocabulary = 100;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  base::Status read(const char *name, const char *text) {
    std::ofstream(folder_ / name) << text;
    return readGenerationConfig(folder_, model_);
  }
  std::filesystem::path folder_;
  plan::ModelInfo model_;
};

TEST_F(GenerationConfigTest, ListsAndNumbers) {
  ASSERT_TRUE(
      read("generation_config.json", R"({"bos_token_id": 2, "eos_token_id": [1, 99]})").isOk());
  EXPECT_EQ(model_.bos_token, 2);
  EXPECT_TRUE(model_.add_bos);
  EXPECT_EQ(model_.eos_tokens, (std::vector<uint32_t>{1, 99}));
}

TEST_F(GenerationConfigTest, AddBosCanBeDeclined) {
  ASSERT_TRUE(read("generation_config.json", R"({"bos_token_id": 2, "add_bos": false})").isOk());
  EXPECT_FALSE(model_.add_bos);
}

TEST_F(GenerationConfigTest, GenaiKeepsThemUnderModel) {
  ASSERT_TRUE(
      read("genai_config.json", R"({"model": {"bos_token_id": 5, "eos_token_id": 6}})").isOk());
  EXPECT_EQ(model_.bos_token, 5);
  EXPECT_EQ(model_.eos_tokens, (std::vector<uint32_t>{6}));
}

TEST_F(GenerationConfigTest, NoFileSetsNothing) {
  ASSERT_TRUE(readGenerationConfig(folder_, model_).isOk());
  EXPECT_EQ(model_.bos_token, -1);
}

TEST_F(GenerationConfigTest, RefusesIdsOutsideTheVocabulary) {
  base::Status status = read("generation_config.json", R"({"eos_token_id": 100})");
  EXPECT_EQ(status.code(), base::StatusCode::kInvalidArgument);
  EXPECT_NE(status.toString().find("eos_token_id"), std::string::npos);
}

TEST_F(GenerationConfigTest, RefusesWhatIsNoJson) {
  EXPECT_EQ(read("generation_config.json", "{").code(), base::StatusCode::kCorrupt);
}

TEST_F(GenerationConfigTest, ContextLengthComesFromTheFirstFileThatSays) {
  EXPECT_EQ(*readContextLength(folder_), 0U);
  std::ofstream(folder_ / "config.json") << R"({"max_position_embeddings": 512})";
  EXPECT_EQ(*readContextLength(folder_), 512U);
  std::ofstream(folder_ / "genai_config.json") << R"({"model": {"context_length": 256}})";
  EXPECT_EQ(*readContextLength(folder_), 256U);
  std::ofstream(folder_ / "generation_config.json") << R"({"context_length": -1})";
  EXPECT_EQ(readContextLength(folder_).status().code(), base::StatusCode::kInvalidArgument);
}

} // namespace
} // namespace platen::compiler
