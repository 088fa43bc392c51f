// Small models by real exporters, compiled and executed: their logits against those of ONNX
// Runtime, in one step, token by token, in chunks, and beside other sequences. The last three must
// not change a single bit.
#include "tests/end_to_end/compiled_plan.h"
#include "tests/golden/npz.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <numeric>
#include <random>

namespace platen::end_to_end {
namespace {

using compiler::WeightFormat;

struct Model {
  const char *folder;
  const char *array; ///< of ort_ref.npz
  double tolerance;  ///< largest absolute difference of a logit
};

// fp32 graphs: platen and ONNX Runtime add in different orders; logits are of size 1 to 10.
// int4 graphs: platen quantises activations to 8 bits as ONNX Runtime's accuracy level 4 does, but
// per 32-group and rounded to even; "logits" is that level, so what remains is the difference of
// two such roundings.
const Model kModels[] = {
    {"tiny-gemma3-optimum", "logits", 2e-4},        {"tiny-gemma3-dynamo-raw", "logits", 2e-4},
    {"tiny-gemma3-genai-fp32-cpu", "logits", 2e-4}, {"tiny-gemma3-genai-int4-cpu", "logits", 0.15},
    {"tiny-llama3-optimum", "logits", 2e-4},        {"tiny-llama3-dynamo-raw", "logits", 2e-4},
    {"tiny-llama3-genai-fp32-cpu", "logits", 2e-4}, {"tiny-llama3-genai-int4-cpu", "logits", 0.15},
};

class TinyModelTest : public testing::TestWithParam<Model> {
protected:
  void SetUp() override {
    if (sharedFixtures().empty())
      GTEST_SKIP() << "needs the shared fixtures (PLATEN_SHARED)";
    std::filesystem::path folder = sharedFixtures() / "tiny" / GetParam().folder;
    auto report = compileForTest(folder / "model.onnx", folder_ / "model.plan", WeightFormat::kF32);
    ASSERT_TRUE(report.isOk()) << report.status().toString();
    auto runner = StepRunner::load(folder_ / "model.plan", 2);
    ASSERT_TRUE(runner.isOk()) << runner.status().toString();
    runner_ = std::move(*runner);
    auto arrays = golden::readNpz(folder / "ort_ref.npz");
    ASSERT_TRUE(arrays.isOk()) << arrays.status().toString();
    for (int64_t id : arrays->at("ids").toInts())
      ids_.push_back(static_cast<int32_t>(id));
    reference_ = arrays->at(GetParam().array);
  }

  /// Pages first, first + step, … for n positions.
  static std::vector<int32_t> pages(size_t n, int32_t first, int32_t step = 1) {
    std::vector<int32_t> list((n + 15) / 16);
    for (size_t i = 0; i < list.size(); ++i)
      list[i] = first + static_cast<int32_t>(i) * step;
    return list;
  }

  std::vector<float> whole() {
    auto logits = runner_->run({{ids_, 0, pages(ids_.size(), 7)}});
    EXPECT_TRUE(logits.isOk()) << logits.status().toString();
    return logits.isOk() ? *logits : std::vector<float>();
  }

  TemporaryFolder folder_;
  std::unique_ptr<StepRunner> runner_;
  std::vector<int32_t> ids_;
  ops::Tensor reference_;
};

TEST_P(TinyModelTest, LogitsEqualOnnxRuntimes) {
  std::vector<float> logits = whole();
  ASSERT_EQ(static_cast<int64_t>(logits.size()), reference_.elementCount());
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    worst = std::max(worst, std::abs(logits[i] - reference_.get(static_cast<int64_t>(i))));
  RecordProperty("worst_difference", std::to_string(worst));
  EXPECT_LE(worst, GetParam().tolerance);
}

TEST_P(TinyModelTest, ChunksChangeNoBit) {
  std::vector<float> expected = whole();
  std::mt19937 random(3);
  for (int round = 0; round < 4; ++round) {
    std::vector<float> logits;
    std::vector<int32_t> table = pages(ids_.size(), 40 + round, 3);
    for (size_t start = 0; start < ids_.size();) {
      size_t n = round == 0 ? 1 : std::min<size_t>(1 + random() % 20, ids_.size() - start);
      std::vector<int32_t> chunk(ids_.begin() + static_cast<long>(start),
                                 ids_.begin() + static_cast<long>(start + n));
      auto part = runner_->run({{chunk, static_cast<int32_t>(start), table}});
      ASSERT_TRUE(part.isOk()) << part.status().toString();
      logits.insert(logits.end(), part->begin(), part->end());
      start += n;
    }
    EXPECT_TRUE(logits == expected) << "round " << round;
  }
}

TEST_P(TinyModelTest, NeighboursChangeNoBit) {
  std::vector<float> expected = whole();
  std::vector<int32_t> other(ids_.rbegin(), ids_.rbegin() + 11), third(5, 17);
  auto logits =
      runner_->run({{other, 0, {100}}, {ids_, 0, pages(ids_.size(), 110)}, {third, 0, {99}}});
  ASSERT_TRUE(logits.isOk()) << logits.status().toString();
  size_t vocabulary = expected.size() / ids_.size();
  auto begin = logits->begin() + static_cast<long>(other.size() * vocabulary);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), begin));
}

INSTANTIATE_TEST_SUITE_P(Exporters, TinyModelTest, testing::ValuesIn(kModels),
                         [](const auto &info) {
                           std::string name = info.param.folder;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Compile, GivesEqualBytesAgain) {
  if (sharedFixtures().empty())
    GTEST_SKIP() << "needs the shared fixtures (PLATEN_SHARED)";
  TemporaryFolder folder;
  std::filesystem::path model = sharedFixtures() / "tiny" / "tiny-gemma3-dynamo-raw" / "model.onnx";
  std::string bytes[2];
  for (int i = 0; i < 2; ++i) {
    std::filesystem::path plan = folder / ("plan" + std::to_string(i));
    compiler::CompileOptions options;
    options.model = model;
    options.output = plan;
    options.weights = WeightFormat::kInt4;
    options.threads = 1 + static_cast<unsigned>(i); // the number of threads must not matter
    auto report = compiler::compile(options, [](const compiler::Progress &) {});
    ASSERT_TRUE(report.isOk()) << report.status().toString();
    std::ifstream file(plan, std::ios::binary);
    bytes[i].assign(std::istreambuf_iterator<char>(file), {});
  }
  EXPECT_FALSE(bytes[0].empty());
  EXPECT_TRUE(bytes[0] == bytes[1]);
}

TEST(Compile, LeavesNothingBehindWhenItFails) {
  TemporaryFolder folder;
  auto report = compileForTest(folder / "none.onnx", folder / "none.plan", WeightFormat::kF32);
  ASSERT_FALSE(report.isOk());
  EXPECT_NE(report.status().toString().find("none.onnx"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

} // namespace
} // namespace platen::end_to_end
