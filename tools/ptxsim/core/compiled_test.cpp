// Programs that a compiler made: CUDA C++ through nvcc to PTX, run and compared with the host.
// Skipped where nvcc is missing.
#include "tools/ptxsim/core/simulator_testing.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace platen::ptxsim {
namespace {

const char *kSource = R"(
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
extern "C" __global__ void rowNorm(const float *x, float *y, int n) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    float v = x[blockIdx.x * n + i];
    sum += v * v;
  }
  for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f;
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
    if (threadIdx.x == 0) partial[0] = rsqrtf(sum / n + 1e-6f);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    y[blockIdx.x * n + i] = x[blockIdx.x * n + i] * partial[0];
}
// c = a b, 16 x 16 tiles, double-buffered by cp.async.
extern "C" __global__ void product(const float *a, const float *b, float *c, int n) {
  __shared__ float ta[2][16][16], tb[2][16][16];
  int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
  auto fetch = [&](int k) {
    __pipeline_memcpy_async(&ta[k & 1][y][x], &a[row * n + k * 16 + x], 4);
    __pipeline_memcpy_async(&tb[k & 1][y][x], &b[(k * 16 + y) * n + column], 4);
    __pipeline_commit();
  };
  float sum = 0;
  fetch(0);
  for (int k = 0; k < n / 16; ++k) {
    if (k + 1 < n / 16) fetch(k + 1);
    __pipeline_wait_prior(k + 1 < n / 16 ? WAIT : 0);
    __syncthreads();
    for (int i = 0; i < 16; ++i) sum += ta[k & 1][y][i] * tb[k & 1][i][x];
    SYNC;
  }
  c[row * n + column] = sum;
}
extern "C" __global__ void histogram(const unsigned char *x, unsigned *bins, int n) {
  __shared__ unsigned local[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&local[x[i]], 1u);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&bins[i], local[i]);
}
)";

/// The PTX of the source for an architecture; empty without nvcc.
std::string compile(const std::string &architecture, const std::string &defines) {
  const char *given = std::getenv("PLATEN_NVCC");
  std::string nvcc = given ? given : "/usr/local/cuda/bin/nvcc";
  if (access(nvcc.c_str(), X_OK) != 0)
    return {};
  char folder[] = "/tmp/ptxsim_compiled_XXXXXX";
  if (!mkdtemp(folder))
    return {};
  std::string base = std::string(folder) + "/k";
  std::ofstream(base + ".cu") << kSource;
  std::string command = nvcc + " -std=c++17 -arch=" + architecture + " " + defines + " -ptx -o " +
                        base + ".ptx " + base + ".cu 2> " + base + ".log";
  std::string text;
  if (std::system(command.c_str()) == 0) {
    std::stringstream stream;
    stream << std::ifstream(base + ".ptx").rdbuf();
    text = stream.str();
  }
  std::system(("rm -r " + std::string(folder)).c_str());
  return text;
}

class Compiled : public testing::Test {
protected:
  void load(const std::string &architecture, const std::string &defines) {
    std::string text = compile(architecture, defines);
    if (text.empty())
      GTEST_SKIP() << "nvcc is missing or has no " << architecture;
    auto module = Module::parse(text);
    ASSERT_TRUE(module.isOk()) << module.status().toString();
    for (const KernelInfo &kernel : module.value()->kernels())
      for (const Refusal &refusal : kernel.refusals)
        ADD_FAILURE() << refusal.toString();
    module_ = std::move(LoadedModule::load(module.value(), memory_, 0).value());
  }
  template <class T> uint64_t put(const std::vector<T> &values) {
    uint64_t address = memory_.allocate(values.size() * sizeof(T), 0).value();
    EXPECT_TRUE(memory_.write(address, values.data(), values.size() * sizeof(T)).isOk());
    return address;
  }
  template <class T> std::vector<T> get(uint64_t address, size_t count) {
    std::vector<T> values(count);
    EXPECT_TRUE(memory_.read(address, values.data(), count * sizeof(T)).isOk());
    return values;
  }
  std::string run(const char *kernel, Dim3 grid, Dim3 block, std::vector<uint64_t> pointers, int n,
                  AsyncOrder order) {
    std::vector<std::byte> parameters(pointers.size() * 8 + 4);
    std::memcpy(parameters.data(), pointers.data(), pointers.size() * 8);
    std::memcpy(parameters.data() + pointers.size() * 8, &n, 4);
    Launch launch;
    launch.kernel = kernel;
    launch.grid = grid;
    launch.block = block;
    launch.parameters = parameters;
    Options options;
    options.threads = 1;
    options.asyncOrder = order;
    auto report = ptxsim::run(*module_, memory_, launch, options);
    EXPECT_TRUE(report.isOk()) << report.status().toString();
    return report.isOk() && report.value().violation ? report.value().violation->toString() : "";
  }
  Memory memory_;
  std::unique_ptr<LoadedModule> module_;
};

class CompiledFor : public Compiled, public testing::WithParamInterface<const char *> {};

TEST_P(CompiledFor, KernelsAgreeWithTheHost) {
  load(GetParam(), "-DWAIT=1 -DSYNC='__syncthreads()'");
  if (!module_)
    return;
  const int n = 64;
  std::vector<float> a(n * n), b(n * n);
  std::vector<uint8_t> bytes(5000);
  for (int i = 0; i < n * n; ++i) {
    a[i] = static_cast<float>((i * 37) % 19 - 9);
    b[i] = static_cast<float>((i * 53) % 23 - 11);
  }
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(i * i);
  uint64_t pa = put(a), pb = put(b), pc = put(std::vector<float>(n * n));
  uint64_t px = put(bytes), bins = put(std::vector<uint32_t>(256, 0));
  for (AsyncOrder order : {AsyncOrder::kEarliest, AsyncOrder::kLatest, AsyncOrder::kRandom}) {
    ASSERT_TRUE(memory_.poison(pc, n * n * 4).isOk());
    ASSERT_EQ(run("product", {4, 4, 1}, {16, 16, 1}, {pa, pb, pc}, n, order), "");
    auto c = get<float>(pc, n * n);
    for (int i = 0; i < n * n; ++i) { // integers: exact in any order
      float sum = 0;
      for (int k = 0; k < n; ++k)
        sum += a[i / n * n + k] * b[k * n + i % n];
      ASSERT_EQ(c[i], sum) << i;
    }
  }
  ASSERT_EQ(run("rowNorm", {64, 1, 1}, {128, 1, 1}, {pa, pc}, n, AsyncOrder::kLatest), "");
  auto y = get<float>(pc, n * n);
  for (int i = 0; i < n * n; ++i) {
    double sum = 0;
    for (int k = 0; k < n; ++k)
      sum += double{a[i / n * n + k]} * a[i / n * n + k];
    EXPECT_NEAR(y[i], a[i] / std::sqrt(sum / n + 1e-6), 1e-5);
  }
  ASSERT_EQ(run("histogram", {3, 1, 1}, {96, 1, 1}, {px, bins}, 5000, AsyncOrder::kLatest), "");
  std::vector<uint32_t> expected(256, 0);
  for (uint8_t byte : bytes)
    ++expected[byte];
  EXPECT_EQ(get<uint32_t>(bins, 256), expected);
}

TEST_F(Compiled, MutationsAreReported) {
  for (const char *defines : {"-DWAIT=2 -DSYNC='__syncthreads()'", "-DWAIT=1 -DSYNC=''"}) {
    module_.reset();
    load("sm_80", defines);
    if (!module_)
      return;
    uint64_t a = put(std::vector<float>(4096, 1)), b = put(std::vector<float>(4096, 1));
    uint64_t c = put(std::vector<float>(4096));
    EXPECT_NE(run("product", {4, 4, 1}, {16, 16, 1}, {a, b, c}, 64, AsyncOrder::kLatest), "")
        << defines;
  }
}

// Two generations of the compiler's PTX: NVVM 7 and NVVM 20.
INSTANTIATE_TEST_SUITE_P(Architectures, CompiledFor, testing::Values("sm_80", "sm_120"));

} // namespace
} // namespace platen::ptxsim
