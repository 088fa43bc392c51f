// Small models by real exporters, compiled for NVIDIA GPUs: what the plan holds, that it is made
// the same again, and, where the simulator is built, that its kernels compute the model's logits,
// the same bits in chunks, beside other sequences and with the kernels that are ranked behind the
// best.
#include "compiler/emit/cuda/emit.h"
#include "runtime/device/cuda/cuda_device.h"
#include "runtime/engine/platen.h"
#include "runtime/plan/reader.h"
#include "tests/end_to_end/compiled_plan.h"
#include "tests/end_to_end/simulated_plan.h"
#include "tests/golden/npz.h"

#include <cmath>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace platen::end_to_end {
namespace {

using compiler::WeightFormat;

base::Result<compiler::CompileReport> compileFor(const std::vector<std::string> &targets,
                                                 const std::filesystem::path &model,
                                                 const std::filesystem::path &plan,
                                                 WeightFormat weights = WeightFormat::kF32,
                                                 unsigned threads = 2) {
  compiler::CompileOptions options;
  options.model = model;
  options.output = plan;
  options.weights = weights;
  options.limits = {0, 64, 64, 8, 16};
  options.targets = targets;
  options.threads = threads;
  options.withoutTokenizer = true;
  return compiler::compile(options, [](const compiler::Progress &) {});
}

std::filesystem::path tinyModel(const std::string &name) {
  return sharedFixtures() / "tiny" / name / "model.onnx";
}

class CudaPlans : public testing::Test {
protected:
  void SetUp() override {
    if (sharedFixtures().empty())
      GTEST_SKIP() << "needs the shared fixtures (PLATEN_SHARED)";
    if (const base::Status found = compiler::findCudaCompiler(); !found.isOk())
      GTEST_SKIP() << found.toString();
  }
  TemporaryFolder folder_;
};

std::set<uint32_t> weightsOf(const plan::DeviceProgram &program) {
  std::set<uint32_t> weights;
  for (const plan::Launch &launch : program.launches)
    for (const plan::Operand &operand : launch.operands)
      if (operand.kind == plan::OperandKind::kWeight)
        weights.insert(operand.index);
  return weights;
}

TEST_F(CudaPlans, HoldAProgramForEachTargetAndOneCopyOfTheWeights) {
  const std::filesystem::path model = tinyModel("tiny-gemma3-dynamo-raw");
  auto host = compileFor({"host"}, model, folder_ / "host.plan");
  ASSERT_TRUE(host.isOk()) << host.status().toString();
  auto both = compileFor({"compute_80", "host", "sm_80"}, model, folder_ / "both.plan");
  ASSERT_TRUE(both.isOk()) << both.status().toString();
  auto alone = plan::Plan::load((folder_ / "host.plan").string()),
       loaded = plan::Plan::load((folder_ / "both.plan").string());
  ASSERT_TRUE(alone.isOk()) << alone.status().toString();
  ASSERT_TRUE(loaded.isOk()) << loaded.status().toString();
  const plan::Manifest &manifest = loaded->manifest();
  EXPECT_EQ(manifest.weights, alone->manifest().weights);
  ASSERT_EQ(manifest.programs.size(), 3U);
  EXPECT_EQ(manifest.programs[0], alone->manifest().programs[0]);
  std::vector<std::string> targets;
  for (const plan::CodeTarget &target : manifest.targets)
    targets.push_back(target.name + " of " + manifest.programs[target.program].device);
  // Machine code stands before PTX, whatever the order of the command line.
  EXPECT_THAT(targets, testing::ElementsAre("x86-64-avx512 of host", "x86-64-avx2 of host",
                                            "sm_80 of cuda", "compute_80 of cuda"));
  const plan::DeviceProgram &cuda = manifest.programs[1];
  EXPECT_EQ(cuda.launches.size(), manifest.programs[0].launches.size());
  EXPECT_EQ(cuda.arena_bytes, manifest.programs[0].arena_bytes);
  for (const plan::DeviceProgram &program : manifest.programs)
    EXPECT_EQ(weightsOf(program).size(), manifest.weights.size()) << "every program needs them all";
  EXPECT_FALSE(manifest.programs[0].sampler);
  for (size_t program : {1, 2}) {
    ASSERT_TRUE(manifest.programs[program].sampler);
    EXPECT_EQ(
        manifest.programs[program].kernels[*manifest.programs[program].sampler].cuda->operation,
        "sample");
  }
  std::set<std::string> operations;
  for (const plan::Kernel &kernel : cuda.kernels) {
    ASSERT_TRUE(kernel.cuda);
    operations.insert(kernel.cuda->operation);
    EXPECT_EQ(kernel.cuda->family, "sm80");
    EXPECT_FALSE(kernel.cuda->is_fallback);
    EXPECT_EQ(kernel.cuda->proof, plan::Proof::kUnverified);
    EXPECT_GT(kernel.cuda->predicted_ns, 0);
    EXPECT_EQ(kernel.cuda->measured_ns, 0);
  }
  EXPECT_THAT(operations, testing::IsSupersetOf({"matmul", "paged_attention", "qkv_finish",
                                                 "row_program", "embed", "select_rows"}));
  size_t ranked = 0;
  for (const plan::Launch &launch : cuda.launches)
    for (const plan::Variant &variant : launch.variants) {
      double last = cuda.kernels[variant.kernel].cuda->predicted_ns;
      for (uint32_t alternative : variant.alternatives) {
        EXPECT_GE(cuda.kernels[alternative].cuda->predicted_ns, last) << launch.name;
        last = cuda.kernels[alternative].cuda->predicted_ns;
        ++ranked;
      }
    }
  EXPECT_GT(ranked, 0U);
}

TEST_F(CudaPlans, AreMadeTheSameAgain) {
  std::string bytes[2];
  for (unsigned i = 0; i < 2; ++i) {
    const std::filesystem::path plan = folder_ / ("plan" + std::to_string(i));
    auto report = compileFor({"sm_80"}, tinyModel("tiny-llama3-dynamo-raw"), plan,
                             WeightFormat::kF32, 1 + i); // the number of workers must not matter
    ASSERT_TRUE(report.isOk()) << report.status().toString();
    std::ifstream file(plan, std::ios::binary);
    bytes[i].assign(std::istreambuf_iterator<char>(file), {});
  }
  EXPECT_FALSE(bytes[0].empty());
  EXPECT_TRUE(bytes[0] == bytes[1]);
}

TEST(CudaTargets, AreRefusedByNameAndWithAWayOut) {
  TemporaryFolder folder;
  auto unknown = compileFor({"sm_75"}, "model.onnx", folder / "a.plan");
  EXPECT_THAT(unknown.status().message(), testing::HasSubstr("'sm_75' is unknown"));
  EXPECT_THAT(unknown.status().message(), testing::HasSubstr("sm_90a"));
  setenv("PLATEN_NVRTC_WORKER", "/bin/false", 1);
  auto broken = compileFor({"sm_80"}, "model.onnx", folder / "a.plan");
  unsetenv("PLATEN_NVRTC_WORKER");
  ASSERT_FALSE(broken.isOk());
  EXPECT_THAT(broken.status().toString(), testing::HasSubstr("target sm_80"));
}

struct Model {
  const char *folder;
  WeightFormat weights;
  double tolerance; ///< largest absolute difference of a logit from ONNX Runtime's in f32
};

// f32 weights are multiplied in f32, but attention rounds q, k, v and p to bf16; logits are of size
// 1 to 10. Graphs with integer blocks also round their activations, as ONNX Runtime does.
const Model kModels[] = {
    {"tiny-gemma3-dynamo-raw", WeightFormat::kF32, 0.05},
    {"tiny-llama3-genai-fp32-cpu", WeightFormat::kBF16, 0.2},
    {"tiny-gemma3-genai-int4-cpu", WeightFormat::kF32, 0.2},
};

/// A model, its tokens and their logits by ONNX Runtime.
class CudaLogits : public testing::TestWithParam<Model> {
protected:
  void SetUp() override {
    if (sharedFixtures().empty())
      GTEST_SKIP() << "needs the shared fixtures (PLATEN_SHARED)";
    if (const base::Status found = compiler::findCudaCompiler(); !found.isOk())
      GTEST_SKIP() << found.toString();
    auto arrays = golden::readNpz(tinyModel(GetParam().folder).parent_path() / "ort_ref.npz");
    ASSERT_TRUE(arrays.isOk()) << arrays.status().toString();
    for (int64_t id : arrays->at("ids").toInts())
      ids_.push_back(static_cast<int32_t>(id));
    reference_ = arrays->at("logits");
  }
  void compile(const std::string &target) {
    auto report = compileFor({target}, tinyModel(GetParam().folder), folder_ / "model.plan",
                             GetParam().weights);
    ASSERT_TRUE(report.isOk()) << report.status().toString();
  }
  static std::vector<int32_t> pages(size_t n, int32_t first) {
    std::vector<int32_t> list((n + 15) / 16);
    for (size_t i = 0; i < list.size(); ++i)
      list[i] = first + static_cast<int32_t>(i);
    return list;
  }
  template <typename Runner>
  static std::vector<float> run(Runner &runner,
                                const std::vector<StepRunner::Sequence> &sequences) {
    auto logits = runner.run(sequences);
    EXPECT_TRUE(logits.isOk()) << logits.status().toString();
    return logits.isOk() ? std::move(*logits) : std::vector<float>();
  }
  /// The prompt cut into steps of `length` tokens.
  template <typename Runner> std::vector<float> runInSteps(Runner &runner, size_t length) {
    std::vector<float> logits;
    for (size_t start = 0; start < ids_.size(); start += length) {
      const size_t end = std::min(start + length, ids_.size());
      const std::vector<float> part =
          run(runner,
              {{{ids_.begin() + static_cast<long>(start), ids_.begin() + static_cast<long>(end)},
                static_cast<int32_t>(start),
                pages(ids_.size(), 20)}});
      logits.insert(logits.end(), part.begin(), part.end());
    }
    return logits;
  }
  template <typename Runner> std::vector<float> runBesideNeighbours(Runner &runner) {
    const std::vector<int32_t> other(ids_.rbegin(), ids_.rbegin() + 11), third(5, 17);
    const std::vector<float> all =
        run(runner, {{other, 0, {40}}, {ids_, 0, pages(ids_.size(), 42)}, {third, 0, {41}}});
    const size_t vocabulary = all.size() / (ids_.size() + 16);
    const auto begin = all.begin() + static_cast<long>(11 * vocabulary);
    return {begin, begin + static_cast<long>(ids_.size() * vocabulary)};
  }
  void expectModels(const std::vector<float> &logits) {
    ASSERT_EQ(static_cast<int64_t>(logits.size()), reference_.elementCount());
    double worst = 0;
    for (size_t i = 0; i < logits.size(); ++i)
      worst = std::max(worst, std::abs(logits[i] - reference_.get(static_cast<int64_t>(i))));
    RecordProperty("worst_difference", std::to_string(worst));
    EXPECT_LE(worst, GetParam().tolerance);
  }

  TemporaryFolder folder_;
  std::vector<int32_t> ids_;
  ops::Tensor reference_;
};

TEST_P(CudaLogits, AreTheModelsWhateverTheKernelsStepsAndOrders) {
  ASSERT_NO_FATAL_FAILURE(compile("compute_80"));
  auto plan = SimulatedPlan::load(folder_ / "model.plan", "compute_80");
  ASSERT_TRUE(plan.isOk()) << plan.status().toString();
  SimulatedPlan &runner = **plan;
  const std::vector<float> expected = run(runner, {{ids_, 0, pages(ids_.size(), 7)}});
  expectModels(expected);
  for (size_t rank = 0; rank < 3; ++rank) {
    runner.useAlternative(rank);
    runner.useOrder(ptxsim::AsyncOrder::kRandom, rank + 1);
    EXPECT_TRUE(runInSteps(runner, rank + 1) == expected) << "in steps, rank " << rank;
    EXPECT_TRUE(runBesideNeighbours(runner) == expected) << "beside neighbours, rank " << rank;
  }
}

/// What runs on a device of that compute capability.
std::string targetFor(uint32_t capability) {
  std::string best = "compute_80";
  for (const kernels::CudaArchitecture &architecture : kernels::kCudaArchitectures)
    if (plan::parseCudaArchitecture(architecture.name)->runsOn(capability) && !architecture.isPtx)
      best = architecture.name; // they stand in ascending order
  return best;
}

/// Tokens that the engine draws from the model's own logits, on the device and, of the logits that
/// are read, on the host.
TEST_F(CudaPlans, OnACudaDriverGiveTheSameTokensWhereverTheyAreDrawn) {
  auto device = device::CudaDevice::open();
  if (!device.isOk())
    GTEST_SKIP() << device.status().toString();
  auto report = compileFor({targetFor((*device)->report().capability)},
                           tinyModel("tiny-gemma3-dynamo-raw"), folder_ / "model.plan");
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  std::vector<std::vector<int32_t>> tokens[2];
  for (bool on_device : {false, true}) {
    auto engine = engine::Engine::load((folder_ / "model.plan").string(),
                                       {.device = "cuda", .device_sampling = on_device});
    ASSERT_TRUE(engine.isOk()) << engine.status().toString();
    std::vector<engine::RequestId> ids;
    for (const engine::Sampling &sampling :
         {engine::Sampling{}, engine::Sampling{.temperature = 1, .seed = 1},
          engine::Sampling{.temperature = 2, .top_k = 40, .seed = 2},
          engine::Sampling{.temperature = 1.5F, .top_p = 0.9F, .seed = 3},
          engine::Sampling{.temperature = 1, .min_p = 0.02F, .seed = 4},
          engine::Sampling{
              .temperature = 1, .top_k = 60, .top_p = 0.95F, .min_p = 0.01F, .seed = 5}})
      ids.push_back(*engine->submit({.tokens = {2, 7, 1, 8, 2, 8, 1, 8, 3},
                                     .max_tokens = 8,
                                     .sampling = sampling,
                                     .ignore_eos = true}));
    for (engine::RequestId id : ids) {
      auto result = engine->wait(id);
      ASSERT_TRUE(result.isOk() && result->status.isOk()) << result->status.toString();
      ASSERT_EQ(result->tokens.size(), 8U);
      tokens[on_device].push_back(result->tokens);
    }
  }
  EXPECT_EQ(tokens[0], tokens[1]);
  EXPECT_EQ(std::set(tokens[0].begin(), tokens[0].end()).size(), tokens[0].size());
}

/// The runtime on whatever CUDA driver PLATEN_CUDA_DRIVER names, or the machine's own.
TEST_P(CudaLogits, OfTheRuntimeOnACudaDriver) {
  auto device = device::CudaDevice::open();
  if (!device.isOk())
    GTEST_SKIP() << device.status().toString();
  const std::string target = targetFor((*device)->report().capability);
  ASSERT_NO_FATAL_FAILURE(compile(target));
  auto loaded = StepRunner::load(folder_ / "model.plan", std::move(*device));
  ASSERT_TRUE(loaded.isOk()) << loaded.status().toString();
  StepRunner &runner = **loaded;
  const std::vector<float> expected = run(runner, {{ids_, 0, pages(ids_.size(), 7)}});
  expectModels(expected);
  EXPECT_TRUE(runInSteps(runner, 5) == expected);
  EXPECT_TRUE(runBesideNeighbours(runner) == expected);
}

INSTANTIATE_TEST_SUITE_P(Exporters, CudaLogits, testing::ValuesIn(kModels), [](const auto &info) {
  std::string name = info.param.folder;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

} // namespace
} // namespace platen::end_to_end
