// Runs of the tiny graph on every device: shapes that change from run to run, what does not fit,
// and every failure of the device. The outputs depend on symbols, weights, a temporary and both
// inputs, so wrong places, sizes or steps show up as wrong numbers.
#include "runtime/exec/graph_executor.h"

#include <cstring>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

#include "runtime/device/cuda/cuda_device.h"
#include "runtime/device/fault/fault_device.h"
#include "runtime/device/host/host_device.h"
#include "runtime/device/null/null_device.h"
#include "runtime/exec/graph_shapes.h"
#include "runtime/plan/testing/tiny_graph.h"

namespace platen::exec {
namespace {

using base::Size;
using base::StatusCode;
using device::FaultKind;
using ::testing::HasSubstr;

plan::Plan loadTinyGraph(const std::function<void(plan::Manifest &)> &change =
                             [](plan::Manifest &) {}) {
  auto path = std::filesystem::temp_directory_path() /
              ("platen_exec_graph_" + std::to_string(getpid()) + ".plan");
  auto writer = plan::PlanWriter::create(path);
  EXPECT_TRUE(writer.isOk());
  auto manifest =
      plan::testing::buildTinyGraph(*writer, {.cuda_targets = {{"ptx", {"compute_80"}}}});
  EXPECT_TRUE(manifest.isOk()) << manifest.status().toString();
  change(*manifest);
  auto status = writer->finish(std::move(*manifest));
  EXPECT_TRUE(status.isOk()) << status.toString();
  auto plan = plan::Plan::load(path);
  EXPECT_TRUE(plan.isOk()) << plan.status().toString();
  std::filesystem::remove(path); // the mapping keeps it
  return std::move(*plan);
}

std::unique_ptr<GraphExecutor> makeExecutor(const plan::Plan &plan, device::Device &device,
                                            bool record = true) {
  auto executor = GraphExecutor::create(plan, device, {.record = record});
  EXPECT_TRUE(executor.isOk()) << executor.status().toString();
  return std::move(*executor);
}

/// Inputs a [n, 4] and b [m, 4] of numbers that nobody would guess.
struct Arrays {
  Arrays(int64_t n, int64_t m, uint32_t seed = 1) : dims{{{n, 4}, {m, 4}}} {
    std::mt19937 random(seed);
    for (int64_t i = 0; i < n * 4; ++i)
      a.push_back(static_cast<int32_t>(random()));
    for (int64_t i = 0; i < m * 4; ++i)
      b.push_back(static_cast<int32_t>(random()));
  }
  std::vector<GraphInput> inputs() const {
    return {{dims[0], std::as_bytes(std::span(a))}, {dims[1], std::as_bytes(std::span(b))}};
  }
  std::vector<std::vector<int64_t>> dims;
  std::vector<int32_t> a, b;
};

std::vector<int32_t> numbers(std::span<const std::byte> bytes) {
  std::vector<int32_t> values(bytes.size() / sizeof(int32_t));
  if (!values.empty())
    std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void expectRight(GraphExecutor &executor, const Arrays &run) {
  auto outputs = executor.run(run.inputs());
  ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
  ASSERT_EQ(outputs->size(), 2U);
  auto due = plan::testing::tinyGraph(run.a, run.b);
  int64_t n = run.dims[0][0], m = run.dims[1][0];
  EXPECT_THAT((*outputs)[0].dims, testing::ElementsAre(n));
  EXPECT_THAT((*outputs)[1].dims, testing::ElementsAre(n, m));
  EXPECT_EQ(numbers((*outputs)[0].bytes), due.total) << n << " x " << m;
  EXPECT_EQ(numbers((*outputs)[1].bytes), due.sums) << n << " x " << m;
}

struct Case {
  const char *name;
  std::function<std::unique_ptr<device::Device>()> make; // null if there is no such device
  const char *target;
  bool record = true;
};
void PrintTo(const Case &item, std::ostream *out) { *out << item.name; }

class GraphDevices : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    device_ = GetParam().make();
    if (device_ == nullptr)
      GTEST_SKIP() << "no CUDA driver with a device";
  }
  plan::Plan plan_ = loadTinyGraph();
  std::unique_ptr<device::Device> device_;
};

TEST_P(GraphDevices, ShapesChangeFromRunToRun) {
  auto executor = makeExecutor(plan_, *device_, GetParam().record);
  EXPECT_EQ(executor->target(), GetParam().target);
  uint32_t seed = 0;
  // Grows, shrinks, stays, is empty, swaps places.
  for (auto [n, m] : std::vector<std::pair<int64_t, int64_t>>{{1, 1},
                                                              {3, 2},
                                                              {3, 2},
                                                              {3, 2},
                                                              {40, 9},
                                                              {40, 9},
                                                              {2, 3},
                                                              {2, 0},
                                                              {2, 0},
                                                              {3, 2},
                                                              {100, 31}})
    ASSERT_NO_FATAL_FAILURE(expectRight(*executor, Arrays(n, m, ++seed)));
}

TEST_P(GraphDevices, ARefusedRunLeavesTheNextOneRight) {
  auto executor = makeExecutor(plan_, *device_, GetParam().record);
  Arrays good(5, 4);
  ASSERT_NO_FATAL_FAILURE(expectRight(*executor, good));
  Arrays bad(5, 4);
  bad.dims[1] = {4, 5};
  EXPECT_EQ(executor->run(bad.inputs()).status().code(), StatusCode::kInvalidArgument);
  ASSERT_NO_FATAL_FAILURE(expectRight(*executor, good));
}

std::unique_ptr<device::Device> makeHost(unsigned threads) {
  return std::move(*device::HostDevice::create({.threads = threads}));
}
std::unique_ptr<device::Device> openCuda(const std::string &driver) {
  auto device = device::CudaDevice::open({.ordinal = 0, .driver = driver});
  return device.isOk() ? std::move(*device) : nullptr;
}

INSTANTIATE_TEST_SUITE_P(
    All, GraphDevices,
    testing::Values(Case{"HostOneThread", [] { return makeHost(1); }, "x86-64"},
                    Case{"HostThreeThreads", [] { return makeHost(3); }, "x86-64"},
                    Case{"Fault",
                         [] {
                           return std::unique_ptr<device::Device>(
                               std::make_unique<device::FaultDevice>(makeHost(2)));
                         },
                         "x86-64"},
                    Case{"CudaDouble", [] { return openCuda(PLATEN_CUDA_DOUBLE); }, "ptx", false},
                    Case{"CudaDoubleReplayed", [] { return openCuda(PLATEN_CUDA_DOUBLE); }, "ptx"},
                    Case{"CudaDriver", [] { return openCuda(""); }, "ptx", false},
                    Case{"CudaDriverReplayed", [] { return openCuda(""); }, "ptx"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(GraphExecutor, RunsOfEqualShapesOnlyCopyAndLaunch) {
  plan::Plan plan = loadTinyGraph();
  device::NullDevice device;
  auto executor = makeExecutor(plan, device);
  EXPECT_EQ(device.counts().allocations, 1U) << "the steps; the arena waits for a shape";
  ASSERT_TRUE(executor->run(Arrays(3, 5).inputs()).isOk());
  EXPECT_EQ(device.counts().allocations, 2U);
  EXPECT_EQ(device.counts().binds, 2U);
  // a, b, products, total, sums: padded to 64 bytes, and 64 behind each.
  EXPECT_EQ(executor->arenaBytes(), 128U + (128 + 64) + (256 + 64) + 128 + 128);
  EXPECT_EQ(executor->heldBytes(), executor->arenaBytes());
  device.resetCounts();
  ASSERT_TRUE(executor->run(Arrays(3, 5, 2).inputs()).isOk());
  EXPECT_EQ(device.counts().allocations + device.counts().binds, 0U);
  EXPECT_EQ(device.counts().uploads, 2U) << "each input, no steps";
  EXPECT_EQ(device.counts().launches, 2U);
  EXPECT_EQ(device.counts().units, 15U + 3U);
  EXPECT_EQ(device.counts().reads, 1U) << "both outputs at once";
}

TEST(GraphExecutor, TheArenaGrowsWithSpareRoomAndNeverShrinks) {
  plan::Plan plan = loadTinyGraph();
  device::NullDevice device;
  auto executor = makeExecutor(plan, device);
  ASSERT_TRUE(executor->run(Arrays(100, 10).inputs()).isOk());
  uint64_t first = executor->heldBytes();
  ASSERT_TRUE(executor->run(Arrays(2, 2).inputs()).isOk());
  EXPECT_LT(executor->arenaBytes(), first);
  EXPECT_EQ(executor->heldBytes(), first);
  ASSERT_TRUE(executor->run(Arrays(110, 10).inputs()).isOk());
  EXPECT_EQ(executor->heldBytes(), executor->arenaBytes() + executor->arenaBytes() / 4);
  device.resetCounts();
  ASSERT_TRUE(executor->run(Arrays(120, 10).inputs()).isOk());
  EXPECT_EQ(device.counts().allocations, 0U) << "there was room";
  EXPECT_EQ(device.counts().binds, 2U);
}

TEST(GraphExecutor, LaunchesWithoutPointsAreSkipped) {
  plan::Plan plan = loadTinyGraph();
  device::NullDevice device;
  auto executor = makeExecutor(plan, device);
  ASSERT_TRUE(executor->run(Arrays(7, 0).inputs()).isOk());
  EXPECT_EQ(device.counts().binds, 1U);
  EXPECT_EQ(device.counts().launches, 1U);
  EXPECT_EQ(device.counts().units, 7U);
}

TEST(GraphExecutor, RecordsAShapeThatComesAgain) {
  plan::Plan plan = loadTinyGraph();
  device::NullDevice device(true);
  auto executor = makeExecutor(plan, device);
  auto run = [&](int64_t n, int64_t m) {
    device.resetCounts();
    EXPECT_TRUE(executor->run(Arrays(n, m).inputs()).isOk());
    return std::tuple(device.counts().recordings, device.counts().replays, device.counts().units);
  };
  using Counts = std::tuple<uint64_t, uint64_t, uint64_t>;
  EXPECT_EQ(run(4, 2), Counts(0, 0, 8 + 4));
  EXPECT_EQ(run(4, 2), Counts(1, 1, 8 + 4));
  EXPECT_EQ(run(4, 2), Counts(0, 1, 8 + 4));
  EXPECT_EQ(run(4, 0), Counts(0, 0, 4));
  EXPECT_EQ(run(4, 0), Counts(1, 1, 4));
  executor->setProfiling(true);
  EXPECT_EQ(run(4, 0), Counts(0, 0, 4)) << "launches are timed one by one";
  auto plain = makeExecutor(plan, device, false);
  executor.swap(plain);
  EXPECT_EQ(run(4, 2), Counts(0, 0, 12));
  EXPECT_EQ(run(4, 2), Counts(0, 0, 12)) << "not asked to";
}

TEST(GraphExecutor, WhatCannotBeRecordedIsLaunched) {
  plan::Plan plan = loadTinyGraph();
  auto null = std::make_unique<device::NullDevice>(true);
  device::NullDevice &counter = *null;
  device::FaultDevice device(std::move(null));
  auto executor = makeExecutor(plan, device);
  device.failAt(FaultKind::kRecord, 1);
  for (int round = 0; round < 3; ++round) {
    counter.resetCounts();
    ASSERT_TRUE(executor->run(Arrays(4, 2).inputs()).isOk());
    EXPECT_EQ(counter.counts().launches, 2U);
    EXPECT_EQ(counter.counts().replays + counter.counts().recordings, 0U) << "nor tried again";
  }
}

TEST(GraphExecutor, ProfilesEachLaunch) {
  plan::Plan plan = loadTinyGraph();
  auto device = makeHost(2);
  auto executor = makeExecutor(plan, *device);
  executor->setProfiling(true);
  for (int i = 0; i < 3; ++i)
    ASSERT_NO_FATAL_FAILURE(expectRight(*executor, Arrays(20, 4)));
  ASSERT_EQ(executor->profile().size(), 2U);
  EXPECT_EQ(executor->profile()[0].launch, "outer");
  EXPECT_EQ(executor->profile()[1].kernel, "total_i32__test_v1");
  EXPECT_EQ(executor->profile()[1].calls, 3U);
  EXPECT_GT(executor->profile()[1].total_ns, 0U);
  executor->setProfiling(false);
  ASSERT_NO_FATAL_FAILURE(expectRight(*executor, Arrays(20, 4)));
  EXPECT_EQ(executor->profile()[0].calls, 0U) << "cleared";
}

struct BadRun {
  const char *name;
  std::function<void(Arrays &)> apply;
  const char *message;
};
void PrintTo(const BadRun &run, std::ostream *out) { *out << run.name; }

class GraphBadRun : public testing::TestWithParam<BadRun> {};

TEST_P(GraphBadRun, IsRefusedBeforeAnythingHappens) {
  // b's second dimension and a's, which is 4, are as in the tiny graph; b begins with n + 1 here.
  plan::Plan plan = loadTinyGraph([](plan::Manifest &manifest) {
    Size n = Size::symbol(0), m = Size::symbol(1);
    manifest.graph->inputs[0].dims = {n, 2, 2};
    manifest.graph->inputs.push_back(
        {.name = "c", .dtype = base::DType::kU8, .dims = {n + m + Size(1), n}, .buffer = 5});
    for (plan::DeviceProgram &program : manifest.programs)
      program.buffers.push_back({.name = "c", .bytes = (n + m + Size(1)) * n, .slot = 5});
  });
  device::NullDevice device;
  auto executor = makeExecutor(plan, device);
  Arrays run(3, 4);
  run.dims[0] = {3, 2, 2};
  run.dims.push_back({8, 3});
  std::vector<std::byte> c(24);
  auto inputs = [&] {
    auto list = run.inputs();
    list.push_back({run.dims[2], c});
    return list;
  };
  auto right = executor->run(inputs());
  ASSERT_TRUE(right.isOk()) << right.status().toString();
  device.resetCounts();
  GetParam().apply(run);
  auto outputs = executor->run(inputs());
  ASSERT_EQ(outputs.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(outputs.status().toString(), HasSubstr(GetParam().message));
  EXPECT_EQ(device.counts().launches + device.counts().uploads + device.counts().allocations, 0U);
}

INSTANTIATE_TEST_SUITE_P(
    All, GraphBadRun,
    testing::Values(
        BadRun{"Rank", [](Arrays &r) { r.dims[0] = {3, 4}; },
               "input 'a' has 2 dimensions, 3 are due"},
        BadRun{"Negative", [](Arrays &r) { r.dims[1][0] = -1; }, "input 'b': dimension 0 is -1"},
        BadRun{"BelowTheLeast", [](Arrays &r) { r.dims[0][0] = 0; },
               "input 'a': dimension 0, n, is 0, must be in [1, 1000]"},
        BadRun{"BeyondTheGreatest", [](Arrays &r) { r.dims[1][0] = 101; },
               "input 'b': dimension 0, m, is 101, must be in [0, 100]"},
        BadRun{"Fixed", [](Arrays &r) { r.dims[0][2] = 3; },
               "input 'a': dimension 2 is 3, must be 2"},
        BadRun{"Sum", [](Arrays &r) { r.dims[2][0] = 7; },
               "input 'c': dimension 0 is 7, must be 8: it is m + n + 1 where n = 3, m = 4"},
        BadRun{"BoundElsewhere", [](Arrays &r) { r.dims[2][1] = 2; },
               "input 'c': dimension 1 is 2, must be 3: it is n where n = 3, m = 4"},
        BadRun{"Bytes", [](Arrays &r) { r.a.pop_back(); },
               "input 'a' has 44 bytes, its shape takes 48"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(GraphExecutor, RefusesAnotherNumberOfInputs) {
  plan::Plan plan = loadTinyGraph();
  device::NullDevice device;
  auto executor = makeExecutor(plan, device);
  auto inputs = Arrays(3, 4).inputs();
  inputs.pop_back();
  EXPECT_THAT(executor->run(inputs).status().toString(), HasSubstr("1 inputs, the graph has 2"));
}

TEST(GraphExecutor, SizesThatSymbolsMakeNegativeAreRefused) {
  plan::Plan plan = loadTinyGraph([](plan::Manifest &manifest) {
    for (plan::DeviceProgram &program : manifest.programs) {
      Size less = Size::symbol(0) - Size(10);
      program.buffers.push_back({.name = "windows", .bytes = less, .slot = 5});
      program.launches[1].points = less + Size(5);
    }
  });
  device::NullDevice device;
  auto executor = makeExecutor(plan, device);
  EXPECT_TRUE(executor->run(Arrays(10, 4).inputs()).isOk());
  EXPECT_THAT(executor->run(Arrays(9, 4).inputs()).status().toString(),
              HasSubstr("the size of buffer 'windows', n + -10, is negative where n = 9, m = 4"));
  EXPECT_EQ(device.counts().launches, 2U);
  EXPECT_TRUE(executor->run(Arrays(10, 4).inputs()).isOk());
}

TEST(GraphExecutor, BuffersOfOneSlotShareItsPlace) {
  plan::Plan plan = loadTinyGraph([](plan::Manifest &manifest) {
    for (plan::DeviceProgram &program : manifest.programs) {
      program.buffers.push_back({.name = "early", .bytes = Size::symbol(0) * Size(100), .slot = 2});
      program.buffers.push_back({.name = "late", .bytes = 7, .slot = 2});
    }
  });
  const plan::Manifest &manifest = plan.manifest();
  ArenaLayout layout;
  auto layOut = [&](std::vector<int64_t> symbols) {
    return exec::layOut(manifest.programs[0], *manifest.graph, symbols, layout);
  };
  ASSERT_TRUE(layOut({2, 1}).isOk());
  EXPECT_THAT(layout.bytes, testing::ElementsAre(32U, 16U, 32U, 8U, 8U, 200U, 7U));
  // Inputs, the shared slot of 200 bytes, outputs.
  EXPECT_THAT(layout.offsets, testing::ElementsAre(0U, 128U, 256U, 576U, 704U, 256U, 256U));
  EXPECT_EQ(layout.outputs_begin, 576U);
  EXPECT_EQ(layout.arena_bytes, 832U);
  ASSERT_TRUE(layOut({2, 50}).isOk());
  EXPECT_EQ(layout.offsets[3] - layout.offsets[2], 1600U + 64U) << "products are the largest now";
}

TEST(GraphExecutor, CreationReportsEachFailureOfTheDevice) {
  plan::Plan plan = loadTinyGraph();
  device::FaultDevice device(std::make_unique<device::NullDevice>());
  struct Fault {
    FaultKind kind;
    const char *message;
  };
  for (const Fault &fault : {Fault{FaultKind::kLoadCode, "loadCode()"},
                             Fault{FaultKind::kPlaceWeights, "placeWeights()"},
                             Fault{FaultKind::kAllocate, "steps of the launches"}}) {
    device.failAt(fault.kind, 1);
    auto executor = GraphExecutor::create(plan, device);
    ASSERT_FALSE(executor.isOk()) << fault.message;
    EXPECT_THAT(executor.status().toString(), HasSubstr(fault.message));
  }
  EXPECT_TRUE(GraphExecutor::create(plan, device).isOk());
}

TEST(GraphExecutor, OutOfMemoryRefusesOneShapeAlone) {
  plan::Plan plan = loadTinyGraph();
  device::FaultDevice device(makeHost(1));
  auto executor = makeExecutor(plan, device);
  device.failAt(FaultKind::kAllocate, 1);
  auto refused = executor->run(Arrays(3, 5).inputs());
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.status().toString(), HasSubstr("activations"));
  ASSERT_NO_FATAL_FAILURE(expectRight(*executor, Arrays(3, 5)));
  // Without spare room it fits.
  device.failAt(FaultKind::kAllocate, 1);
  ASSERT_NO_FATAL_FAILURE(expectRight(*executor, Arrays(30, 5)));
  EXPECT_EQ(executor->heldBytes(), executor->arenaBytes());
  ASSERT_NO_FATAL_FAILURE(expectRight(*executor, Arrays(3, 5)));
}

TEST(GraphExecutor, ARunReportsEachFailureOfTheDeviceAndCanBeRepeated) {
  plan::Plan plan = loadTinyGraph();
  device::FaultDevice device(makeHost(2));
  auto executor = makeExecutor(plan, device);
  struct Fault {
    FaultKind kind;
    uint64_t call;
    const char *message;
  };
  int64_t n = 2;
  for (const Fault &fault :
       {Fault{FaultKind::kUpload, 1, "upload()"}, // the steps
        Fault{FaultKind::kUpload, 3, "input 'b'"}, Fault{FaultKind::kLaunch, 2, "launch 'total'"},
        Fault{FaultKind::kBind, 2,
              "kernel 'total_i32__test_v1' of launch 'total': "
              "injected failure of bind()"},
        Fault{FaultKind::kRead, 1, "read()"}}) {
    Arrays run(++n, 3); // another shape each time
    device.failAt(fault.kind, fault.call);
    auto outputs = executor->run(run.inputs());
    ASSERT_FALSE(outputs.isOk()) << fault.message;
    EXPECT_THAT(outputs.status().toString(), HasSubstr(fault.message));
    if (fault.kind != FaultKind::kBind) {
      EXPECT_EQ(executor->run(run.inputs()).status().code(), StatusCode::kDeviceLost);
    }
    device.heal();
    ASSERT_NO_FATAL_FAILURE(expectRight(*executor, run));
  }
}

TEST(GraphExecutor, EachKindOfPlanHasItsExecutor) {
  device::NullDevice device;
  plan::Plan graph = loadTinyGraph();
  auto steps = Executor::create(graph, device, {.pages = 1});
  EXPECT_EQ(steps.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(steps.status().toString(), HasSubstr("a GraphExecutor runs it"));
  auto path = std::filesystem::temp_directory_path() /
              ("platen_exec_decoder_" + std::to_string(getpid()) + ".plan");
  ASSERT_TRUE(plan::testing::writeTinyPlan(path).isOk());
  auto decoder = plan::Plan::load(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(decoder.isOk());
  auto named = GraphExecutor::create(*decoder, device);
  EXPECT_EQ(named.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(named.status().toString(), HasSubstr("an Executor runs it"));
}

TEST(GraphExecutor, PlansWithoutSymbolsInputsOrWeights) {
  plan::Plan plan = loadTinyGraph([](plan::Manifest &manifest) {
    manifest.graph->symbols.clear();
    manifest.graph->inputs.clear();
    manifest.weights.clear();
    manifest.graph->outputs = {
        {.name = "scalar", .dtype = base::DType::kI64, .dims = {}, .buffer = 0}};
    for (plan::DeviceProgram &program : manifest.programs) {
      program.buffers = {{.name = "scalar", .bytes = 8, .slot = 0}};
      program.launches.clear();
    }
  });
  auto device = makeHost(1);
  auto executor = makeExecutor(plan, *device);
  auto outputs = executor->run({});
  ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
  EXPECT_TRUE((*outputs)[0].dims.empty());
  EXPECT_EQ((*outputs)[0].bytes.size(), 8U);
}

} // namespace
} // namespace platen::exec
