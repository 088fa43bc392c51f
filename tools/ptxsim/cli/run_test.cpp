// platen-ptxsim run, with a program that nvcc and g++ build here and now. Skipped without nvcc.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/wait.h>

namespace {

namespace fs = std::filesystem;

class RunTest : public testing::Test {
protected:
  /// The folder with program and kernels, built once for the process; empty without nvcc.
  static const fs::path &folder() {
    static const Folder made;
    return made.path;
  }
  struct Folder {
    Folder() {
      std::string pattern = (fs::temp_directory_path() / "ptxsim_run.XXXXXX").string();
      path = mkdtemp(pattern.data());
      std::string sources = PTXSIM_CLI_SOURCES;
      std::string kernels = "nvcc -fatbin -gencode arch=compute_80,code=[sm_80,compute_80] "
                            "-gencode arch=compute_90a,code=[sm_90a,compute_90a] -o " +
                            (path / "kernels.fatbin").string() + " " + sources +
                            "/sample_kernels.cu > /dev/null 2>&1";
      std::string program = "g++ -std=c++17 -O1 -isystem " PTXSIM_CUDA_INCLUDE " -o " +
                            (path / "program").string() + " " + sources +
                            "/sample_program.cpp -L" PTXSIM_LIBRARY_FOLDER " -l:libcuda.so.1";
      if (std::system(kernels.c_str()) != 0 || std::system(program.c_str()) != 0)
        std::fprintf(stderr, "the sample program could not be built\n");
    }
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
    fs::path path;
  };
  void SetUp() override {
    if (std::system("nvcc --version > /dev/null 2>&1") != 0)
      GTEST_SKIP() << "needs nvcc";
    ASSERT_TRUE(fs::exists(folder() / "kernels.fatbin") && fs::exists(folder() / "program"));
  }
  /// Exit code; what was printed is in `output`.
  int run(const std::string &options, const std::string &arguments = "") {
    std::string log = (folder() / "output").string();
    std::string command =
        std::string(PTXSIM_COMMAND) + " run " + options + " -- " + (folder() / "program").string() +
        " " + (folder() / "kernels.fatbin").string() + " " + arguments + " > " + log + " 2>&1";
    int status = std::system(command.c_str());
    std::stringstream text;
    text << std::ifstream(log).rdbuf();
    output = text.str();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string output;
};

TEST_F(RunTest, AnUnmodifiedProgramPassesOnEveryDeviceAndOrder) {
  for (const char *options :
       {"", "--devices sm_86 --async earliest", "--devices sm_90a --async random --seed 3",
        "--devices sm_100,sm_80", "--devices sm_120 --threads 1"}) {
    EXPECT_EQ(run(options), 0) << options << "\n" << output;
    EXPECT_NE(output.find("PASSED"), std::string::npos) << options << "\n" << output;
  }
}

TEST_F(RunTest, ADeviceWithoutCodeIsRefused) {
  EXPECT_EQ(run("--devices sm_75"), 2);
  EXPECT_NE(output.find("CUDA_ERROR_NO_BINARY_FOR_GPU"), std::string::npos) << output;
}

TEST_F(RunTest, AViolationIsReportedAndFailsTheRun) {
  std::string report = (folder() / "report.json").string();
  EXPECT_EQ(run("--counters json --report " + report, "out-of-bounds"), 2) << output;
  EXPECT_NE(output.find("out-of-bounds"), std::string::npos) << output;
  EXPECT_NE(output.find("1 violation"), std::string::npos) << output;
  EXPECT_NE(output.find("CUDA_ERROR_ILLEGAL_ADDRESS"), std::string::npos) << output;
  auto json = nlohmann::json::parse(std::ifstream(report));
  ASSERT_EQ(json["violations"].size(), 1u);
  EXPECT_EQ(json["violations"][0]["kernel"], "vectorAddUnchecked");
  EXPECT_GT(json["violations"][0]["line"], 0);
}

TEST_F(RunTest, AMissingEventGivesAWrongResult) {
  EXPECT_EQ(run("", "missing-event"), 3) << output;
  EXPECT_NE(output.find("FAILED"), std::string::npos) << output;
}

TEST_F(RunTest, CountersAreReported) {
  std::string report = (folder() / "counters.json").string();
  EXPECT_EQ(run("--counters table --report " + report), 0) << output;
  EXPECT_NE(output.find("matrixMul: 1 launches"), std::string::npos) << output;
  auto json = nlohmann::json::parse(std::ifstream(report));
  EXPECT_EQ(json["kernels"].size(), 3u);
  for (const auto &kernel : json["kernels"])
    if (kernel["name"] == "reduceSum") {
      EXPECT_EQ(kernel["launches"], 4);
    }
  EXPECT_TRUE(json["violations"].empty());
}

TEST_F(RunTest, ExitCodes) {
  EXPECT_EQ(run("", "crash"), 128 + SIGABRT);
  EXPECT_EQ(run("--async sometimes"), 127);
  EXPECT_NE(output.find("sometimes"), std::string::npos) << output;
  EXPECT_EQ(WEXITSTATUS(std::system(PTXSIM_COMMAND " run -- /does/not/exist 2> /dev/null")), 127);
  EXPECT_NE(WEXITSTATUS(std::system(PTXSIM_COMMAND " run > /dev/null 2>&1")), 0);
}

TEST_F(RunTest, KernelsOfAPtxFileAreListed) {
  std::string ptx = (folder() / "kernels.ptx").string(), log = (folder() / "list").string();
  ASSERT_EQ(std::system(("nvcc -ptx -arch=compute_80 -o " + ptx +
                         " " PTXSIM_CLI_SOURCES "/sample_kernels.cu > /dev/null 2>&1")
                            .c_str()),
            0);
  ASSERT_EQ(std::system((PTXSIM_COMMAND " ptx " + ptx + " > " + log).c_str()), 0);
  std::stringstream text;
  text << std::ifstream(log).rdbuf();
  for (const char *expected : {"for sm_80", "kernel vectorAdd ", "static shared 2048 bytes",
                               "vectorAdd_param_3: 4 bytes at 24"})
    EXPECT_NE(text.str().find(expected), std::string::npos) << expected << "\n" << text.str();
}

} // namespace
