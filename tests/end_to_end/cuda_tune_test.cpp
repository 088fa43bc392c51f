// `platen tune` on compiled plans of small models, on whatever CUDA driver there is: every kernel
// that the plan's launches take is proven, the same again; an image that was swapped is found out.
#include "compiler/emit/cuda/emit.h"
#include "runtime/device/cuda/cuda_device.h"
#include "runtime/plan/writer.h"
#include "tests/end_to_end/compiled_plan.h"
#include "tools/tune/tune.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace platen::end_to_end {
namespace {

using compiler::WeightFormat;

/// What runs on a device of that compute capability.
std::string targetFor(uint32_t capability) {
  std::string best = "compute_80";
  for (const kernels::CudaArchitecture &architecture : kernels::kCudaArchitectures)
    if (plan::parseCudaArchitecture(architecture.name)->runsOn(capability) && !architecture.isPtx)
      best = architecture.name; // they stand in ascending order
  return best;
}

class TuneOnACudaDriver : public testing::Test {
protected:
  void SetUp() override {
    if (sharedFixtures().empty())
      GTEST_SKIP() << "needs the shared fixtures (PLATEN_SHARED)";
    if (const base::Status found = compiler::findCudaCompiler(); !found.isOk())
      GTEST_SKIP() << found.toString();
    auto device = device::CudaDevice::open();
    if (!device.isOk())
      GTEST_SKIP() << device.status().toString();
    target_ = targetFor((*device)->report().capability);
    is_simulated_ = (*device)->isSimulated();
  }
  plan::Plan compile(const std::string &model, WeightFormat weights, bool with_host = true) {
    std::vector<std::string> targets{target_};
    if (with_host)
      targets.push_back(hostTargetHere());
    auto report = compileForTest(sharedFixtures() / "tiny" / model / "model.onnx",
                                 folder_ / "model.plan", weights, {0, 64, 64, 8, 16}, targets);
    EXPECT_TRUE(report.isOk()) << report.status().toString();
    return std::move(*plan::Plan::load(folder_ / "model.plan"));
  }
  std::string tunedBytes(const plan::Plan &plan, const tune::TuneReport &report) {
    const std::string path = folder_ / "tuned.plan";
    EXPECT_TRUE(tune::writePlan(plan, report.manifest, path, options_).isOk());
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Every kernel of a launch passed, and the plan says so.
  void expectProven(const tune::TuneReport &report) const {
    const plan::DeviceProgram &program = report.manifest.programs[report.program];
    for (size_t i = 0; i < program.kernels.size(); ++i) {
      const tune::Verdict &verdict = report.verdicts[i];
      if ((program.sampler && *program.sampler == i) ||
          verdict.untested.find("which the plan does not allow") != std::string::npos)
        continue;
      EXPECT_TRUE(verdict.isProven()) << program.kernels[i].name << ": " << verdict.untested;
      EXPECT_FALSE(verdict.failure) << verdict.failure->toString();
      EXPECT_EQ(program.kernels[i].cuda->proof,
                is_simulated_ ? plan::Proof::kSimulated : plan::Proof::kMeasured);
      EXPECT_EQ(program.kernels[i].cuda->measured_ns == 0, is_simulated_);
    }
  }

  TemporaryFolder folder_;
  std::string target_;
  bool is_simulated_ = false;
  tune::TuneOptions options_{.past_tokens = 40};
};

TEST_F(TuneOnACudaDriver, ProvesTheKernelsOfPlansInF32AndBF16) {
  for (WeightFormat weights : {WeightFormat::kF32, WeightFormat::kBF16}) {
    plan::Plan plan = compile("tiny-gemma3-dynamo-raw", weights);
    auto report = tune::tune(plan, options_);
    ASSERT_TRUE(report.isOk()) << report.status().toString();
    EXPECT_EQ(report->no_reference, "");
    expectProven(*report);
  }
}

TEST_F(TuneOnACudaDriver, ProvesTheKernelsOfIntegerBlocksTheSameAgain) {
  plan::Plan plan = compile("tiny-gemma3-genai-int4-cpu", WeightFormat::kF32);
  auto report = tune::tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  expectProven(*report);
  if (!is_simulated_)
    return;
  auto again = tune::tune(plan, options_);
  ASSERT_TRUE(again.isOk()) << again.status().toString();
  EXPECT_TRUE(tunedBytes(plan, *report) == tunedBytes(plan, *again));
}

TEST_F(TuneOnACudaDriver, ASwappedImageIsNamedAndLeavesTheRanking) {
  plan::Plan plan = compile("tiny-gemma3-dynamo-raw", WeightFormat::kBF16);
  plan::Manifest manifest = plan.manifest();
  plan::DeviceProgram &program = manifest.programs[0].device == plan::kCudaDevice
                                     ? manifest.programs[0]
                                     : manifest.programs[1];
  // An alternative of one launch gets the image of another launch's kernel, which takes no more
  // operands.
  const plan::Launch *victim = nullptr;
  uint32_t to = 0, from = 0;
  bool is_found = false;
  for (const plan::Launch &launch : program.launches)
    for (const plan::Variant &variant : launch.variants)
      if (victim == nullptr && !variant.alternatives.empty())
        victim = &launch, to = variant.alternatives.front();
  ASSERT_NE(victim, nullptr);
  for (const plan::Launch &launch : program.launches)
    if (launch.variants != victim->variants && launch.extent == victim->extent &&
        launch.operands.size() <= victim->operands.size())
      is_found = true, from = launch.variants.front().kernel;
  ASSERT_TRUE(is_found);
  program.kernels[to].cuda->phases = program.kernels[from].cuda->phases;
  program.kernels[to].cuda->tensor_maps = program.kernels[from].cuda->tensor_maps;
  program.kernels[to].scratch_bytes = program.kernels[from].scratch_bytes;
  for (plan::CodeTarget &target : manifest.targets)
    if (&manifest.programs[target.program] == &program) {
      target.entry_offsets[to] = target.entry_offsets[from];
      target.entry_bytes[to] = target.entry_bytes[from];
    }
  ASSERT_TRUE(tune::writePlan(plan, manifest, folder_ / "swapped.plan", options_).isOk());
  auto swapped = plan::Plan::load(folder_ / "swapped.plan");
  ASSERT_TRUE(swapped.isOk()) << swapped.status().toString();
  auto report = tune::tune(*swapped, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  ASSERT_TRUE(report->verdicts[to].failure);
  EXPECT_EQ(report->verdicts[to].failure->kernel, program.kernels[to].name);
  const plan::DeviceProgram &left = report->manifest.programs[report->program];
  for (const plan::Launch &launch : left.launches)
    for (const plan::Variant &variant : launch.variants) {
      EXPECT_NE(variant.kernel, to);
      EXPECT_THAT(variant.alternatives, testing::Not(testing::Contains(to)));
    }
  EXPECT_TRUE(report->verdicts[from].isProven());
}

TEST_F(TuneOnACudaDriver, WithoutTheHostsProgramNothingIsProven) {
  plan::Plan plan = compile("tiny-gemma3-dynamo-raw", WeightFormat::kBF16, /*with_host=*/false);
  auto report = tune::tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  EXPECT_THAT(report->no_reference, testing::HasSubstr("the host cannot run the plan"));
  for (const plan::Kernel &kernel : report->manifest.programs[report->program].kernels)
    EXPECT_EQ(kernel.cuda->proof, plan::Proof::kUnverified);
  for (const tune::Verdict &verdict : report->verdicts)
    EXPECT_FALSE(verdict.failure) << verdict.failure->toString();
}

} // namespace
} // namespace platen::end_to_end
