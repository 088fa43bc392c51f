// Kernels that Triton compiled, with numpy's results: PTX that no one here wrote. The cases are
// made by tools/ptxsim/oracles/triton_kernels.py, in a Python that has triton and numpy: the one
// that PLATEN_TRITON_PYTHON names, or the tree's .venv. Skipped where there is none.
#include "tools/ptxsim/core/simulator.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace platen::ptxsim {
namespace {

std::string readFile(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Argument {
  std::string kind, file, type;
  double number = 0;
  uint64_t address = 0;
};

struct Case {
  std::string kernel;
  Dim3 grid;
  uint32_t threads = 0;
  size_t shared = 0;
  std::vector<Argument> arguments;
};

Case parseCase(const std::string &text) {
  Case c;
  std::stringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::stringstream words(line);
    Argument a;
    words >> a.kind;
    if (a.kind == "kernel")
      words >> c.kernel;
    else if (a.kind == "grid")
      words >> c.grid.x >> c.grid.y >> c.grid.z;
    else if (a.kind == "threads")
      words >> c.threads;
    else if (a.kind == "shared")
      words >> c.shared;
    else {
      if (a.kind == "buffer")
        words >> a.file;
      else if (a.kind == "output")
        words >> a.file >> a.type >> a.number;
      else if (a.kind != "zero") // scratch: how many bytes
        words >> a.number;
      c.arguments.push_back(a);
    }
  }
  return c;
}

void putArgument(const Argument &a, const KernelParameter &place, std::vector<std::byte> &buffer) {
  uint64_t bits = a.address;
  if (a.kind == "i32")
    bits = static_cast<uint32_t>(static_cast<int64_t>(a.number));
  if (a.kind == "f32")
    bits = std::bit_cast<uint32_t>(static_cast<float>(a.number));
  std::memcpy(buffer.data() + place.offset, &bits, std::min<size_t>(place.size, 8));
}

void compare(const Argument &a, const std::string &expected, const std::string &got) {
  size_t wrong = 0, count = expected.size() / 4;
  double worst = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t x, y;
    std::memcpy(&x, expected.data() + 4 * i, 4);
    std::memcpy(&y, got.data() + 4 * i, 4);
    double e = std::bit_cast<float>(x), g = std::bit_cast<float>(y);
    bool ok = a.type == "s32" || a.number == 0 ? x == y || (a.type == "f32" && e == g)
                                               : std::fabs(g - e) <= a.number * (1 + std::fabs(e));
    if (!ok && a.type == "f32")
      worst = std::max(worst, std::fabs(g - e));
    wrong += !ok;
  }
  EXPECT_EQ(wrong, 0u) << "of " << count << " results; the worst is off by " << worst;
}

void runCase(const std::filesystem::path &folder, const std::string &name, AsyncOrder order) {
  SCOPED_TRACE(name + ", order " + std::to_string(static_cast<int>(order)));
  Case c = parseCase(readFile(folder / (name + ".case")));
  auto module = Module::parse(readFile(folder / (name + ".ptx")));
  ASSERT_TRUE(module) << module.status().toString();
  const KernelInfo *kernel = (*module)->kernel(c.kernel);
  ASSERT_NE(kernel, nullptr);
  ASSERT_TRUE(kernel->refusals.empty()) << kernel->refusals[0].toString();
  ASSERT_EQ(kernel->parameters.size(), c.arguments.size());
  Memory memory;
  auto loaded = LoadedModule::load(*module, memory, 0);
  ASSERT_TRUE(loaded) << loaded.status().toString();
  std::vector<std::byte> parameters(kernel->parameterBytes);
  for (size_t n = 0; n < c.arguments.size(); ++n) {
    Argument &a = c.arguments[n];
    if (!a.file.empty()) {
      std::string bytes = readFile(folder / a.file);
      a.address = *memory.allocate(bytes.size(), 0);
      if (a.kind == "buffer") {
        ASSERT_TRUE(memory.write(a.address, bytes.data(), bytes.size()).ok());
      }
    }
    if (a.kind == "scratch")
      a.address = *memory.allocate(static_cast<size_t>(a.number), 0);
    putArgument(a, kernel->parameters[n], parameters);
  }
  Launch launch;
  launch.kernel = c.kernel;
  launch.grid = c.grid;
  launch.block = {c.threads, 1, 1};
  launch.dynamicSharedBytes = c.shared;
  launch.parameters = parameters;
  Options options;
  options.asyncOrder = order;
  // Triton waits for its products but executes no tcgen05.fence, which the ISA asks for.
  options.checkTensorFences = false;
  options.checkLaneRaces = options.checkGlobalRaces = order == AsyncOrder::kLatest;
  auto report = run(**loaded, memory, launch, options);
  ASSERT_TRUE(report) << report.status().toString();
  ASSERT_FALSE(report->violation) << report->violation->toString();
  for (const Argument &a : c.arguments)
    if (a.kind == "output") {
      std::string expected = readFile(folder / a.file), got(expected.size(), 0);
      ASSERT_TRUE(memory.read(a.address, got.data(), got.size()).ok());
      compare(a, expected, got);
    }
}

TEST(Triton, KernelsGiveNumpysResults) {
  const char *source = std::getenv("PLATEN_SOURCE_DIR"),
             *chosen = std::getenv("PLATEN_TRITON_PYTHON");
  std::filesystem::path root = source ? source : ".";
  if (!std::filesystem::exists(root / "tools/ptxsim")) // built on its own: the folder above
    root = root / "../..";
  std::string python = chosen ? chosen : (root / ".venv/bin/python").string();
  if (std::system(("'" + python + "' -c 'import triton, numpy' 2> /dev/null").c_str()) != 0)
    GTEST_SKIP() << "no triton and numpy for " << python << " (set PLATEN_TRITON_PYTHON)";
  std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "platen_triton_kernels";
  std::filesystem::create_directories(folder);
  std::string command = "'" + python + "' '" +
                        (root / "tools/ptxsim/oracles/triton_kernels.py").string() + "' '" +
                        folder.string() + "' > '" + (folder / "names").string() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  std::stringstream names(readFile(folder / "names"));
  std::string name;
  size_t count = 0;
  while (names >> name) {
    ++count;
    for (AsyncOrder order : {AsyncOrder::kLatest, AsyncOrder::kRandom})
      runCase(folder, name, order);
  }
  EXPECT_EQ(count, 24u);
}

} // namespace
} // namespace platen::ptxsim
