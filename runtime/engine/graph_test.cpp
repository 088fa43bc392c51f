// Graphs through the public interface: names, dtypes and shapes, the wrong kind of plan, several
// threads at once, and the same from C.
#include "runtime/engine/graph.h"

#include "runtime/engine/platen.h"
#include "runtime/engine/platen_c.h"
#include "runtime/plan/testing/tiny_graph.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <unistd.h>

extern "C" int platenCheckGraphFromC(PlatenGraph *graph, const int32_t *a, const int32_t *b,
                                     int32_t *total);

namespace platen::engine {
namespace {

using base::DType;
using base::StatusCode;
using testing::HasSubstr;

class GraphTest : public testing::Test {
protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() /
            ("platen_engine_graph_" + std::to_string(getpid()) + ".plan");
    auto status =
        plan::testing::writeTinyGraph(path_.string(), {.cuda_targets = {{"ptx", {"compute_80"}}}});
    ASSERT_TRUE(status.isOk()) << status.toString();
  }
  void TearDown() override { std::filesystem::remove(path_); }
  Graph load(const GraphOptions &options = {.threads = 2, .device = "host"}) const {
    auto graph = Graph::load(path_.string(), options);
    EXPECT_TRUE(graph.isOk()) << graph.status().toString();
    return std::move(*graph);
  }
  std::filesystem::path path_;
};

struct Inputs {
  Inputs(int64_t n, int64_t m, uint32_t seed = 1) {
    std::mt19937 random(seed);
    a.resize(static_cast<size_t>(n) * 4);
    b.resize(static_cast<size_t>(m) * 4);
    for (auto *values : {&a, &b})
      for (int32_t &value : *values)
        value = static_cast<int32_t>(random());
    // Any order will do.
    views = {{"b", DType::kI32, {m, 4}, std::as_bytes(std::span(b))},
             {"a", DType::kI32, {n, 4}, std::as_bytes(std::span(a))}};
  }
  std::vector<int32_t> a, b;
  std::vector<TensorView> views;
};

std::vector<int32_t> numbers(std::span<const std::byte> bytes) {
  std::vector<int32_t> values(bytes.size() / sizeof(int32_t));
  if (!values.empty())
    std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Whether the outputs are what the inputs give.
bool isRight(const std::vector<NamedTensor> &outputs, const Inputs &inputs) {
  auto due = plan::testing::tinyGraph(inputs.a, inputs.b);
  return outputs.size() == 2 && outputs[0].name == "total" && outputs[1].name == "sums" &&
         numbers(outputs[0].bytes) == due.total && numbers(outputs[1].bytes) == due.sums;
}

TEST_F(GraphTest, SaysWhatItTakesAndGives) {
  Graph graph = load();
  const GraphInfo &info = graph.info();
  EXPECT_EQ(info.name, "tiny graph");
  EXPECT_EQ(info.code_target, "x86-64");
  EXPECT_THAT(info.device, HasSubstr("host, 2 thread"));
  EXPECT_EQ(info.device_reason, "asked for");
  ASSERT_EQ(info.symbols.size(), 2U);
  EXPECT_EQ(info.symbols[1].name, "m");
  EXPECT_EQ(info.symbols[1].greatest, 100);
  ASSERT_EQ(info.inputs.size(), 2U);
  EXPECT_EQ(info.inputs[0].toString(), "a: i32[n, 4]");
  EXPECT_EQ(info.inputs[0].dims[0].size, -1);
  EXPECT_EQ(info.inputs[0].dims[1].size, 4);
  ASSERT_EQ(info.outputs.size(), 2U);
  EXPECT_EQ(info.outputs[1].toString(), "sums: i32[n, m]");
}

TEST_F(GraphTest, RunsNamedTensors) {
  Graph graph = load();
  for (auto [n, m] : {std::pair{3, 2}, {50, 7}, {1, 0}}) {
    Inputs inputs(n, m);
    auto outputs = graph.run(inputs.views);
    ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
    EXPECT_TRUE(isRight(*outputs, inputs)) << n << " x " << m;
    EXPECT_EQ((*outputs)[1].dtype, DType::kI32);
    EXPECT_THAT((*outputs)[1].dims, testing::ElementsAre(n, m));
  }
}

/// Runs of one shape (so that they are recorded) and of others.
void expectRightOn(Graph &graph) {
  EXPECT_EQ(graph.info().code_target, "ptx");
  for (auto [n, m] : {std::pair{9, 5}, {9, 5}, {9, 5}, {4, 0}, {33, 7}}) {
    Inputs inputs(n, m, static_cast<uint32_t>(n));
    auto outputs = graph.run(inputs.views);
    ASSERT_TRUE(outputs.isOk()) << outputs.status().toString();
    EXPECT_TRUE(isRight(*outputs, inputs)) << n << " x " << m;
  }
}

TEST_F(GraphTest, RunsOnTheDoubleOfADriver) {
  const char *before = std::getenv("PLATEN_CUDA_DRIVER");
  std::string kept = before == nullptr ? "" : before;
  setenv("PLATEN_CUDA_DRIVER", PLATEN_CUDA_DOUBLE, 1);
  auto graph = Graph::load(path_.string(), {.device = "cuda"});
  if (before == nullptr)
    unsetenv("PLATEN_CUDA_DRIVER");
  else
    setenv("PLATEN_CUDA_DRIVER", kept.c_str(), 1);
  ASSERT_TRUE(graph.isOk()) << graph.status().toString();
  expectRightOn(*graph);
}

TEST_F(GraphTest, RunsOnTheCudaDriver) {
  auto graph = Graph::load(path_.string(), {.device = "cuda"});
  if (!graph.isOk())
    GTEST_SKIP() << "no CUDA driver with a device";
  expectRightOn(*graph);
}

TEST_F(GraphTest, RefusesWhatDoesNotFitAndGoesOn) {
  Graph graph = load();
  Inputs good(3, 2);
  auto refused = [&](const std::vector<TensorView> &views) {
    auto outputs = graph.run(views);
    EXPECT_EQ(outputs.status().code(), StatusCode::kInvalidArgument);
    auto after = graph.run(good.views);
    EXPECT_TRUE(after.isOk() && isRight(*after, good));
    return outputs.status().toString();
  };
  auto views = good.views;
  views[0].name = "c";
  EXPECT_THAT(refused(views), HasSubstr("no input 'c'; its inputs are a: i32[n, 4], b: i32[m, 4]"));
  EXPECT_THAT(refused({good.views[0]}), HasSubstr("input a: i32[n, 4] is not given"));
  views = good.views;
  views[0].name = "a";
  EXPECT_THAT(refused(views), HasSubstr("input 'a' is given twice"));
  views = good.views;
  views[1].dtype = DType::kF32;
  EXPECT_THAT(refused(views), HasSubstr("input 'a' is given as f32, it must be a: i32[n, 4]"));
  views = good.views;
  views[1].dims = {4, 3};
  EXPECT_THAT(refused(views), HasSubstr("input 'a': dimension 1 is 3, must be 4"));
  views = good.views;
  views[1].dims = {12};
  EXPECT_THAT(refused(views), HasSubstr("input 'a' has 1 dimensions, 2 are due"));
  views[1].dims = {4, 4};
  EXPECT_THAT(refused(views), HasSubstr("input 'a' has 48 bytes, its shape takes 64"));
}

TEST_F(GraphTest, ThreadsTakeTurns) {
  Graph graph = load();
  std::vector<std::thread> threads;
  std::vector<int> right(4);
  for (size_t t = 0; t < right.size(); ++t)
    threads.emplace_back([&, t] {
      for (uint32_t round = 0; round < 25; ++round) {
        Inputs inputs(1 + static_cast<int64_t>((t * 7 + round) % 20), round % 4, round);
        auto outputs = graph.run(inputs.views);
        right[t] += outputs.isOk() && isRight(*outputs, inputs) && graph.info().inputs.size() == 2;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_THAT(right, testing::Each(25));
}

TEST_F(GraphTest, EachKindOfPlanIsLoadedByItsOwnInterface) {
  auto engine = Engine::load(path_.string());
  ASSERT_FALSE(engine.isOk());
  EXPECT_EQ(engine.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(engine.status().toString(), HasSubstr("load it with Graph::load"));
  EXPECT_THAT(engine.status().toString(), HasSubstr(path_.string()));
  ASSERT_TRUE(plan::testing::writeTinyPlan(path_.string()).isOk());
  auto graph = Graph::load(path_.string());
  ASSERT_FALSE(graph.isOk());
  EXPECT_EQ(graph.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(graph.status().toString(), HasSubstr("load it with Engine::load"));
  EXPECT_THAT(graph.status().toString(), HasSubstr(path_.string()));
}

TEST_F(GraphTest, LoadingReportsWhatIsMissing) {
  EXPECT_EQ(Graph::load(path_.string() + ".none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Graph::load(path_.string(), {.device = "tpu"}).status().code(),
            StatusCode::kInvalidArgument);
  ASSERT_TRUE(plan::testing::writeTinyGraph(path_.string(),
                                            {.targets = {{"x86-64-future", {"platen-never"}}}})
                  .isOk());
  auto graph = Graph::load(path_.string());
  EXPECT_EQ(graph.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(graph.status().toString(), HasSubstr("x86-64-future needs platen-never"));
}

TEST_F(GraphTest, FromC) {
  PlatenGraph *graph = nullptr;
  PlatenGraphOptions options{};
  options.struct_bytes = sizeof options;
  options.threads = 1;
  options.device = "host";
  ASSERT_EQ(platen_graph_load(path_.c_str(), &options, &graph), PLATEN_OK) << platen_last_error();
  Inputs inputs(3, 2);
  int32_t total[3];
  ASSERT_EQ(platenCheckGraphFromC(graph, inputs.a.data(), inputs.b.data(), total), PLATEN_OK)
      << platen_last_error();
  EXPECT_THAT(total, testing::ElementsAreArray(plan::testing::tinyGraph(inputs.a, inputs.b).total));
  PlatenTensorInfo info{};
  EXPECT_EQ(platen_graph_input_count(graph), 2U);
  EXPECT_EQ(platen_graph_output_count(graph), 2U);
  ASSERT_EQ(platen_graph_input(graph, 1, &info), PLATEN_OK);
  EXPECT_STREQ(info.name, "b");
  EXPECT_EQ(info.dtype, PLATEN_I32);
  EXPECT_EQ(info.rank, 2U);
  EXPECT_EQ(info.dims[0], -1);
  EXPECT_STREQ(info.dim_texts[0], "m");
  EXPECT_STREQ(info.dim_texts[1], "4");
  ASSERT_EQ(platen_graph_output(graph, 0, &info), PLATEN_OK);
  EXPECT_STREQ(info.name, "total");
  EXPECT_EQ(platen_graph_output(graph, 2, &info), PLATEN_INVALID_ARGUMENT);
  PlatenTensor nameless{};
  PlatenGraphResult *result = nullptr;
  EXPECT_EQ(platen_graph_run(graph, &nameless, 1, &result), PLATEN_INVALID_ARGUMENT);
  EXPECT_THAT(platen_last_error(), HasSubstr("inputs[0] lacks its name"));
  EXPECT_EQ(platen_graph_run(graph, nullptr, 0, &result), PLATEN_INVALID_ARGUMENT);
  EXPECT_THAT(platen_last_error(), HasSubstr("input a: i32[n, 4] is not given"));
  EXPECT_EQ(platen_graph_run(nullptr, nullptr, 0, &result), PLATEN_INVALID_ARGUMENT);
  platen_graph_free(graph);
  platen_graph_free(nullptr);
  EXPECT_EQ(platen_graph_load("/nowhere.plan", nullptr, &graph), PLATEN_NOT_FOUND);
}

TEST(GraphNames, DTypesOfCAreThoseOfPlans) {
  for (auto [c, cpp] : {std::pair{PLATEN_F32, DType::kF32},
                        {PLATEN_F16, DType::kF16},
                        {PLATEN_BF16, DType::kBF16},
                        {PLATEN_F64, DType::kF64},
                        {PLATEN_I64, DType::kI64},
                        {PLATEN_I32, DType::kI32},
                        {PLATEN_I16, DType::kI16},
                        {PLATEN_I8, DType::kI8},
                        {PLATEN_I4, DType::kI4},
                        {PLATEN_U64, DType::kU64},
                        {PLATEN_U32, DType::kU32},
                        {PLATEN_U16, DType::kU16},
                        {PLATEN_U8, DType::kU8},
                        {PLATEN_U4, DType::kU4},
                        {PLATEN_BOOL, DType::kBool}})
    EXPECT_EQ(static_cast<int>(c), static_cast<int>(cpp));
}

} // namespace
} // namespace platen::engine
