// `tune` on the tiny plan: over the driver's double, which knows the kernels by their entries and
// has times, and over the driver that PLATEN_CUDA_DRIVER names (the simulator, which runs the PTX).
#include "tools/tune/tune.h"

#include "runtime/device/cuda/cuda_device.h"
#include "runtime/plan/testing/tiny_graph.h"
#include "runtime/plan/testing/tiny_plan.h"
#include "runtime/plan/writer.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace platen::tune {
namespace {

using base::StatusCode;
using plan::Proof;
using testing::HasSubstr;

constexpr uint32_t kEmbed = 0, kHead = 3, kOtherHead = 4, kSampler = 5; // tinyCudaKernels()

plan::testing::TinyPlanOptions bothPrograms() {
  plan::testing::TinyPlanOptions options;
  options.cuda_targets = {{"compute_80", {"compute_80"}}};
  options.cuda_sampler = false; // tune says nothing of it
  return options;
}

std::string read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Tune : public testing::Test {
protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string at(const std::string &name) const { return folder_ / name; }

  /// The tiny plan, its manifest changed and its sections' bytes too.
  plan::Plan tinyPlan(
      const std::function<void(plan::Manifest &)> &change = [](plan::Manifest &) {},
      const plan::testing::TinyPlanOptions &options = bothPrograms()) {
    auto writer = plan::PlanWriter::create(at("tiny.plan"));
    auto manifest = plan::testing::buildTinyPlan(*writer, options);
    change(*manifest);
    const base::Status status = writer->finish(std::move(*manifest));
    EXPECT_TRUE(status.isOk()) << status.toString();
    auto loaded = plan::Plan::load(at("tiny.plan"));
    EXPECT_TRUE(loaded.isOk()) << loaded.status().toString();
    return std::move(*loaded);
  }
  /// The same plan with `from` replaced by `to`, of equal length, in every section of code.
  plan::Plan mutated(const std::string &from, const std::string &to) {
    plan::Plan plan = tinyPlan();
    auto writer = plan::PlanWriter::create(at("mutated.plan"));
    for (uint32_t i = 0; i < plan.manifest().sections.size(); ++i) {
      const plan::Section &section = plan.manifest().sections[i];
      const auto bytes = plan.section(i);
      std::string text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
      if (const size_t found = text.find(from); found != std::string::npos)
        text.replace(found, from.size(), to), ++replaced_;
      EXPECT_TRUE(writer->beginSection(section.kind, section.name).isOk());
      EXPECT_TRUE(writer->append(std::as_bytes(std::span(text))).isOk());
      EXPECT_TRUE(writer->endSection().isOk());
    }
    EXPECT_EQ(from.size(), to.size());
    EXPECT_EQ(replaced_, 1) << from;
    EXPECT_TRUE(writer->finish(plan.manifest()).isOk());
    return std::move(*plan::Plan::load(at("mutated.plan")));
  }
  static const std::vector<plan::Kernel> &kernels(const TuneReport &report) {
    return report.manifest.programs[report.program].kernels;
  }

  TuneOptions options_;
  int replaced_ = 0;
  std::filesystem::path folder_ = testing::TempDir() + "platen_tune_" + std::to_string(getpid());
};

class TuneOnTheDouble : public Tune {
protected:
  void SetUp() override {
    Tune::SetUp();
    options_.driver = PLATEN_CUDA_DOUBLE;
  }
};

TEST_F(TuneOnTheDouble, PlansOfGraphsAreRefusedByName) {
  ASSERT_TRUE(plan::testing::writeTinyGraph(at("graph.plan"),
                                            {.cuda_targets = {{"compute_80", {"compute_80"}}}})
                  .isOk());
  auto plan = plan::Plan::load(at("graph.plan"));
  ASSERT_TRUE(plan.isOk()) << plan.status().toString();
  auto report = tune(*plan, options_);
  EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(report.status().toString(), HasSubstr("a graph that is no decoder"));
}

TEST_F(TuneOnTheDouble, MeasuresEveryKernelAndRanksByTime) {
  plan::Plan plan = tinyPlan();
  auto report = tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  EXPECT_FALSE(report->is_simulated);
  EXPECT_EQ(report->no_reference, "");
  EXPECT_EQ(report->target, "compute_80");
  for (size_t i = 0; i < kernels(*report).size(); ++i) {
    const plan::Kernel &kernel = kernels(*report)[i];
    if (i == kSampler) {
      EXPECT_EQ(kernel.cuda->proof, Proof::kUnverified);
      EXPECT_THAT(report->verdicts[i].untested, HasSubstr("draws tokens"));
      continue;
    }
    EXPECT_TRUE(report->verdicts[i].isProven()) << report->verdicts[i].untested;
    EXPECT_GE(report->verdicts[i].tests, 3U) << kernel.name;
    EXPECT_EQ(kernel.cuda->proof, Proof::kMeasured) << kernel.name;
    EXPECT_GT(kernel.cuda->measured_ns, 0) << kernel.name;
  }
  // Blocks of 32 and 32 threads against 128 and 64: the double's time is their sum.
  EXPECT_NEAR(kernels(*report)[kHead].cuda->measured_ns, 64e3, 1);
  EXPECT_NEAR(kernels(*report)[kOtherHead].cuda->measured_ns, 192e3, 1);
  for (const plan::Variant &variant : report->manifest.programs[1].launches.back().variants) {
    EXPECT_EQ(variant.kernel, kHead);
    EXPECT_THAT(variant.alternatives, testing::ElementsAre(kOtherHead));
  }
}

TEST_F(TuneOnTheDouble, WritesAPlanThatDiffersInRankingAndProofsAlone) {
  plan::Plan plan = tinyPlan();
  auto report = tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  ASSERT_TRUE(writePlan(plan, report->manifest, at("tuned.plan"), options_).isOk());
  auto tuned = plan::Plan::load(at("tuned.plan"));
  ASSERT_TRUE(tuned.isOk()) << tuned.status().toString();
  plan::Manifest expected = plan.manifest();
  expected.programs[1] = report->manifest.programs[1];
  EXPECT_EQ(tuned->manifest(), expected);
  for (uint32_t i = 0; i < expected.sections.size(); ++i)
    EXPECT_TRUE(std::ranges::equal(tuned->section(i), plan.section(i))) << i;
  // A flipped bit of a proof is damage like any other.
  std::string bytes = read(at("tuned.plan"));
  const size_t proof = bytes.rfind(std::string("\x40\x02", 2)); // field 8, PROOF_MEASURED
  ASSERT_NE(proof, std::string::npos);
  bytes[proof + 1] ^= 3;
  std::ofstream(at("flipped.plan"), std::ios::binary) << bytes;
  EXPECT_EQ(plan::Plan::load(at("flipped.plan")).status().code(), StatusCode::kCorrupt);
}

TEST_F(TuneOnTheDouble, ABrokenAlternativeLeavesTheRanking) {
  plan::Plan plan = tinyPlan([](plan::Manifest &manifest) {
    // The second phase writes no logits any more.
    manifest.programs[1].kernels[kOtherHead].cuda->phases[1].entry = "platen_tiny_next";
  });
  auto report = tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  const Verdict &verdict = report->verdicts[kOtherHead];
  ASSERT_TRUE(verdict.failure);
  EXPECT_EQ(verdict.failure->kernel, "head_f32__ptx_v2");
  EXPECT_EQ(verdict.failure->launch, "head");
  EXPECT_THAT(verdict.failure->what, HasSubstr("buffer 'logits', row 0, element 0: no number"));
  EXPECT_EQ(kernels(*report)[kOtherHead].cuda->proof, Proof::kUnverified);
  for (const plan::Variant &variant : report->manifest.programs[1].launches.back().variants) {
    EXPECT_EQ(variant.kernel, kHead);
    EXPECT_THAT(variant.alternatives, testing::IsEmpty());
  }
  EXPECT_TRUE(report->verdicts[kHead].isProven());
}

TEST_F(TuneOnTheDouble, ALaunchWithoutAKernelIsAnErrorThatNamesItAndTheKernel) {
  plan::Plan plan = tinyPlan([](plan::Manifest &manifest) {
    // Blocks of 16 tokens, but only one for each 32: rows from 16 on stay unwritten.
    manifest.programs[1].kernels[kEmbed].cuda->phases[0].threads = 32;
  });
  auto report = tune(plan, options_);
  ASSERT_FALSE(report.isOk());
  EXPECT_EQ(report.status().code(), StatusCode::kInternal);
  EXPECT_THAT(report.status().toString(), HasSubstr("launch 'embed'"));
  EXPECT_THAT(report.status().toString(), HasSubstr("embed_i32__ptx_v1"));
  EXPECT_THAT(report.status().toString(), HasSubstr("buffer 'x', row"));
}

TEST_F(TuneOnTheDouble, WithoutTheHostNothingIsProven) {
  plan::testing::TinyPlanOptions cuda = bothPrograms();
  cuda.targets.clear();
  plan::Plan plan = tinyPlan([](plan::Manifest &) {}, cuda);
  auto report = tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  EXPECT_THAT(report->no_reference, HasSubstr("the host cannot run the plan"));
  for (size_t i = 0; i < kernels(*report).size(); ++i) {
    EXPECT_FALSE(report->verdicts[i].isProven());
    EXPECT_EQ(report->verdicts[i].untested,
              i == kSampler ? "it draws tokens, which the host does without a kernel"
                            : "there was nothing to compare it with");
    EXPECT_EQ(kernels(*report)[i].cuda->proof, Proof::kUnverified);
    EXPECT_EQ(kernels(*report)[i].cuda->measured_ns, 0);
  }
  // Times rank all the same, and kernels must still agree with each other.
  EXPECT_EQ(report->manifest.programs[1].launches.back().variants.back().kernel, kHead);
  plan::Plan broken = tinyPlan(
      [](plan::Manifest &manifest) {
        manifest.programs[1].kernels[kOtherHead].cuda->phases[1].grid_x.times = 1;
        manifest.programs[1].kernels[kOtherHead].cuda->phases[1].entry = "platen_tiny_next";
        manifest.programs[1].launches.back().variants.back() = {1U << 20, kHead, {}, {kOtherHead}};
      },
      cuda);
  report = tune(broken, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  EXPECT_TRUE(report->verdicts[kOtherHead].failure);
}

TEST_F(TuneOnTheDouble, TheBudgetLeavesLargerStepsUnproven) {
  plan::Plan plan = tinyPlan([](plan::Manifest &manifest) {
    manifest.programs[1].launches.back().variants = {{4, kHead, {}, {}},
                                                     {1U << 20, kOtherHead, {}, {}}};
  });
  options_.step_tokens = 4;
  auto report = tune(plan, options_);
  ASSERT_TRUE(report.isOk()) << report.status().toString();
  EXPECT_TRUE(report->verdicts[kHead].isProven());
  EXPECT_FALSE(report->verdicts[kOtherHead].isProven());
  EXPECT_THAT(report->verdicts[kOtherHead].untested, HasSubstr("steps from 5 on"));
  EXPECT_EQ(kernels(*report)[kOtherHead].cuda->proof, Proof::kUnverified);
}

TEST_F(TuneOnTheDouble, CanBeInterruptedAndLeavesNothing) {
  plan::Plan plan = tinyPlan();
  int asked = 0;
  options_.cancelled = [&] { return ++asked > 20; };
  EXPECT_EQ(tune(plan, options_).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(writePlan(plan, plan.manifest(), at("tuned.plan"), options_).code(),
            StatusCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(at("tuned.plan")));
  EXPECT_FALSE(std::filesystem::exists(at("tuned.plan.tmp")));
}

/// On whatever driver the environment names.
class TuneCudaDriver : public Tune {
protected:
  void SetUp() override {
    Tune::SetUp();
    if (auto device = device::CudaDevice::open(); !device.isOk())
      GTEST_SKIP() << device.status().toString();
    else
      is_simulated_ = (*device)->isSimulated();
  }
  bool is_simulated_ = false;
};

TEST_F(TuneCudaDriver, ProvesEveryKernelTheSameAgain) {
  plan::Plan plan = tinyPlan();
  std::string bytes[2];
  for (std::string &one : bytes) {
    auto report = tune(plan, options_);
    ASSERT_TRUE(report.isOk()) << report.status().toString();
    EXPECT_EQ(report->is_simulated, is_simulated_);
    for (const plan::Kernel &kernel : kernels(*report)) {
      if (kernel.cuda->operation == "sample")
        continue;
      EXPECT_EQ(kernel.cuda->proof, is_simulated_ ? Proof::kSimulated : Proof::kMeasured)
          << kernel.name;
      EXPECT_EQ(kernel.cuda->measured_ns == 0, is_simulated_) << kernel.name;
    }
    ASSERT_TRUE(writePlan(plan, report->manifest, at("tuned.plan"), options_).isOk());
    one = read(at("tuned.plan"));
  }
  if (is_simulated_) {
    EXPECT_FALSE(bytes[0].empty());
    EXPECT_TRUE(bytes[0] == bytes[1]);
  }
}

/// One changed instruction of the image that the plan carries.
struct Mutant {
  const char *name, *from, *to, *kernel;
};
class TuneMutantCudaDriver : public TuneCudaDriver, public testing::WithParamInterface<Mutant> {};

TEST_P(TuneMutantCudaDriver, IsNamed) {
  plan::Plan plan = mutated(GetParam().from, GetParam().to);
  auto report = tune(plan, options_);
  ASSERT_FALSE(report.isOk()) << "every variant needs this kernel";
  EXPECT_THAT(report.status().toString(), HasSubstr(GetParam().kernel));
  EXPECT_THAT(report.status().toString(), HasSubstr("no kernel is left")) << "not the end at once";
}

INSTANTIATE_TEST_SUITE_P(
    Images, TuneMutantCudaDriver,
    testing::Values(Mutant{"AnotherRowOfTheTable", "mad.lo.u32 %r8, %r6, 4, %r7;",
                           "mad.lo.u32 %r8, %r6, 3, %r7;", "embed_i32__ptx_v1"},
                    Mutant{"TheFirstRowsAlone", "setp.ge.u64 %p1, %a4, %a5;",
                           "setp.ge.u64 %p1, %a4, 1  ;", "embed_i32__ptx_v1"},
                    Mutant{"AFaultThatLosesTheDevice", "mul.wide.u32 %a9, %r4, 4;",
                           "mul.wide.u32 %a9, %r4,-4;", "embed_i32__ptx_v1"}),
    [](const auto &info) { return info.param.name; });

} // namespace
} // namespace platen::tune
