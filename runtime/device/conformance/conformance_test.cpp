// What device.h promises, checked on every device through the tiny plan's real kernels. A new
// device adds a row to devices(). Exceptions, as their headers say: null computes nothing; fault
// behaves as what it wraps until told to fail.
#include <cstring>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/device/fault/fault_device.h"
#include "runtime/device/host/host_device.h"
#include "runtime/device/null/null_device.h"
#include "runtime/plan/kernel_abi.h"
#include "runtime/plan/testing/tiny_kernels.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::device {
namespace {

using base::StatusCode;
using plan::testing::TinyPlanOptions;

std::unique_ptr<Device> makeHost(unsigned threads, WeightPages pages) {
  auto device = HostDevice::create({.threads = threads, .weight_pages = pages});
  EXPECT_TRUE(device.isOk()) << device.status().toString();
  return std::move(*device);
}

struct DeviceCase {
  const char *name;
  std::function<std::unique_ptr<Device>()> make;
  bool computes;
  bool checks_cpu; // refuses code for other CPUs
};

void PrintTo(const DeviceCase &device, std::ostream *out) { *out << device.name; }

std::vector<DeviceCase> devices() {
  return {
      {"HostOneThread", [] { return makeHost(1, WeightPages::kMapped); }, true, true},
      {"HostThreeThreads", [] { return makeHost(3, WeightPages::kHuge); }, true, true},
      {"Null", [] { return std::make_unique<NullDevice>(); }, false, false},
      {"FaultOverHost",
       [] { return std::make_unique<FaultDevice>(makeHost(2, WeightPages::kAuto)); }, true, true},
  };
}

plan::Plan loadTiny(const TinyPlanOptions &options) {
  auto path = std::filesystem::temp_directory_path() /
              ("platen_conformance_" + std::to_string(getpid()) + ".plan");
  auto status = plan::testing::writeTinyPlan(path, options);
  EXPECT_TRUE(status.isOk()) << status.toString();
  auto plan = plan::Plan::load(path);
  EXPECT_TRUE(plan.isOk()) << plan.status().toString();
  std::filesystem::remove(path); // the mapping keeps it
  return std::move(*plan);
}

template <typename T> std::span<const std::byte> bytesOf(const std::vector<T> &values) {
  return std::as_bytes(std::span(values));
}

class DeviceConformance : public testing::TestWithParam<DeviceCase> {
protected:
  std::unique_ptr<Memory> allocate(uint64_t bytes) {
    auto memory = device_->allocate(bytes, "test");
    EXPECT_TRUE(memory.isOk()) << memory.status().toString();
    return std::move(*memory);
  }
  std::unique_ptr<Memory> uploaded(std::span<const std::byte> bytes) {
    auto memory = allocate(bytes.size());
    EXPECT_TRUE(device_->upload(*memory, 0, bytes).isOk());
    return memory;
  }
  template <typename T> std::vector<T> readBack(const Memory &memory, size_t count) {
    auto bytes = device_->read(memory, 0, count * sizeof(T));
    EXPECT_TRUE(bytes.isOk()) << bytes.status().toString();
    std::vector<T> values(count);
    std::memcpy(values.data(), bytes->data(), count * sizeof(T));
    return values;
  }
  std::unique_ptr<Device> device_ = GetParam().make();
};

TEST_P(DeviceConformance, DescribesItself) { EXPECT_FALSE(device_->description().empty()); }

TEST_P(DeviceConformance, MemoryIsZeroedAlignedAndSeparate) {
  std::vector<std::unique_ptr<Memory>> all;
  for (uint64_t bytes : {uint64_t{1}, uint64_t{100}, uint64_t{4096}, uint64_t{3 << 20}}) {
    all.push_back(allocate(bytes));
    EXPECT_EQ(all.back()->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(all.back()->address()) % 64, 0U);
    EXPECT_EQ(readBack<char>(*all.back(), bytes), std::vector<char>(bytes, '\0'));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<char> values(all[i]->bytes(), static_cast<char>('a' + i));
    EXPECT_TRUE(device_->upload(*all[i], 0, bytesOf(values)).isOk());
  }
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<char> values(all[i]->bytes(), static_cast<char>('a' + i));
    EXPECT_EQ(readBack<char>(*all[i], all[i]->bytes()), values);
  }
}

TEST_P(DeviceConformance, RefusesImpossibleAllocations) {
  EXPECT_EQ(device_->allocate(0, "x").status().code(), StatusCode::kInvalidArgument);
  auto huge = device_->allocate(uint64_t{1} << 60, "KV cache");
  EXPECT_EQ(huge.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(huge.status().toString(), testing::HasSubstr("KV cache"));
}

TEST_P(DeviceConformance, UploadsArriveInOrderAndInBounds) {
  auto memory = allocate(64);
  std::vector<int32_t> values{1, 2, 3, 4};
  ASSERT_TRUE(device_->upload(*memory, 0, bytesOf(values)).isOk());
  values.assign(4, -1); // the caller may reuse its bytes
  ASSERT_TRUE(device_->upload(*memory, 8, bytesOf(std::vector<int32_t>{9})).isOk());
  EXPECT_THAT(readBack<int32_t>(*memory, 5), testing::ElementsAre(1, 2, 9, 4, 0));
  EXPECT_TRUE(device_->upload(*memory, 64, {}).isOk());
  EXPECT_EQ(device_->upload(*memory, 61, bytesOf(values).first(4)).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(device_->upload(*memory, ~uint64_t{0}, bytesOf(values).first(4)).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(device_->read(*memory, 60, 5).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(device_->read(*memory, 1, ~uint64_t{0}).status().code(), StatusCode::kInvalidArgument);
}

TEST_P(DeviceConformance, PlacesWeights) {
  // 70 MB, so that the host's kAuto measures.
  plan::Plan plan = loadTiny({.extra_weight_bytes = uint64_t{70} << 20});
  auto weights = device_->placeWeights(plan);
  ASSERT_TRUE(weights.isOk()) << weights.status().toString();
  auto bytes = device_->read(**weights, 0, plan.weights().size());
  ASSERT_TRUE(bytes.isOk());
  EXPECT_EQ(std::memcmp(bytes->data(), plan.weights().data(), plan.weights().size()), 0);
}

TEST_P(DeviceConformance, TakesTheFirstTargetThatItCanRun) {
  plan::Plan plan = loadTiny({.targets = {{"x86-64-future", {"sse2", "platen-never"}},
                                          {"x86-64-second", {"sse2"}},
                                          {"x86-64-third", {}}}});
  auto target = device_->chooseTarget(plan);
  ASSERT_TRUE(target.isOk()) << target.status().toString();
  auto program = device_->loadCode(plan, *target);
  ASSERT_TRUE(program.isOk()) << program.status().toString();
  EXPECT_EQ((*program)->target(), GetParam().checks_cpu ? "x86-64-second" : "x86-64-future");
  EXPECT_EQ((*program)->kernel(3).scratch_bytes, 16U);
}

TEST_P(DeviceConformance, RefusesAPlanWithoutCodeForIt) {
  auto none = device_->chooseTarget(loadTiny({.targets = {}}));
  EXPECT_EQ(none.status().code(), StatusCode::kUnsupported);
  if (!GetParam().checks_cpu)
    return;
  auto other = device_->chooseTarget(loadTiny(
      {.targets = {{"x86-64-future", {"platen-never", "sse2"}}, {"x86-64-far", {"platen-x", "platen-y"}}}}));
  EXPECT_EQ(other.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(
      other.status().toString(),
      testing::HasSubstr("no code for this CPU: x86-64-future needs platen-never; x86-64-far needs "
                         "platen-x, platen-y"));
}

/// Weights, program and a step of `tokens` on the device.
class DeviceLaunch : public DeviceConformance {
protected:
  void SetUp() override {
    auto weights = device_->placeWeights(plan_);
    auto program = device_->loadCode(plan_, 0);
    ASSERT_TRUE(weights.isOk() && program.isOk());
    weights_ = std::move(*weights);
    program_ = std::move(*program);
  }
  void setTokens(const std::vector<int32_t> &tokens) {
    tokens_ = uploaded(bytesOf(tokens));
    std::vector<PlatenStep> step(1);
    step[0].tokens = static_cast<int64_t>(tokens.size());
    step[0].token_ids = static_cast<const int32_t *>(tokens_->address());
    step_ = uploaded(bytesOf(step));
  }
  void *weight(size_t index) { return weights_->at(plan_.manifest().weights[index].offset); }

  plan::Plan plan_ = loadTiny({});
  std::unique_ptr<Memory> weights_, tokens_, step_;
  std::unique_ptr<Program> program_;
};

TEST_P(DeviceLaunch, RunsEveryUnitOnce) {
  for (size_t count : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1000}}) {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < count; ++i)
      tokens.push_back(static_cast<int32_t>(i * 7 % 32));
    setTokens(tokens);
    auto x = allocate(count * TINY_WIDTH * 4 + 64);
    std::vector<void *> operands{step_->address(), weight(0), x->address()};
    ASSERT_TRUE(device_->launch(program_->kernel(0), operands, static_cast<int64_t>(count)).isOk());
    ASSERT_TRUE(device_->synchronize().isOk());
    auto values = readBack<int32_t>(*x, count * TINY_WIDTH + 4);
    for (size_t i = 0; i < values.size(); ++i) {
      int32_t expected = i < count * TINY_WIDTH && GetParam().computes
                             ? plan::testing::tinyEmbedding(tokens[i / TINY_WIDTH],
                                                            static_cast<int>(i % TINY_WIDTH))
                             : 0;
      ASSERT_EQ(values[i], expected) << i;
    }
  }
}

class DeviceCompute : public DeviceLaunch {};

TEST_P(DeviceCompute, LaunchesRunInOrderAndGetScratch) {
  // embed → head: the head reads what embed wrote; its kernel needs scratch.
  constexpr int kRows = 500;
  std::vector<int32_t> tokens(kRows);
  for (int i = 0; i < kRows; ++i)
    tokens[static_cast<size_t>(i)] = i % 32;
  setTokens(tokens);
  auto x = allocate(kRows * TINY_WIDTH * 4), logits = allocate(kRows * 32 * 4);
  std::vector<void *> embed{step_->address(), weight(0), x->address()};
  std::vector<void *> head{step_->address(), weight(1), x->address(), logits->address()};
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(device_->upload(*logits, 0, bytesOf(std::vector<float>(kRows * 32, -1.0F))).isOk());
    ASSERT_TRUE(device_->upload(*x, 0, bytesOf(std::vector<int32_t>(kRows * TINY_WIDTH))).isOk());
    ASSERT_TRUE(device_->launch(program_->kernel(0), embed, kRows).isOk());
    ASSERT_TRUE(device_->launch(program_->kernel(3), head, kRows * 2).isOk());
    auto values = readBack<float>(*logits, kRows * 32);
    for (int32_t row = 0; row < kRows; ++row) {
      int32_t next =
          plan::testing::tinyNextToken(std::span(&tokens[static_cast<size_t>(row)], 1), 32);
      for (int32_t v = 0; v < 32; ++v)
        ASSERT_EQ(values[static_cast<size_t>(row * 32 + v)], v == next ? 1.0F : 0.0F)
            << row << ' ' << v;
    }
  }
}

TEST_P(DeviceLaunch, NoUnitsDoNothingAndBadCallsAreRefused) {
  setTokens({5});
  auto x = allocate(64);
  std::vector<void *> operands{step_->address(), weight(0), x->address()};
  EXPECT_TRUE(device_->launch(program_->kernel(0), operands, 0).isOk());
  EXPECT_EQ(device_->launch(program_->kernel(0), operands, -1).code(),
            StatusCode::kInvalidArgument);
  operands.resize(66);
  EXPECT_EQ(device_->launch(program_->kernel(0), operands, 1).code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(readBack<int32_t>(*x, 16), testing::Each(0));
}

std::vector<DeviceCase> computingDevices() {
  std::vector<DeviceCase> all = devices();
  std::erase_if(all, [](const DeviceCase &device) { return !device.computes; });
  return all;
}

auto caseName = [](const auto &info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(All, DeviceConformance, testing::ValuesIn(devices()), caseName);
INSTANTIATE_TEST_SUITE_P(All, DeviceLaunch, testing::ValuesIn(devices()), caseName);
INSTANTIATE_TEST_SUITE_P(All, DeviceCompute, testing::ValuesIn(computingDevices()), caseName);

} // namespace
} // namespace platen::device
