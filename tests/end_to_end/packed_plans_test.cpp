// Plans of packed weights from end to end, against references by nobody here: the plan's own
// weights are taken apart in Python, put back into the ONNX graph, and the graph is executed by
// ONNX Runtime and by ONNX's reference evaluator (packed_reference.py). CUDA programs run on the
// simulator, host programs on this machine.
#include "compiler/emit/cuda/emit.h"
#include "runtime/plan/reader.h"
#include "tests/end_to_end/compiled_plan.h"
#include "tests/end_to_end/simulated_plan.h"
#include "tests/golden/npz.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

namespace platen::end_to_end {
namespace {

using compiler::WeightFormat;

/// Few sizes of steps, so that few kernels are compiled.
constexpr plan::Limits kLimits{0, 16, 16, 4, 16};

std::string quoted(const std::filesystem::path &path) { return "'" + path.string() + "'"; }

/// Why the scripts of this folder cannot run here; empty if they can.
std::string missingTools() {
  static const bool have =
      std::system(PLATEN_PYTHON " -c 'import ml_dtypes, onnx, onnxruntime' > /dev/null 2>&1") == 0;
  if (sharedFixtures().empty())
    return "needs the shared fixtures (PLATEN_SHARED)";
  return have ? "" : "needs Python with ml_dtypes, onnx and onnxruntime (tools/setup)";
}

void runScript(const std::string &script, const std::vector<std::filesystem::path> &arguments) {
  const char *source = std::getenv("PLATEN_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "PLATEN_SOURCE_DIR says where the scripts lie";
  std::string command =
      PLATEN_PYTHON " " + quoted(std::filesystem::path(source) / "tests/end_to_end" / script);
  for (const std::filesystem::path &argument : arguments)
    command += " " + quoted(argument);
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

std::filesystem::path tinyModel(const std::string &name) {
  return sharedFixtures() / "tiny" / name / "model.onnx";
}
std::filesystem::path tokensBeside(const std::filesystem::path &model) {
  return model.parent_path() / "ort_ref.npz";
}

std::vector<int32_t> readTokens(const std::filesystem::path &model) {
  auto arrays = golden::readNpz(tokensBeside(model));
  EXPECT_TRUE(arrays.isOk()) << arrays.status().toString();
  std::vector<int32_t> ids;
  for (int64_t id : arrays->at("ids").toInts())
    ids.push_back(static_cast<int32_t>(id));
  return ids;
}

/// The packed weights of a plan as files, for packed_reference.py.
void writeWeights(const plan::Plan &plan, const std::filesystem::path &folder) {
  std::ofstream list(folder / "weights.json");
  size_t count = 0;
  for (const plan::Weight &weight : plan.manifest().weights) {
    if (weight.packing.starts_with("raw."))
      continue;
    const std::string file = "weight" + std::to_string(count) + ".bin";
    const auto bytes = plan.weights().subspan(weight.offset, weight.bytes);
    std::ofstream(folder / file, std::ios::binary)
        .write(reinterpret_cast<const char *>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    list << (count++ == 0 ? "[" : ",") << R"({"name": ")" << weight.name << R"(", "packing": ")"
         << weight.packing << R"(", "n": )" << weight.shape[0] << R"(, "k": )" << weight.shape[1]
         << R"(, "file": ")" << file << "\"}";
  }
  list << "]";
}

/// Logits of all tokens in steps of `length`.
template <typename Runner>
std::vector<float> runInSteps(Runner &runner, const std::vector<int32_t> &ids, size_t length) {
  std::vector<int32_t> pages((ids.size() + 15) / 16);
  for (size_t i = 0; i < pages.size(); ++i)
    pages[i] = 20 + static_cast<int32_t>(i);
  std::vector<float> logits;
  for (size_t start = 0; start < ids.size(); start += length) {
    const auto begin = ids.begin() + static_cast<long>(start),
               end = ids.begin() + static_cast<long>(std::min(start + length, ids.size()));
    auto part = runner.run({{{begin, end}, static_cast<int32_t>(start), pages}});
    EXPECT_TRUE(part.isOk()) << part.status().toString();
    if (!part.isOk())
      break;
    logits.insert(logits.end(), part->begin(), part->end());
  }
  return logits;
}

struct Distance {
  double worst = 0, rms = 0;
};
template <typename At> Distance distance(const ops::Tensor &to, const At &at) {
  Distance d;
  const int64_t count = to.elementCount();
  for (int64_t i = 0; i < count; ++i) {
    const double error = std::abs(double{at(i)} - to.get(i));
    d.worst = std::max(d.worst, error);
    d.rms += error * error / static_cast<double>(count);
  }
  d.rms = std::sqrt(d.rms);
  return d;
}

struct Case {
  const char *model;
  WeightFormat weights;
  const char *target;
};

class PackedPlans : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    if (const std::string why = missingTools(); !why.empty())
      GTEST_SKIP() << why;
    if (onCuda())
      if (const base::Status found = compiler::findCudaCompiler(); !found.isOk())
        GTEST_SKIP() << found.toString();
    const std::filesystem::path model = tinyModel(GetParam().model), plan = folder_ / "model.plan",
                                out = folder_ / "reference.npz";
    ids_ = readTokens(model);
    auto report = compileForTest(model, plan, GetParam().weights, kLimits,
                                 {onCuda() ? GetParam().target : hostTargetHere()});
    ASSERT_TRUE(report.isOk()) << report.status().toString();
    auto loaded = plan::Plan::load(plan.string());
    ASSERT_TRUE(loaded.isOk()) << loaded.status().toString();
    writeWeights(*loaded, folder_.path());
    ASSERT_NO_FATAL_FAILURE(
        runScript("packed_reference.py", {model, tokensBeside(model), out, folder_.path()}));
    auto arrays = golden::readNpz(out);
    ASSERT_TRUE(arrays.isOk()) << arrays.status().toString();
    weights_ = arrays->at("weights"), inputs_ = arrays->at("inputs");
  }
  static bool onCuda() { return std::string(GetParam().target) != "host"; }

  void expectModels(const std::vector<float> &logits) {
    ASSERT_EQ(static_cast<int64_t>(logits.size()), inputs_.elementCount());
    auto own = [&](int64_t i) { return logits[static_cast<size_t>(i)]; };
    const Distance error = distance(onCuda() ? inputs_ : weights_, own),
                   rounding = distance(weights_, [&](int64_t i) { return inputs_.get(i); });
    RecordProperty("worst_difference", std::to_string(error.worst));
    if (!onCuda()) { // f32 sums in another order
      EXPECT_LE(error.worst, 2e-4);
      return;
    }
    // What rounding does to this very model says how far apart two ways to compute it may be. Codes
    // of 8 and 4 bits are so coarse that most of them are the reference's: the distance must be
    // smaller than what rounding does. f16 is finer than attention's bf16, which rounds at other
    // places (before p is divided by its sum): two roundings of that size.
    const double factor = GetParam().weights == WeightFormat::kF16 ? 2 : 1;
    EXPECT_LE(error.rms, factor * rounding.rms);
    EXPECT_LE(error.worst, factor * rounding.worst);
    EXPECT_GT(rounding.rms, 0);
  }

  TemporaryFolder folder_;
  std::vector<int32_t> ids_;
  ops::Tensor weights_, inputs_;
};

TEST_P(PackedPlans, ComputeWhatTheirWeightsSay) {
  if (!onCuda()) {
    auto runner = StepRunner::load(folder_ / "model.plan");
    ASSERT_TRUE(runner.isOk()) << runner.status().toString();
    const std::vector<float> logits = runInSteps(**runner, ids_, 16);
    expectModels(logits);
    EXPECT_TRUE(runInSteps(**runner, ids_, 5) == logits) << "in steps of 5";
    return;
  }
  auto plan = SimulatedPlan::load(folder_ / "model.plan", GetParam().target);
  ASSERT_TRUE(plan.isOk()) << plan.status().toString();
  (*plan)->useOrder(ptxsim::AsyncOrder::kRandom, 1);
  const std::vector<float> logits = runInSteps(**plan, ids_, 16);
  expectModels(logits);
  (*plan)->useAlternative(1);
  (*plan)->useOrder(ptxsim::AsyncOrder::kEarliest, 1);
  EXPECT_TRUE(runInSteps(**plan, ids_, 7) == logits) << "in steps of 7, other kernels";
}

INSTANTIATE_TEST_SUITE_P(
    Formats, PackedPlans,
    testing::Values(Case{"tiny-gemma3-dynamo-raw", WeightFormat::kFp8, "sm_89"},
                    Case{"tiny-llama3-dynamo-raw", WeightFormat::kFp8, "sm_90a"},
                    Case{"tiny-gemma3-dynamo-raw", WeightFormat::kFp8, "sm_100f"},
                    Case{"tiny-llama3-dynamo-raw", WeightFormat::kNvfp4, "sm_100f"},
                    Case{"tiny-gemma3-dynamo-raw", WeightFormat::kNvfp4, "sm_120f"},
                    Case{"tiny-llama3-dynamo-raw", WeightFormat::kF16, "sm_90a"},
                    Case{"tiny-llama3-dynamo-raw", WeightFormat::kF16, "host"}),
    [](const auto &info) {
      return std::string(compiler::weightFormatName(info.param.weights)) + "_" + info.param.target;
    });

/// Models whose weights are f16 (half_model.py), kept as they are.
class HalfModels : public testing::TestWithParam<const char *> {};

TEST_P(HalfModels, KeepTheirWeightsAndComputeWhatOnnxRuntimeDoes) {
  if (const std::string why = missingTools(); !why.empty())
    GTEST_SKIP() << why;
  const std::filesystem::path source = tinyModel("tiny-gemma3-dynamo-raw");
  TemporaryFolder folder;
  const std::filesystem::path model = folder / "model.onnx", out = folder / "reference.npz";
  ASSERT_NO_FATAL_FAILURE(runScript("half_model.py", {GetParam(), source, model}));
  ASSERT_NO_FATAL_FAILURE(runScript("packed_reference.py", {model, tokensBeside(source), out}));
  auto report = compileForTest(model, folder / "model.plan", WeightFormat::kAuto);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  EXPECT_EQ(report->weightFormat, "f16");
  auto runner = StepRunner::load(folder / "model.plan");
  ASSERT_TRUE(runner.isOk()) << runner.status().toString();
  for (const plan::Weight &weight : (*runner)->manifest().weights)
    EXPECT_TRUE(weight.packing == "panel16.f16" || weight.packing == "raw.f32") << weight.name;
  auto arrays = golden::readNpz(out);
  ASSERT_TRUE(arrays.isOk()) << arrays.status().toString();
  const std::vector<int32_t> ids = readTokens(source);
  const std::vector<float> logits = runInSteps(**runner, ids, ids.size());
  const ops::Tensor &reference = arrays->at("weights");
  ASSERT_EQ(static_cast<int64_t>(logits.size()), reference.elementCount());
  const Distance error =
      distance(reference, [&](int64_t i) { return logits[static_cast<size_t>(i)]; });
  // A graph that stores f16 and computes in f32 differs in the order of sums alone. One that
  // computes in f16 rounds every value to 11 bits, which platen does not: 2 layers, logits of
  // size 1.
  RecordProperty("worst_difference", std::to_string(error.worst));
  EXPECT_LE(error.worst, std::string(GetParam()) == "stored" ? 2e-4 : 16 * 0x1p-12);
}
INSTANTIATE_TEST_SUITE_P(Kinds, HalfModels, testing::Values("stored", "computed"),
                         [](const auto &info) { return std::string(info.param); });

} // namespace
} // namespace platen::end_to_end
