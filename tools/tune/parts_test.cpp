// The parts of `tune` by themselves: what is compared and how, what is tested where, what follows.
#include "kernels/packing.h"
#include "runtime/exec/step_buffer.h"
#include "tools/tune/bounds.h"
#include "tools/tune/coverage.h"
#include "tools/tune/machine.h"
#include "tools/tune/workload.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace platen::tune {
namespace {

using plan::Proof;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytesOf(const std::vector<float> &values) {
  return std::as_bytes(std::span(values));
}

TEST(Bounds, ADifferenceIsMeasuredAgainstItsRow) {
  const std::vector<float> host{100, 1, 0.5F, 0.25F}, device{100, 1.1F, 0.5F, 0.26F};
  auto difference = compareRows(bytesOf(device), bytesOf(host), 8, {}, 0.02);
  ASSERT_TRUE(difference.isOk());
  EXPECT_EQ(difference->first, std::nullopt) << "0.1 of 100, 0.01 of 0.5";
  EXPECT_NEAR(difference->worst, 1, 1e-6);
  difference = compareRows(bytesOf(device), bytesOf(host), 8, {}, 0.019);
  EXPECT_EQ(difference->first,
            "row 1, element 1: 0.25999999 instead of 0.25, at most 0.0095 apart");
}

TEST(Bounds, WhatIsUnwrittenOrNoNumberShows) {
  float fill;
  std::memset(&fill, static_cast<int>(kFill), sizeof fill);
  const std::vector<float> host{1, 2}, unwritten{1, fill}, infinite{INFINITY, 2};
  for (const auto &device : {unwritten, infinite}) {
    auto difference = compareRows(bytesOf(device), bytesOf(host), 8, {}, 1e9);
    ASSERT_TRUE(difference.isOk());
    EXPECT_TRUE(difference->first);
  }
  // What the reference left unwritten is nobody's; what it computed must be a number.
  EXPECT_FALSE(compareRows(bytesOf(host), bytesOf(unwritten), 8, {}, 0)->first);
  EXPECT_EQ(compareRows(bytesOf(host), bytesOf(infinite), 8, {}, 0).status().code(),
            base::StatusCode::kInternal);
}

TEST(Bounds, QuantisedCodesMayBeNeighboursAndSumsMustBeTheirs) {
  const kernels::QuantizedRow format{32};
  Bytes host(format.bytes());
  const auto put = [](Bytes &row, uint64_t offset, auto value) {
    std::memcpy(row.data() + offset, &value, sizeof value);
  };
  put(host, 0, int8_t{127});
  put(host, format.scalesOffset(), 0.5F);
  put(host, format.sumsOffset(), int32_t{127});
  const BufferLayout layout{true, 32};
  auto first = [&](const Bytes &device) {
    return compareRows(device, host, format.bytes(), layout, 1e-6)->first.value_or("");
  };
  Bytes device = host;
  put(device, 5, int8_t{-1});
  put(device, format.sumsOffset(), int32_t{126});
  EXPECT_EQ(first(device), "");
  put(device, 5, int8_t{-2});
  put(device, format.sumsOffset(), int32_t{125});
  EXPECT_THAT(first(device), HasSubstr("row 0, element 5 (its code): -2 instead of 0"));
  device = host;
  put(device, format.sumsOffset(), int32_t{126});
  EXPECT_THAT(first(device), HasSubstr("the group's sum"));
  device = host;
  put(device, format.scalesOffset(), 0.51F);
  EXPECT_THAT(first(device), HasSubstr("the group's scale"));
  device.back() = std::byte{7};
  clearPadding(device, format.bytes(), layout);
  EXPECT_EQ(device.back(), std::byte{0});
  EXPECT_EQ(device[0], host[0]);
}

TEST(Bounds, APageIsComparedByPositions) {
  const plan::Cache cache{.kv_heads = 1, .head_dim = 2, .dtype = base::DType::kF32, .window = 0};
  // Keys [2, 2 positions], values [2 positions, 2].
  const std::vector<float> host{100, 1, 100, 1, 5, 5, 6, 6};
  std::vector<float> device = host;
  device[1] = 1.1F; // of position 1, whose key is small
  auto difference = comparePages(bytesOf(device), bytesOf(host), cache, 2, 0.05);
  ASSERT_TRUE(difference.isOk());
  EXPECT_THAT(difference->first.value_or(""), HasSubstr("page 0, head 0, key 1, element 0: 1.1"));
  device = host, device[7] = 6.2F;
  EXPECT_FALSE(comparePages(bytesOf(device), bytesOf(host), cache, 2, 0.05)->first);
  EXPECT_THAT(comparePages(bytesOf(device), bytesOf(host), cache, 2, 0.03)->first.value_or(""),
              HasSubstr("value 1, element 1"));
}

/// A program of one launch a list of variants.
plan::DeviceProgram programOf(std::vector<std::vector<plan::Variant>> launches, size_t kernels) {
  plan::DeviceProgram program;
  for (size_t i = 0; i < kernels; ++i)
    program.kernels.push_back({"k" + std::to_string(i), 0, plan::CudaKernel{}});
  for (size_t i = 0; i < launches.size(); ++i)
    program.launches.push_back(
        {"l" + std::to_string(i), plan::Extent::kTokens, std::move(launches[i]), {}});
  return program;
}
const plan::Limits kLimits{1024, 256, 8, 4, 16};

TEST(Coverage, LaunchesThatShareKernelsAreTestedAtTheFirstAndTheLast) {
  const std::vector<plan::Variant> layer{{16, 0, {}, {1}}, {UINT64_MAX, 2, {}, {}}};
  std::vector<Verdict> verdicts(4);
  const Coverage coverage = planCoverage(
      programOf({layer, {{UINT64_MAX, 0, {}, {}}}, layer, layer}, 4), kLimits, 64, false, verdicts);
  ASSERT_EQ(coverage.launches.size(), 3U);
  EXPECT_FALSE(coverage.launches.contains(2));
  const std::vector<Wanted> &wanted = coverage.launches.at(3);
  ASSERT_EQ(wanted.size(), 3U);
  EXPECT_THAT(wanted[1].extents, ElementsAre(1, 7, 16));
  EXPECT_THAT(wanted[2].extents, ElementsAre(1, 17, 39, 64));
  EXPECT_EQ(wanted[2].first, 17U);
  EXPECT_EQ(verdicts[3].untested, "no launch takes it");
  const Coverage timed = planCoverage(programOf({layer}, 4), kLimits, 256, true, verdicts);
  EXPECT_THAT(timed.launches.at(0)[0].timed_at, ElementsAre(16));
  EXPECT_THAT(timed.launches.at(0)[2].timed_at, ElementsAre(256)) << "all that the plan allows";
}

TEST(Verdicts, FailedKernelsLeaveAndTimesRank) {
  plan::DeviceProgram program = programOf({{{UINT64_MAX, 0, {}, {1, 2}}}}, 3);
  for (plan::Kernel &kernel : program.kernels)
    kernel.cuda->predicted_ns = 10;
  std::vector<Verdict> verdicts(3);
  for (uint32_t i = 0; i < 3; ++i)
    verdicts[i] = {.is_used = true, .tests = 1, .times_ns = {{256, 30.0 - i}}};
  verdicts[1].failure = Failure{"k1", "l0", {}, "wrong"};
  plan::DeviceProgram measured = program;
  ASSERT_TRUE(applyVerdicts(measured, verdicts, kLimits, false).isOk());
  EXPECT_EQ(measured.launches[0].variants[0].kernel, 2U);
  EXPECT_THAT(measured.launches[0].variants[0].alternatives, ElementsAre(0));
  EXPECT_EQ(measured.kernels[2].cuda->measured_ns, 28);
  EXPECT_EQ(measured.kernels[1].cuda->proof, Proof::kUnverified);
  // A simulator's verdict takes nothing from a measurement, nor the ranking that it gave.
  plan::DeviceProgram again = measured;
  again.kernels[0].cuda->proof = Proof::kUnverified, again.kernels[0].cuda->measured_ns = 0;
  ASSERT_TRUE(applyVerdicts(again, verdicts, kLimits, true).isOk());
  EXPECT_EQ(again.kernels[2].cuda->proof, Proof::kMeasured);
  EXPECT_EQ(again.kernels[0].cuda->proof, Proof::kSimulated);
  EXPECT_EQ(again.launches, measured.launches);
  for (Verdict &verdict : verdicts)
    verdict.failure = Failure{"k", "l0", {}, "wrong"};
  const base::Status none = applyVerdicts(program, verdicts, kLimits, true);
  EXPECT_THAT(none.toString(), HasSubstr("launch 'l0': no kernel is left"));
}

TEST(Verdicts, PredictionsAreComparedByRatioAndRank) {
  plan::DeviceProgram program = programOf({}, 4);
  const double predicted[] = {10, 20, 30, 5}, measured[] = {20, 30, 90, 0};
  for (size_t i = 0; i < 4; ++i) {
    program.kernels[i].cuda->predicted_ns = predicted[i];
    program.kernels[i].cuda->measured_ns = measured[i];
  }
  Prediction prediction = comparePredictions(program);
  EXPECT_EQ(prediction.kernels, 3U);
  EXPECT_EQ(prediction.median_ratio, 2);
  EXPECT_EQ(prediction.rank_correlation, 1);
  program.kernels[2].cuda->measured_ns = 1;
  EXPECT_EQ(comparePredictions(program).rank_correlation, -0.5);
}

TEST(Workload, StepsKeepThePlansLimitsAndShareNoPage) {
  plan::Manifest manifest;
  manifest.model.vocabulary = 32;
  for (const plan::Limits &limits :
       {kLimits, plan::Limits{64, 16, 8, 8, 4}, plan::Limits{1, 1, 1, 1, 16},
        plan::Limits{100, 64, 4, 1, 16}}) {
    manifest.limits = limits;
    Workload workload(manifest, 48, 300, 1);
    std::vector<Step> steps = workload.past();
    for (uint64_t tokens : {uint64_t{1}, workload.stepTokens() / 2 + 1, workload.stepTokens()}) {
      steps.push_back(workload.step(tokens));
      EXPECT_EQ(steps.back().tokens.size(), tokens);
    }
    const std::vector<plan::Cache> caches{{1, 4, base::DType::kF32, 0}};
    for (const Step &step : steps) {
      const base::Status status =
          exec::checkInputs(step.inputs(), manifest, caches, workload.pages());
      EXPECT_TRUE(status.isOk()) << status.toString();
    }
    std::vector<bool> used(workload.pages());
    for (int32_t page : *steps.back().pages)
      if (page >= 0) {
        EXPECT_FALSE(used[static_cast<size_t>(page)]);
        used[static_cast<size_t>(page)] = true;
      }
  }
}

} // namespace
} // namespace platen::tune
