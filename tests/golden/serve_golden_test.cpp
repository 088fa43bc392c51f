// Exported decoders, served and run through the references, beside ONNX Runtime's logits for the
// exported graphs.
//
// Fixtures: small random models by optimum, torch dynamo and onnxruntime-genai; skipped where they
// are missing.
#include "compiler/import/fold.h"
#include "compiler/import/importer.h"
#include "compiler/serve/serve.h"
#include "tests/golden/npz.h"

#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

namespace platen::compiler {
namespace {

using ops::DType;
using ops::Tensor;

std::filesystem::path fixture(const std::string &name) {
  const char *shared = std::getenv("PLATEN_SHARED");
  return std::filesystem::path(shared ? shared : "") / "fixtures" / "tiny" / name;
}

/// One step's tokens.
struct Step {
  std::vector<int> tokens, positions, sequences, rows;
  void add(std::span<const int64_t> ids, int sequence) {
    for (size_t i = 0; i < ids.size(); ++i) {
      rows.push_back(static_cast<int>(tokens.size()));
      tokens.push_back(static_cast<int>(ids[i]));
      positions.push_back(static_cast<int>(i));
      sequences.push_back(sequence);
    }
  }
};

class Served {
public:
  static base::Result<std::unique_ptr<Served>> load(const std::string &name, int64_t maxContext) {
    auto served = std::make_unique<Served>();
    PLATEN_ASSIGN_OR_RETURN(served->model,
                            importOnnx(fixture(name) / "model.onnx", served->context));
    mlir::PassManager passes(&served->context);
    passes.addPass(createFoldPass());
    if (mlir::failed(passes.run(*served->model.module)))
      return base::internalError("folding failed");
    ServeOptions options;
    options.maxContext = maxContext;
    PLATEN_ASSIGN_OR_RETURN(
        served->info,
        convertToServingForm(*served->model.module,
                             weightReader(*served->model.module, served->model.weights), options));
    for (const ComputedWeight &weight : served->info.computed)
      PLATEN_RETURN_IF_ERROR(
          served->model.weights->add(weight.file, weight.value->bytes(), weight.value));
    return served;
  }

  std::vector<Tensor> run(const Step &step) {
    std::vector<Tensor> arguments;
    for (const auto *values : {&step.tokens, &step.positions, &step.sequences, &step.rows})
      arguments.push_back(
          Tensor::of<int>(DType::kI32, {static_cast<int64_t>(values->size())}, *values));
    ir::Interpreter interpreter(weightReader(*model.module, model.weights));
    auto results =
        interpreter.run(model.module->lookupSymbol<mlir::func::FuncOp>("step"), arguments);
    EXPECT_TRUE(results.isOk()) << results.status().toString();
    return results.isOk() ? std::move(*results) : std::vector<Tensor>();
  }

  mlir::MLIRContext context;
  ImportedModel model;
  ServeInfo info;
};

double greatestDifference(const Tensor &values, const Tensor &reference) {
  if (values.elementCount() != reference.elementCount())
    return INFINITY;
  double greatest = 0;
  for (int64_t i = 0; i < reference.elementCount(); ++i) {
    double difference = std::abs(values.get(i) - reference.get(i));
    greatest = difference >= 0 ? std::max(greatest, difference)
                               : INFINITY; // NaN counts as infinitely wrong
  }
  return greatest;
}

struct Case {
  std::string name, dialect;
  std::vector<int64_t> windows; ///< by layer
  size_t computedTables;
  std::string logits = "logits";
  double tolerance = 5e-5; ///< greatest absolute difference; logits are of order 1
  friend void PrintTo(const Case &c, std::ostream *stream) { *stream << c.name; }
};

class ServeFixtureTest : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    if (!std::filesystem::exists(fixture(GetParam().name) / "model.onnx"))
      GTEST_SKIP() << "no fixture " << GetParam().name;
    auto loaded = Served::load(GetParam().name, 256);
    ASSERT_TRUE(loaded.isOk()) << loaded.status().toString();
    served_ = std::move(*loaded);
    auto arrays = golden::readNpz(fixture(GetParam().name) / "ort_ref.npz");
    ASSERT_TRUE(arrays.isOk()) << arrays.status().toString();
    reference_ = std::move(*arrays);
    ids_ = reference_.at("ids").toInts();
  }

  std::unique_ptr<Served> served_;
  std::map<std::string, Tensor> reference_;
  std::vector<int64_t> ids_;
};

TEST_P(ServeFixtureTest, LogitsAreThoseOfOnnxRuntime) {
  Step step;
  step.add(ids_, 7);
  auto results = served_->run(step);
  ASSERT_FALSE(results.empty());
  double difference = greatestDifference(results[0], reference_.at(GetParam().logits));
  RecordProperty("greatest_difference", std::to_string(difference));
  EXPECT_LT(difference, GetParam().tolerance);
}

TEST_P(ServeFixtureTest, LayersHaveTheirWindowsAndTables) {
  EXPECT_EQ(served_->info.dialect, GetParam().dialect);
  std::vector<int64_t> windows;
  for (const ServedLayer &layer : served_->info.layers) {
    EXPECT_EQ(layer.layer, static_cast<int64_t>(windows.size()));
    EXPECT_EQ(layer.heads, 4);
    EXPECT_EQ(layer.kvHeads, 2);
    EXPECT_EQ(layer.headSize, 32);
    EXPECT_NEAR(layer.scale, 1 / std::sqrt(32.0), 1e-7);
    EXPECT_EQ(layer.softcap, 0);
    windows.push_back(layer.window);
  }
  EXPECT_EQ(windows, GetParam().windows);
  EXPECT_EQ(served_->info.computed.size(), GetParam().computedTables);
  EXPECT_EQ(served_->info.hidden, 128);
}

TEST_P(ServeFixtureTest, SequencesInOneStepDoNotTouchEachOther) {
  std::span<const int64_t> ids(ids_);
  Step first, second, both;
  first.add(ids.first(20), 0);
  second.add(ids.subspan(20), 3);
  both.add(ids.subspan(20), 3);
  both.add(ids.first(20), 0);
  both.rows = {30, 47, 0, 27}; // two rows of each, out of order
  auto a = served_->run(first), b = served_->run(second), c = served_->run(both);
  ASSERT_FALSE(a.empty() || b.empty() || c.empty());
  int64_t vocabulary = served_->info.vocabulary;
  ASSERT_EQ(c[0].dims()[0], 4);
  for (int64_t i = 0; i < vocabulary; ++i) {
    EXPECT_EQ(c[0].get(i), a[0].get(2 * vocabulary + i));
    EXPECT_EQ(c[0].get(vocabulary + i), a[0].get(19 * vocabulary + i));
    EXPECT_EQ(c[0].get(2 * vocabulary + i), b[0].get(i));
    EXPECT_EQ(c[0].get(3 * vocabulary + i), b[0].get(27 * vocabulary + i));
  }
}

const std::string kDecomposed = "decomposed attention", kGroupQuery = "GroupQueryAttention";

INSTANTIATE_TEST_SUITE_P(
    Tiny, ServeFixtureTest,
    testing::Values(Case{"tiny-llama3-dynamo-raw", kDecomposed, {0, 0}, 2},
                    Case{"tiny-llama3-optimum", kDecomposed, {0, 0}, 2},
                    Case{"tiny-llama3-genai-fp32-cpu", kGroupQuery, {0, 0}, 0},
                    Case{"tiny-llama3-genai-fp32-hidden-cpu", kGroupQuery, {0, 0}, 0},
                    Case{"tiny-llama3-genai-int4-cpu", kGroupQuery, {0, 0}, 0, "logits_acc1"},
                    Case{"tiny-gemma3-dynamo-raw", kDecomposed, {16, 0}, 4},
                    Case{"tiny-gemma3-optimum", kDecomposed, {16, 0}, 4},
                    Case{"tiny-gemma3-genai-fp32-cpu", kGroupQuery, {16, 0}, 0},
                    Case{"tiny-gemma3-genai-int4-cpu", kGroupQuery, {16, 0}, 0, "logits_acc1"},
                    Case{"tiny-qwen3-optimum", kDecomposed, {0, 0}, 2},
                    Case{"tiny-qwen3-genai-fp32-cpu", kGroupQuery, {0, 0}, 0}),
    [](const testing::TestParamInfo<Case> &info) {
      std::string name = info.param.name;
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST(ServeHiddenTest, HiddenStatesComeForTheRowsAskedFor) {
  const std::string name = "tiny-llama3-genai-fp32-hidden-cpu";
  if (!std::filesystem::exists(fixture(name) / "model.onnx"))
    GTEST_SKIP() << "no fixture " << name;
  auto served = Served::load(name, 64);
  ASSERT_TRUE(served.isOk()) << served.status().toString();
  auto reference = golden::readNpz(fixture(name) / "ort_ref.npz");
  ASSERT_TRUE(reference.isOk()) << reference.status().toString();
  Step step;
  step.add(reference->at("ids").toInts(), 0);
  auto results = (*served)->run(step);
  auto function = (*served)->model.module->lookupSymbol<mlir::func::FuncOp>("step");
  ASSERT_EQ(results.size(), 3U); // logits, hidden_states, aux_hidden_states
  for (unsigned i = 1; i < results.size(); ++i) {
    std::string output = function.getResultAttrOfType<mlir::StringAttr>(i, "platen.name").str();
    EXPECT_LT(greatestDifference(results[i], reference->at(output)), 1e-4)
        << output; // values up to 44
  }
}

TEST(ServeRefusalTest, TablesMustBeLongEnough) {
  const std::string name = "tiny-llama3-genai-fp32-cpu"; // 512 rows of cosines
  if (!std::filesystem::exists(fixture(name) / "model.onnx"))
    GTEST_SKIP() << "no fixture " << name;
  auto served = Served::load(name, 513);
  ASSERT_FALSE(served.isOk());
  EXPECT_THAT(served.status().toString(), testing::HasSubstr("at most 512"));
}

/// Graphs that are no decoders, or are of a kind without rules, are refused with the reason.
TEST(ServeRefusalTest, NamesWhatIsNoKnownDecoder) {
  for (std::string name :
       {"tiny-bert-optimum", "tiny-medusa-dynamo", "tiny-eagle3-dynamo", "tiny-qwen3moe-optimum"}) {
    if (!std::filesystem::exists(fixture(name) / "model.onnx"))
      GTEST_SKIP() << "no fixture " << name;
    auto served = Served::load(name, 64);
    ASSERT_FALSE(served.isOk()) << name;
    EXPECT_NE(served.status().code(), base::StatusCode::kInternal) << served.status().toString();
  }
}

} // namespace
} // namespace platen::compiler
