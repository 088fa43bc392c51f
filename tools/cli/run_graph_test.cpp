// `platen run` on the tiny graph: files in, files out, and what cannot be.
#include "tools/cli/run_graph.h"

#include "runtime/plan/testing/tiny_graph.h"
#include "tools/cli/run.h"
#include "tools/npy/npy.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace platen::cli {
namespace {

using base::DType;
using testing::HasSubstr;

class RunGraph : public testing::Test {
protected:
  RunGraph() {
    std::string pattern = (std::filesystem::temp_directory_path() / "platen_run_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    EXPECT_TRUE(plan::testing::writeTinyGraph(file("tiny.plan")).isOk());
    save("a.npy", a_, {3, 4});
    save("b.npy", b_, {2, 4});
  }
  ~RunGraph() override { std::filesystem::remove_all(folder_); }
  std::string file(const std::string &name) const { return folder_ / name; }
  void save(const std::string &name, const std::vector<int32_t> &values,
            const std::vector<int64_t> &dims) const {
    EXPECT_TRUE(npy::write(file(name), DType::kI32, dims, std::as_bytes(std::span(values))).isOk());
  }
  struct Ran {
    int code;
    std::string out, err;
  };
  Ran run(const RunGraphOptions &options) const {
    auto graph = engine::Graph::load(file("tiny.plan"), {.threads = 1, .device = "host"});
    EXPECT_TRUE(graph.isOk()) << graph.status().toString();
    std::ostringstream out, err;
    int code = runGraph(*graph, options, out, err);
    return {code, out.str(), err.str()};
  }
  std::vector<std::string> inputs() const { return {"b=" + file("b.npy"), "a=" + file("a.npy")}; }

  std::filesystem::path folder_;
  std::vector<int32_t> a_{1, 2, 3, 4, 5, 6, 7, 8, -9, 10, 11, 12}, b_{3, 1, 4, 1, 5, 9, 2, 6};
};

TEST_F(RunGraph, FilesInFilesOut) {
  Ran ran = run({.inputs = inputs(), .output_folder = file("out/deep")});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("total: i32[3] -> " + file("out/deep/total.npy")));
  EXPECT_THAT(ran.out, HasSubstr("sums: i32[3, 2] -> "));
  EXPECT_THAT(ran.err, HasSubstr("code x86-64 (asked for)"));
  auto due = plan::testing::tinyGraph(a_, b_);
  auto total = npy::read(file("out/deep/total.npy")), sums = npy::read(file("out/deep/sums.npy"));
  ASSERT_TRUE(total.isOk() && sums.isOk());
  EXPECT_THAT(sums->dims, testing::ElementsAre(3, 2));
  EXPECT_TRUE(std::ranges::equal(total->bytes, std::as_bytes(std::span(due.total))));
  EXPECT_TRUE(std::ranges::equal(sums->bytes, std::as_bytes(std::span(due.sums))));
}

TEST_F(RunGraph, AsJson) {
  Ran ran = run({.inputs = inputs(), .output_folder = file("out"), .json = true});
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["model"], "tiny graph");
  EXPECT_EQ(json["outputs"][1]["name"], "sums");
  EXPECT_EQ(json["outputs"][1]["shape"], nlohmann::json({3, 2}));
  EXPECT_EQ(json["outputs"][1]["file"], file("out/sums.npy"));
  EXPECT_GE(json["seconds"], 0.0);
  EXPECT_FALSE(json["simulated"]);
}

TEST_F(RunGraph, WithoutAFolderNothingIsWritten) {
  Ran ran = run({.inputs = inputs()});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, "total: i32[3]\nsums: i32[3, 2]\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 3);
}

TEST_F(RunGraph, SaysWhatIsWrong) {
  auto refused = [&](RunGraphOptions options) {
    Ran ran = run(options);
    EXPECT_EQ(ran.code, 1);
    EXPECT_EQ(ran.out, "");
    return ran.err;
  };
  EXPECT_THAT(refused({.inputs = {"a"}}), HasSubstr("--input is 'a', it must be NAME=FILE.npy"));
  EXPECT_THAT(refused({.inputs = {"=x"}}), HasSubstr("it must be NAME=FILE.npy"));
  EXPECT_THAT(refused({.inputs = {"a=" + file("none.npy")}}), HasSubstr("none.npy"));
  EXPECT_THAT(refused({.inputs = {"a=" + file("tiny.plan")}}),
              HasSubstr("does not begin as a .npy array does"));
  EXPECT_THAT(refused({.inputs = {"c=" + file("a.npy")}}), HasSubstr("no input 'c'"));
  EXPECT_THAT(refused({.inputs = {"a=" + file("a.npy")}}),
              HasSubstr("input b: i32[m, 4] is not given"));
  std::ofstream(file("plain")) << "x";
  EXPECT_THAT(refused({.inputs = inputs(), .output_folder = file("plain/out")}),
              HasSubstr("cannot be made"));
}

TEST_F(RunGraph, FlagsOfRunChooseIt) {
  RunOptions options;
  CLI::App app;
  addRunOptions(app, options);
  std::vector<std::string> arguments{"m.plan", "--input", "a=x", "--input", "b=y", "--output", "f"};
  std::reverse(arguments.begin(), arguments.end()); // CLI11's order for vectors
  app.parse(arguments);
  EXPECT_THAT(options.graph.inputs, testing::ElementsAre("a=x", "b=y"));
  EXPECT_EQ(options.graph.output_folder, "f");
}

TEST(FileNames, StayInTheirFolderAndApart) {
  auto named = [](const char *name) { return engine::NamedTensor{.name = name}; };
  EXPECT_THAT(fileNames({named("../a/b:0"), named("ok-1.x"), named(".._a_b_0"), named("a b"),
                         named("a/b"), named("a_b")}),
              testing::ElementsAre(".._a_b_0.npy", "ok-1.x.npy", ".._a_b_0_2.npy", "a_b.npy",
                                   "a_b_2.npy", "a_b_3.npy"));
}

} // namespace
} // namespace platen::cli
