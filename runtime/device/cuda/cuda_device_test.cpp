// What the device makes of a driver's answers, over the driver's double: none, old, full, refusing,
// lost; and which calls its own ones become.
#include "runtime/device/cuda/cuda_device.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/device/cuda/testing/driver_double.h"
#include "runtime/plan/testing/tiny_plan.h"

namespace platen::device::cuda {
namespace {

using base::StatusCode;
using plan::testing::TinyPlanOptions;
using ::testing::HasSubstr;

CudaDouble &controls(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(library, nullptr) << dlerror();
  auto access = reinterpret_cast<CudaDoubleAccess>(dlsym(library, "platenCudaDouble"));
  return *access();
}

class CudaDeviceTest : public testing::Test {
protected:
  CudaDeviceTest() { driver_.reset(); }
  ~CudaDeviceTest() override {
    device_ = nullptr;
    (void)controls(PLATEN_CUDA_DOUBLE); // heals it
    driver_.reset();
  }
  void open() {
    auto device = CudaDevice::open({.ordinal = 0, .driver = PLATEN_CUDA_DOUBLE});
    ASSERT_TRUE(device.isOk()) << device.status().toString();
    device_ = std::move(*device);
  }
  void fail(const char *function, uint64_t call, CUresult result, bool sticks = false) {
    driver_.fail_function = function;
    driver_.fail_call = call;
    driver_.fail_result = result;
    driver_.fail_sticks = sticks;
  }
  std::unique_ptr<Memory> allocate(uint64_t bytes) {
    auto memory = device_->allocate(bytes, "test");
    EXPECT_TRUE(memory.isOk()) << memory.status().toString();
    return std::move(*memory);
  }
  /// The tiny plan for CUDA, changed before it is written.
  static plan::Plan load(const std::function<void(plan::Manifest &)> &change = {}) {
    auto path = (std::filesystem::temp_directory_path() /
                 ("platen_cuda_device_" + std::to_string(getpid()) + ".plan"))
                    .string();
    auto writer = plan::PlanWriter::create(path);
    auto manifest = plan::testing::buildTinyPlan(
        *writer, {.targets = {}, .cuda_targets = {{"ptx", {"compute_80"}}}});
    EXPECT_TRUE(manifest.isOk());
    if (change)
      change(*manifest);
    auto written = writer->finish(*manifest);
    EXPECT_TRUE(written.isOk()) << written.toString();
    auto plan = plan::Plan::load(path);
    EXPECT_TRUE(plan.isOk()) << plan.status().toString();
    std::filesystem::remove(path);
    return std::move(*plan);
  }
  /// Loads the plan's code and binds one kernel to as many operands as `operands`, all the same
  /// memory.
  base::Status bind(const plan::Plan &plan, uint32_t kernel, size_t operands) {
    bound_ = nullptr; // dies before its program
    PLATEN_ASSIGN_OR_RETURN(program_, device_->loadCode(plan, 0));
    memory_ = allocate(4096);
    std::vector<Operand> table(operands, {memory_->address(), 4096});
    PLATEN_ASSIGN_OR_RETURN(bound_, device_->bind(program_->kernel(kernel), table));
    return {};
  }

  CudaDouble &driver_ = controls(PLATEN_CUDA_DOUBLE);
  std::unique_ptr<CudaDevice> device_;
  std::unique_ptr<Program> program_; // these three die before the device, in this order
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<BoundKernel> bound_;
  void TearDown() override {
    bound_ = nullptr;
    memory_ = nullptr;
    program_ = nullptr;
  }
};

TEST_F(CudaDeviceTest, WithoutADriverItSaysSo) {
  auto device = CudaDevice::open({.ordinal = 0, .driver = "/nowhere/libcuda.so.1"});
  EXPECT_EQ(device.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(device.status().toString(), HasSubstr("there is no CUDA driver"));
  EXPECT_THAT(device.status().toString(), HasSubstr("/nowhere/libcuda.so.1"));
  // A library that is no driver.
  auto other = CudaDevice::open({.ordinal = 0, .driver = "libm.so.6"});
  EXPECT_EQ(other.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(other.status().toString(), HasSubstr("the CUDA driver lacks cuInit"));
}

TEST_F(CudaDeviceTest, TheEnvironmentNamesTheDriver) {
  setenv("PLATEN_CUDA_DRIVER", PLATEN_CUDA_DOUBLE, 1);
  auto device = CudaDevice::open();
  unsetenv("PLATEN_CUDA_DRIVER");
  ASSERT_TRUE(device.isOk()) << device.status().toString();
  EXPECT_EQ((*device)->report().name, "Driver double");
}

TEST_F(CudaDeviceTest, WithoutADeviceItSaysSo) {
  driver_.devices = 0;
  auto none = CudaDevice::open({.ordinal = 0, .driver = PLATEN_CUDA_DOUBLE});
  EXPECT_EQ(none.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(none.status().toString(), HasSubstr("CUDA_ERROR_NO_DEVICE"));
  driver_.devices = 2;
  for (int ordinal : {-1, 2}) {
    auto beyond = CudaDevice::open({.ordinal = ordinal, .driver = PLATEN_CUDA_DOUBLE});
    EXPECT_EQ(beyond.status().code(), StatusCode::kNotFound);
    EXPECT_THAT(beyond.status().toString(), HasSubstr("the driver knows 2"));
  }
}

TEST_F(CudaDeviceTest, EveryFailureOfOpeningIsReportedAndLeavesNothing) {
  for (const char *function :
       {"cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute",
        "cuDeviceTotalMem", "cuDevicePrimaryCtxRetain", "cuStreamCreate", "cuMemHostAlloc",
        "cuEventCreate"}) {
    fail(function, 1, 304);
    auto device = CudaDevice::open({.ordinal = 0, .driver = PLATEN_CUDA_DOUBLE});
    EXPECT_EQ(device.status().code(), function == std::string_view("cuInit")
                                          ? StatusCode::kUnsupported
                                          : StatusCode::kInternal)
        << function;
    EXPECT_THAT(device.status().toString(), HasSubstr("CUDA error 304")) << function;
    EXPECT_EQ(driver_.live_contexts + driver_.live_streams + driver_.live_events +
                  driver_.live_pinned,
              0U)
        << function;
  }
}

TEST_F(CudaDeviceTest, GivesEverythingBack) {
  {
    open();
    plan::Plan plan = load();
    ASSERT_TRUE(bind(plan, 3, 4).isOk());
    Launch launch{
        .kernel = bound_.get(), .extents = {.tokens = 1, .rows = 1, .sequences = 1}, .units = 1};
    auto recording = device_->record(std::span(&launch, 1));
    ASSERT_TRUE(recording.isOk());
    auto weights = device_->placeWeights(plan);
    ASSERT_TRUE(weights.isOk());
    EXPECT_EQ(device_->report().weight_bytes, plan.weights().size());
  }
  TearDown();
  device_ = nullptr;
  EXPECT_EQ(driver_.live_contexts + driver_.live_streams + driver_.live_events +
                driver_.live_pinned + driver_.live_allocations + driver_.live_modules +
                driver_.live_graphs,
            0U);
}

TEST_F(CudaDeviceTest, DescribesTheDevice) {
  driver_.major = 10;
  driver_.minor = 3;
  driver_.total_bytes = size_t{80} << 30;
  open();
  EXPECT_EQ(device_->description(), "cuda:0, Driver double, compute capability 10.3, 80.0 GiB");
  EXPECT_EQ(device_->report().capability, 103U);
  EXPECT_EQ(device_->report().driver_version, "12.4");
  EXPECT_EQ(device_->freeBytes(), size_t{80} << 30);
}

TEST_F(CudaDeviceTest, RunningOutOfMemoryIsNoLoss) {
  driver_.total_bytes = 100 << 20;
  open();
  auto taken = allocate(60 << 20);
  auto refused = device_->allocate(50 << 20, "KV cache");
  ASSERT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().toString(),
            "RESOURCE_EXHAUSTED: KV cache: cannot get 52428800 bytes of device memory: 41943040 of "
            "104857600 are free on cuda:0");
  taken = nullptr;
  EXPECT_TRUE(device_->allocate(50 << 20, "KV cache").isOk());
  // Page-locked memory of the host, too.
  auto memory = allocate(1 << 20);
  fail("cuMemHostAlloc", 1, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(device_->read(*memory, 0, 1 << 20).status().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(device_->read(*memory, 0, 1 << 20).isOk());
}

TEST_F(CudaDeviceTest, AFaultLosesTheDeviceForGood) {
  for (const char *function : {"cuStreamSynchronize", "cuMemcpyDtoHAsync", "cuMemcpyHtoDAsync",
                               "cuLaunchKernel", "cuGraphLaunch"}) {
    (void)controls(PLATEN_CUDA_DOUBLE);
    open();
    plan::Plan plan = load();
    ASSERT_TRUE(bind(plan, 0, 3).isOk());
    std::vector<std::byte> zeros(4096);
    ASSERT_TRUE(device_->upload(*memory_, 0, zeros).isOk());
    Launch launch{.kernel = bound_.get(), .extents = {.tokens = 1}, .units = 1};
    auto recording = device_->record(std::span(&launch, 1));
    ASSERT_TRUE(recording.isOk());
    fail(function, 1, CUDA_ERROR_ILLEGAL_ADDRESS, true);
    std::vector<base::Status> outcomes;
    for (int round = 0; round < 2; ++round) {
      outcomes.push_back(device_->upload(*memory_, 0, zeros));
      outcomes.push_back(device_->launch(launch));
      outcomes.push_back(device_->replay(**recording));
      outcomes.push_back(device_->read(*memory_, 0, 8).status());
      outcomes.push_back(device_->synchronize());
    }
    auto lost = std::ranges::find_if(outcomes, [](const auto &status) { return !status.isOk(); });
    ASSERT_LT(lost - outcomes.begin(), 5) << function;
    for (auto status = lost; status != outcomes.end(); ++status) {
      EXPECT_EQ(status->code(), StatusCode::kDeviceLost) << function;
      EXPECT_THAT(status->toString(), HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS")) << function;
    }
    EXPECT_EQ(device_->allocate(8, "x").status().code(), StatusCode::kDeviceLost);
    EXPECT_EQ(device_->record({}).status().code(), StatusCode::kDeviceLost);
    recording = base::Status(base::internalError("gone"));
    TearDown();
    device_ = nullptr;
  }
}

TEST_F(CudaDeviceTest, OtherFailuresOfTheDriverDoNotStick) {
  open();
  auto memory = allocate(64);
  fail("cuMemcpyDtoHAsync", 1, 1);
  EXPECT_EQ(device_->read(*memory, 0, 8).status().code(), StatusCode::kInternal);
  EXPECT_TRUE(device_->read(*memory, 0, 8).isOk());
}

TEST_F(CudaDeviceTest, LargeUploadsGoThroughTheRingInOrder) {
  open();
  std::vector<std::byte> bytes((5 << 20) + 123);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i * 2654435761U >> 11);
  auto memory = allocate(bytes.size() + 1);
  uint64_t pinned = driver_.pinned_allocations;
  ASSERT_TRUE(device_->upload(*memory, 1, bytes).isOk());
  EXPECT_EQ(driver_.pinned_allocations, pinned) << "uploads allocate nothing";
  auto view = device_->read(*memory, 1, bytes.size());
  ASSERT_TRUE(view.isOk());
  EXPECT_EQ(std::memcmp(view->data(), bytes.data(), bytes.size()), 0);
}

TEST_F(CudaDeviceTest, ReservedReadsAllocateNothing) {
  open();
  auto memory = allocate(1 << 20);
  ASSERT_TRUE(device_->reserveReads(1 << 20).isOk());
  uint64_t pinned = driver_.pinned_allocations;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(device_->read(*memory, 0, 700'000).isOk());
    ASSERT_TRUE(device_->read(*memory, 0, 300'001).isOk());
    ASSERT_TRUE(device_->upload(*memory, 0, {}).isOk()); // the views end
  }
  EXPECT_EQ(driver_.pinned_allocations, pinned);
}

TEST_F(CudaDeviceTest, LaunchesPhasesWithGridsOfTheStep) {
  open();
  plan::Plan plan = load([](plan::Manifest &m) {
    plan::Phase &phase = m.programs[1].kernels[3].cuda->phases[1];
    phase.dynamic_shared_bytes = 100 << 10;
    phase.grid_y.times = 2;
    phase.cluster_y = 2;
  });
  ASSERT_TRUE(bind(plan, 3, 4).isOk());
  std::vector<std::byte> zeros(4096);
  ASSERT_TRUE(device_->upload(*memory_, 0, zeros).isOk());
  ASSERT_TRUE(device_
                  ->launch({.kernel = bound_.get(),
                            .extents = {.tokens = 0, .rows = 70, .sequences = 0},
                            .units = 1})
                  .isOk());
  ASSERT_EQ(driver_.launched.size(), 2U);
  const auto &first = driver_.launched[0], &second = driver_.launched[1];
  EXPECT_EQ(first.entry, "platen_tiny_next");
  EXPECT_EQ(first.parameters, 5U) << "the step, three operands, the workspace";
  EXPECT_THAT(first.grid, testing::ElementsAre(3U, 1U, 1U));
  EXPECT_EQ(first.threads, 32U);
  EXPECT_EQ(second.entry, "platen_tiny_logits");
  EXPECT_THAT(second.grid, testing::ElementsAre(70U, 2U, 1U));
  EXPECT_THAT(second.cluster, testing::ElementsAre(1U, 2U, 1U));
  EXPECT_EQ(second.shared_bytes, 100U << 10);
  // Nothing to do for a step without rows.
  ASSERT_TRUE(
      device_->launch({.kernel = bound_.get(), .extents = {.tokens = 5}, .units = 1}).isOk());
  EXPECT_EQ(driver_.launched.size(), 2U);
}

TEST_F(CudaDeviceTest, LoadsAnImageOnceAndOnlyWhenItIsNeeded) {
  open();
  plan::Plan plan = load();
  ASSERT_TRUE(bind(plan, 0, 3).isOk());
  EXPECT_EQ(driver_.modules, 1U) << "all kernels of the tiny plan share one";
  std::vector<Operand> operands(4, {memory_->address(), 4096});
  for (uint32_t kernel : {1U, 2U, 3U, 4U})
    EXPECT_TRUE(device_->bind(program_->kernel(kernel), operands).isOk());
  EXPECT_EQ(driver_.modules, 1U);
  auto other = device_->loadCode(plan, 0);
  ASSERT_TRUE(other.isOk());
  EXPECT_EQ(driver_.modules, 1U) << "nothing was bound";
}

TEST_F(CudaDeviceTest, WhatTheDriverSaysOfCodeReachesTheUser) {
  open();
  plan::Plan plan = load();
  driver_.jit_log = "ptxas fatal: line 7, unexpected instruction\n";
  fail("cuModuleLoadDataEx", 1, CUDA_ERROR_INVALID_PTX);
  base::Status refused = bind(plan, 0, 3);
  EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
  EXPECT_THAT(refused.toString(),
              HasSubstr("code for compute_80 on a device of compute capability 8.0 failed: "
                        "CUDA_ERROR_INVALID_PTX (as the test asked): ptxas fatal: line 7, "
                        "unexpected instruction"));
  fail("cuModuleLoadDataEx", 1, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(bind(plan, 0, 3).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(bind(plan, 0, 3).isOk()) << "a later try can work";
}

TEST_F(CudaDeviceTest, RefusesCodeThatDoesNotFitItsDescription) {
  open();
  plan::Plan missing =
      load([](plan::Manifest &m) { m.programs[1].kernels[0].cuda->phases[0].entry = "absent"; });
  base::Status status = bind(missing, 0, 3);
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_THAT(status.toString(), HasSubstr("absent: cuda:0: looking the entry up failed"));
  plan::Plan wide =
      load([](plan::Manifest &m) { m.programs[1].kernels[0].cuda->phases[0].threads = 1024; });
  EXPECT_THAT(bind(wide, 0, 3).toString(),
              HasSubstr("blocks of 1024 threads, but its code allows 512"));
  plan::Plan open_ended =
      load([](plan::Manifest &m) { m.targets[0].entry_bytes[0] -= 1; }); // without its NUL
  status = bind(open_ended, 0, 3);
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_THAT(status.toString(), HasSubstr("as PTX it must end with a NUL"));
}

TEST_F(CudaDeviceTest, EncodesTensorMapsOverOperandsAndTheWorkspace) {
  using plan::TensorElement;
  using plan::TensorMap;
  using plan::TensorSwizzle;
  open();
  plan::Plan plan = load([](plan::Manifest &m) {
    m.programs[1].kernels[1].cuda->tensor_maps = {
        {2, 32, TensorElement::kF32, TensorSwizzle::k32B, {{4, 4, 4}, {2, 16, 2}, {0, 128, 1}}}};
    m.programs[1].kernels[3].cuda->tensor_maps = {
        {TensorMap::kWorkspace, 64, TensorElement::kBF16, TensorSwizzle::k128B, {{0, 2, 64}}}};
  });
  ASSERT_TRUE(bind(plan, 1, 4).isOk());
  ASSERT_EQ(driver_.maps.size(), 1U);
  CudaDouble::EncodedMap map = driver_.maps[0];
  EXPECT_EQ(map.type, CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
  EXPECT_EQ(map.address, memory_->at(32)) << "operand 2 of the launch";
  EXPECT_THAT(map.sizes, testing::ElementsAre(4U, 2U, 32U)) << "4096 bytes hold 32 pages";
  EXPECT_THAT(map.strides, testing::ElementsAre(16U, 128U));
  EXPECT_THAT(map.box, testing::ElementsAre(4U, 2U, 1U));
  EXPECT_EQ(map.swizzle, 1);
  ASSERT_TRUE(bind(plan, 3, 4).isOk());
  ASSERT_EQ(driver_.maps.size(), 2U);
  EXPECT_EQ(driver_.maps[1].type, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
  EXPECT_THAT(driver_.maps[1].sizes, testing::ElementsAre((4096U * 4 - 64) / 2));
  EXPECT_EQ(driver_.maps[1].swizzle, 3);
  // An operand that the caller forgot.
  EXPECT_EQ(bind(plan, 1, 3).code(), StatusCode::kInvalidArgument);
}

TEST_F(CudaDeviceTest, TensorMapsOfKernelsThatAreGoneMakeRoomForOthers) {
  using plan::TensorElement;
  open();
  plan::Plan plan = load([](plan::Manifest &m) {
    m.programs[1].kernels[1].cuda->tensor_maps = {
        {1, 0, TensorElement::kF32, plan::TensorSwizzle::k32B, {{4, 4, 4}, {2, 16, 2}}},
        {2, 32, TensorElement::kF32, plan::TensorSwizzle::k32B, {{4, 4, 4}, {2, 16, 2}}}};
  });
  ASSERT_TRUE(bind(plan, 1, 4).isOk());
  uint64_t allocations = driver_.allocations;
  std::vector<Operand> table(4, {memory_->address(), 4096});
  for (int i = 0; i < 1000; ++i) { // there is room for 512 maps
    auto again = device_->bind(program_->kernel(1), table);
    ASSERT_TRUE(again.isOk()) << again.status().toString();
    bound_ = std::move(*again);
    // What fails on the way gives its maps back too.
    table.pop_back();
    EXPECT_EQ(device_->bind(program_->kernel(1), table).status().code(),
              StatusCode::kInvalidArgument);
    table.push_back(table.back());
  }
  EXPECT_EQ(driver_.allocations, allocations);
  std::vector<std::unique_ptr<BoundKernel>> alive;
  for (int i = 0; i < 300; ++i)
    alive.push_back(std::move(*device_->bind(program_->kernel(1), table)));
  EXPECT_EQ(driver_.allocations, allocations + 1) << "600 at once need more";
}

TEST_F(CudaDeviceTest, AnOldDriverRefusesClustersAndTensorMapsByName) {
  CudaDouble &old = controls(PLATEN_CUDA_OLD_DOUBLE);
  old.reset();
  auto device = CudaDevice::open({.ordinal = 0, .driver = PLATEN_CUDA_OLD_DOUBLE});
  ASSERT_TRUE(device.isOk()) << device.status().toString();
  device_ = std::move(*device);
  EXPECT_TRUE(bind(load(), 0, 3).isOk()) << "everything else works";
  TearDown();
  plan::Plan clusters = load([](plan::Manifest &m) {
    plan::Phase &phase = m.programs[1].kernels[0].cuda->phases[0];
    phase.grid_x.times = phase.cluster_x = 2;
  });
  EXPECT_THAT(bind(clusters, 0, 3).toString(), HasSubstr("it runs in clusters"));
  TearDown();
  plan::Plan maps = load([](plan::Manifest &m) {
    m.programs[1].kernels[0].cuda->tensor_maps = {
        {0, 0, plan::TensorElement::kU32, plan::TensorSwizzle::kNone, {{4, 4, 4}, {32, 16, 8}}}};
  });
  EXPECT_THAT(bind(maps, 0, 3).toString(),
              HasSubstr("needs tensor maps, which the driver of CUDA 12.4 does not know"));
}

TEST_F(CudaDeviceTest, AFailureWhileRecordingLeavesTheStreamUsable) {
  open();
  plan::Plan plan = load();
  ASSERT_TRUE(bind(plan, 0, 3).isOk());
  Launch launch{.kernel = bound_.get(), .extents = {.tokens = 1}, .units = 1};
  std::vector<Launch> launches(3, launch);
  for (const char *function :
       {"cuStreamBeginCapture", "cuLaunchKernel", "cuStreamEndCapture", "cuGraphInstantiate"}) {
    fail(function, 1, CUDA_ERROR_OUT_OF_MEMORY);
    auto recording = device_->record(launches);
    EXPECT_EQ(recording.status().code(), StatusCode::kResourceExhausted) << function;
    EXPECT_TRUE(device_->synchronize().isOk()) << function << ": still recording";
  }
  EXPECT_EQ(driver_.live_graphs, 0U);
  auto recording = device_->record(launches);
  ASSERT_TRUE(recording.isOk()) << recording.status().toString();
  EXPECT_TRUE(driver_.launched.empty());
}

} // namespace
} // namespace platen::device::cuda
