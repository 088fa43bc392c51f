// What device.h promises, checked on every device through the tiny plan's real kernels. A new
// device adds a row to devices(). Exceptions, as their headers say: null computes nothing; fault
// behaves as what it wraps until told to fail.
//
// CUDA stands there twice: over the driver's double, always; and over the driver that
// PLATEN_CUDA_DRIVER names or the system has, be it a GPU's or a simulator's, if that knows a
// device.
#include <cstring>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/device/cuda/cuda_device.h"
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
  std::function<std::unique_ptr<Device>()> make; // null: the device is not there
  bool computes;
  const char *kind;             // of its programs; "": any
  const char *feature = "sse2"; // that a target for it may ask for
};

void PrintTo(const DeviceCase &device, std::ostream *out) { *out << device.name; }

std::unique_ptr<Device> openCuda(const std::string &driver) {
  auto device = CudaDevice::open({.ordinal = 0, .driver = driver});
  return device.isOk() ? std::move(*device) : nullptr;
}

std::vector<DeviceCase> devices() {
  using plan::kCudaDevice;
  using plan::kHostDevice;
  return {
      {"HostOneThread", [] { return makeHost(1, WeightPages::kMapped); }, true, kHostDevice},
      {"HostThreeThreads", [] { return makeHost(3, WeightPages::kHuge); }, true, kHostDevice},
      {"Null", [] { return std::make_unique<NullDevice>(); }, false, ""},
      {"NullThatRecords", [] { return std::make_unique<NullDevice>(true); }, false, ""},
      {"FaultOverHost",
       [] { return std::make_unique<FaultDevice>(makeHost(2, WeightPages::kAuto)); }, true,
       kHostDevice},
      {"CudaDouble", [] { return openCuda(PLATEN_CUDA_DOUBLE); }, true, kCudaDevice, "compute_80"},
      {"FaultOverCudaDouble",
       [] { return std::make_unique<FaultDevice>(openCuda(PLATEN_CUDA_DOUBLE)); }, true,
       kCudaDevice, "compute_80"},
      {"CudaDriver", [] { return openCuda(""); }, true, kCudaDevice, "compute_80"},
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
  void SetUp() override {
    if (device_ == nullptr)
      GTEST_SKIP() << "no CUDA driver with a device: set PLATEN_CUDA_DRIVER to a simulator's "
                      "libcuda.so.1, or run where there is a GPU";
  }
  /// The tiny plan with targets of the device's own kind.
  plan::Plan loadFor(std::vector<plan::testing::TinyTarget> targets) {
    bool cuda = std::string_view(GetParam().kind) == plan::kCudaDevice;
    return cuda ? loadTiny({.targets = {}, .cuda_targets = std::move(targets)})
                : loadTiny({.targets = std::move(targets)});
  }
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
  plan::Plan plan = loadTiny(
      {.cuda_targets = {{"ptx", {"compute_80"}}}, .extra_weight_bytes = uint64_t{70} << 20});
  auto weights = device_->placeWeights(plan);
  ASSERT_TRUE(weights.isOk()) << weights.status().toString();
  auto bytes = device_->read(**weights, 0, plan.weights().size());
  ASSERT_TRUE(bytes.isOk());
  EXPECT_EQ(std::memcmp(bytes->data(), plan.weights().data(), plan.weights().size()), 0);
}

TEST_P(DeviceConformance, TakesTheFirstTargetThatItCanRun) {
  std::string feature = GetParam().feature;
  bool cuda = std::string_view(GetParam().kind) == plan::kCudaDevice;
  std::vector<std::string> never =
      cuda ? std::vector<std::string>{"sm_53a"} : std::vector<std::string>{feature, "platen-never"};
  plan::Plan plan = loadFor({{"future", never}, {"second", {feature}}, {"third", {feature}}});
  auto target = device_->chooseTarget(plan);
  ASSERT_TRUE(target.isOk()) << target.status().toString();
  auto program = device_->loadCode(plan, *target);
  ASSERT_TRUE(program.isOk()) << program.status().toString();
  EXPECT_EQ((*program)->target(), GetParam().kind[0] != 0 ? "second" : "future");
  const auto &route = plan.manifest().programs[plan.manifest().targets[*target].program];
  EXPECT_EQ((*program)->kernel(3).scratch_bytes, route.kernels[3].scratch_bytes);
}

TEST_P(DeviceConformance, PassesOverTargetsForOtherDevices) {
  plan::Plan plan =
      loadTiny({.targets = {{"for the host", {}}}, .cuda_targets = {{"for CUDA", {"compute_80"}}}});
  auto target = device_->chooseTarget(plan);
  ASSERT_TRUE(target.isOk()) << target.status().toString();
  const plan::Manifest &manifest = plan.manifest();
  if (GetParam().kind[0] != 0) {
    EXPECT_EQ(manifest.programs[manifest.targets[*target].program].device, GetParam().kind);
  }
}

TEST_P(DeviceConformance, RefusesAPlanWithoutCodeForIt) {
  auto none = device_->chooseTarget(loadTiny({.targets = {}}));
  EXPECT_EQ(none.status().code(), StatusCode::kUnsupported);
  std::string_view kind = GetParam().kind;
  if (kind == plan::kHostDevice) {
    auto other =
        device_->chooseTarget(loadTiny({.targets = {{"x86-64-future", {"platen-never", "sse2"}},
                                                    {"x86-64-far", {"platen-x", "platen-y"}}},
                                        .cuda_targets = {{"sm_80", {"sm_80"}}}}));
    EXPECT_EQ(other.status().code(), StatusCode::kUnsupported);
    EXPECT_THAT(other.status().toString(),
                testing::HasSubstr("no code for this CPU: x86-64-future needs platen-never; "
                                   "x86-64-far needs platen-x, platen-y; sm_80 needs a device of "
                                   "kind cuda"));
  } else if (kind == plan::kCudaDevice) {
    auto other = device_->chooseTarget(
        loadTiny({.cuda_targets = {{"old", {"sm_53"}}, {"exact", {"compute_53a"}}}}));
    EXPECT_EQ(other.status().code(), StatusCode::kUnsupported);
    EXPECT_THAT(other.status().toString(),
                testing::HasSubstr("x86-64 needs a device of kind host; old needs compute "
                                   "capability 5.3 or later 5.x; exact needs compute capability "
                                   "5.3 exactly"));
  }
}

/// Weights, program and a step on the device.
class DeviceLaunch : public DeviceConformance {
protected:
  void SetUp() override {
    DeviceConformance::SetUp();
    if (device_ == nullptr)
      return;
    auto target = device_->chooseTarget(plan_);
    ASSERT_TRUE(target.isOk()) << target.status().toString();
    auto weights = device_->placeWeights(plan_);
    auto program = device_->loadCode(plan_, *target);
    ASSERT_TRUE(weights.isOk() && program.isOk());
    weights_ = std::move(*weights);
    program_ = std::move(*program);
    step_ = allocate(sizeof(PlatenStep));
  }
  /// A step of these tokens, each of which is a row.
  void setTokens(const std::vector<int32_t> &tokens) {
    tokens_ = uploaded(bytesOf(tokens));
    std::vector<PlatenStep> step(1);
    extents_ = {.tokens = static_cast<int64_t>(tokens.size()),
                .rows = static_cast<int64_t>(tokens.size()),
                .sequences = 1};
    step[0].tokens = extents_.tokens;
    step[0].rows = extents_.rows;
    step[0].sequences = extents_.sequences;
    step[0].token_ids = static_cast<const int32_t *>(tokens_->address());
    ASSERT_TRUE(device_->upload(*step_, 0, bytesOf(step)).isOk());
  }
  Operand weight(size_t index) {
    const plan::Weight &weight = plan_.manifest().weights[index];
    return {weights_->at(weight.offset), weight.bytes};
  }
  static Operand all(const Memory &memory) { return {memory.address(), memory.bytes()}; }
  std::unique_ptr<BoundKernel> bind(uint32_t kernel, std::vector<Operand> operands) {
    operands.insert(operands.begin(), all(*step_));
    auto bound = device_->bind(program_->kernel(kernel), operands);
    EXPECT_TRUE(bound.isOk()) << bound.status().toString();
    return bound.isOk() ? std::move(*bound) : nullptr;
  }
  base::Status launch(const BoundKernel &kernel, int64_t units) {
    return device_->launch({.kernel = &kernel, .extents = extents_, .units = units});
  }

  plan::Plan plan_ = loadTiny({.cuda_targets = {{"ptx", {"compute_80"}}}});
  std::unique_ptr<Memory> weights_, tokens_, step_;
  std::unique_ptr<Program> program_;
  plan::Extents extents_;
};

std::vector<int32_t> someTokens(size_t count) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(i * 7 % 32));
  return tokens;
}

TEST_P(DeviceLaunch, RunsEveryUnitOnce) {
  for (size_t count : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1000}}) {
    std::vector<int32_t> tokens = someTokens(count);
    setTokens(tokens);
    auto x = allocate(count * TINY_WIDTH * 4 + 64);
    auto embed = bind(0, {weight(0), all(*x)});
    ASSERT_TRUE(launch(*embed, static_cast<int64_t>(count)).isOk());
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

class DeviceCompute : public DeviceLaunch {
protected:
  /// logits [rows, 32] of a step whose rows are the first `rows` of `tokens`.
  void expectLogits(const Memory &logits, const std::vector<int32_t> &tokens, size_t rows) {
    auto values = readBack<float>(logits, tokens.size() * 32);
    for (size_t row = 0; row < tokens.size(); ++row) {
      int32_t next = plan::testing::tinyNextToken(std::span(&tokens[row], 1), 32);
      for (int32_t v = 0; v < 32; ++v) {
        float expected = row >= rows ? -1.0F : v == next ? 1.0F : 0.0F;
        ASSERT_EQ(values[row * 32 + static_cast<size_t>(v)], expected) << row << ' ' << v;
      }
    }
  }
};

TEST_P(DeviceCompute, LaunchesRunInOrderAndGetScratch) {
  // embed -> head: the head reads what embed wrote; its kernel needs scratch.
  constexpr int64_t kRows = 500;
  std::vector<int32_t> tokens = someTokens(kRows);
  setTokens(tokens);
  auto x = allocate(kRows * TINY_WIDTH * 4), logits = allocate(kRows * 32 * 4);
  auto embed = bind(0, {weight(0), all(*x)});
  auto head = bind(3, {weight(1), all(*x), all(*logits)});
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(device_->upload(*logits, 0, bytesOf(std::vector<float>(kRows * 32, -1.0F))).isOk());
    ASSERT_TRUE(device_->upload(*x, 0, bytesOf(std::vector<int32_t>(kRows * TINY_WIDTH))).isOk());
    ASSERT_TRUE(launch(*embed, kRows).isOk());
    ASSERT_TRUE(launch(*head, kRows * 2).isOk());
    ASSERT_NO_FATAL_FAILURE(expectLogits(*logits, tokens, kRows));
  }
}

TEST_P(DeviceCompute, RecordingsServeEveryStepUpToTheirSize) {
  if (!device_->recordsLaunches()) {
    EXPECT_EQ(device_->record({}).status().code(), StatusCode::kUnsupported);
    return;
  }
  constexpr size_t kMost = 64;
  std::vector<int32_t> tokens = someTokens(kMost);
  setTokens(tokens);
  auto x = allocate(kMost * TINY_WIDTH * 4), logits = allocate(kMost * 32 * 4);
  auto embed = bind(0, {weight(0), all(*x)});
  auto head = bind(3, {weight(1), all(*x), all(*logits)});
  ASSERT_TRUE(device_->upload(*logits, 0, bytesOf(std::vector<float>(kMost * 32, -1.0F))).isOk());
  std::vector<Launch> launches{{.kernel = embed.get(), .extents = extents_, .units = kMost},
                               {.kernel = head.get(), .extents = extents_, .units = 2 * kMost}};
  auto recording = device_->record(launches);
  ASSERT_TRUE(recording.isOk()) << recording.status().toString();
  EXPECT_THAT(readBack<float>(*logits, kMost * 32), testing::Each(-1.0F)) << "recorded, not run";
  for (size_t rows : {kMost, size_t{1}, size_t{63}, size_t{0}}) {
    setTokens(someTokens(rows == 0 ? 1 : rows));
    if (rows == 0) {
      ASSERT_TRUE(device_->upload(*step_, 0, bytesOf(std::vector<PlatenStep>(1))).isOk());
    }
    ASSERT_TRUE(device_->upload(*logits, 0, bytesOf(std::vector<float>(kMost * 32, -1.0F))).isOk());
    ASSERT_TRUE(device_->replay(**recording).isOk());
    ASSERT_NO_FATAL_FAILURE(expectLogits(*logits, tokens, rows));
  }
}

TEST_P(DeviceCompute, ViewsLastUntilTheNextLaunchOrUpload) {
  auto first = uploaded(bytesOf(someTokens(1000))), second = allocate(1 << 20);
  ASSERT_TRUE(device_->reserveReads(64).isOk());
  std::vector<std::span<const std::byte>> views;
  for (int i = 0; i < 20; ++i) {
    auto view = device_->read(i % 2 == 0 ? *first : *second, 0, 4000);
    ASSERT_TRUE(view.isOk());
    views.push_back(*view);
  }
  std::vector<int32_t> tokens = someTokens(1000), zeros(1000);
  for (size_t i = 0; i < views.size(); ++i)
    ASSERT_EQ(std::memcmp(views[i].data(), i % 2 == 0 ? tokens.data() : zeros.data(), 4000), 0);
}

TEST_P(DeviceLaunch, NoUnitsDoNothingAndBadCallsAreRefused) {
  setTokens({5});
  auto x = allocate(64);
  std::vector<Operand> operands{all(*step_), weight(0), all(*x)};
  auto embed = device_->bind(program_->kernel(0), operands);
  ASSERT_TRUE(embed.isOk());
  EXPECT_TRUE(launch(**embed, 0).isOk());
  EXPECT_EQ(launch(**embed, -1).code(), StatusCode::kInvalidArgument);
  operands.resize(66);
  EXPECT_EQ(device_->bind(program_->kernel(0), operands).status().code(),
            StatusCode::kInvalidArgument);
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
