// Modules, functions and launches: results, limits and their error codes, violations.
#include "tools/ptxsim/driver/api_testing.h"

#include <cstring>
#include <numeric>

namespace platen::ptxsim {
namespace {

/// block_sum(in, out): each block adds 128 numbers through shared memory. globals(out): reads a
/// .global and a .const variable. big_shared(out): dynamic shared memory.
const std::string kShared = R"(.version 7.0
.target sm_80
.address_size 64
.visible .global .align 4 .u32 counter = 41;
.visible .const .align 4 .u32 table[4] = {10, 20, 30, 40};
.extern .shared .align 16 .b8 dynamic[];
.visible .entry block_sum(.param .u64 in, .param .u64 out)
{
  .shared .align 4 .b8 sums[512];
  .reg .pred %p;
  .reg .u32 %r<8>;
  .reg .u64 %d<4>;
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, %ctaid.x;
  mad.lo.u32 %r2, %r1, 128, %r0;
  mul.wide.u32 %d0, %r2, 4;
  ld.param.u64 %d1, [in];
  add.u64 %d1, %d1, %d0;
  ld.global.u32 %r3, [%d1];
  mov.u32 %r4, sums;
  shl.b32 %r5, %r0, 2;
  add.u32 %r4, %r4, %r5;
  st.shared.u32 [%r4], %r3;
  mov.u32 %r5, 64;
LOOP:
  bar.sync 0;
  setp.ge.u32 %p, %r0, %r5;
  @%p bra NEXT;
  shl.b32 %r6, %r5, 2;
  add.u32 %r6, %r4, %r6;
  ld.shared.u32 %r7, [%r6];
  ld.shared.u32 %r3, [%r4];
  add.u32 %r3, %r3, %r7;
  st.shared.u32 [%r4], %r3;
NEXT:
  shr.u32 %r5, %r5, 1;
  setp.ne.u32 %p, %r5, 0;
  @%p bra LOOP;
  setp.ne.u32 %p, %r0, 0;
  @%p bra DONE;
  mul.wide.u32 %d0, %r1, 4;
  ld.param.u64 %d2, [out];
  add.u64 %d2, %d2, %d0;
  st.global.u32 [%d2], %r3;
DONE:
  ret;
}
.visible .entry globals(.param .u64 out)
{
  .reg .u32 %r<3>;
  .reg .u64 %d;
  ld.global.u32 %r0, [counter];
  ld.const.u32 %r1, [table+8];
  add.u32 %r2, %r0, %r1;
  add.u32 %r0, %r0, 1;
  st.global.u32 [counter], %r0;
  ld.param.u64 %d, [out];
  st.global.u32 [%d], %r2;
  ret;
}
.visible .entry big_shared(.param .u64 out)
{
  .reg .u32 %r<2>;
  .reg .u64 %d;
  mov.u32 %r0, 7;
  st.shared.u32 [dynamic+65536], %r0;
  ld.shared.u32 %r1, [dynamic+65536];
  ld.param.u64 %d, [out];
  st.global.u32 [%d], %r1;
  ret;
}
.visible .entry bounded(.param .u64 out) .maxntid 64, 1, 1
{
  ret;
}
.visible .entry traps(.param .u64 out)
{
  trap;
}
.visible .entry reads(.param .u64 in, .param .u64 out)
{
  .reg .pred %p;
  .reg .u32 %r;
  .reg .u64 %d<2>;
  ld.param.u64 %d0, [in];
  ld.global.u32 %r, [%d0];
  setp.eq.u32 %p, %r, 5;
  @%p bra DONE;
  ld.param.u64 %d1, [out];
  st.global.u32 [%d1], %r;
DONE:
  ret;
}
)";

TEST_F(DriverTest, VectorsAdd) {
  std::vector<float> a(1000), b(1000), c(1000);
  for (size_t i = 0; i < 1000; ++i) {
    a[i] = static_cast<float>(i) * 0.5f;
    b[i] = 1000 - static_cast<float>(i);
    c[i] = a[i] + b[i];
  }
  CUdeviceptr out = allocate(4000);
  EXPECT_OK(launch(function(kArithmetic, "vector_add"), 8, 128, nullptr, upload(a), upload(b), out,
                   1000u));
  EXPECT_EQ(download<float>(out, 1000), c);
}

TEST_F(DriverTest, BlocksSumThroughSharedMemory) {
  std::vector<uint32_t> in(512);
  std::iota(in.begin(), in.end(), 0u);
  CUdeviceptr out = allocate(16);
  EXPECT_OK(launch(function(kShared, "block_sum"), 4, 128, nullptr, upload(in), out));
  auto sums = download<uint32_t>(out, 4);
  for (uint32_t block = 0; block < 4; ++block)
    EXPECT_EQ(sums[block], 128 * 127 / 2 + block * 128 * 128);
}

TEST_F(DriverTest, VariablesOfModules) {
  CUmodule first = load(kShared), second = load(kShared);
  CUdeviceptr counter = 0, other = 0, out = allocate(4);
  size_t bytes = 0;
  ASSERT_OK(cuModuleGetGlobal(&counter, &bytes, first, "counter"));
  EXPECT_EQ(bytes, 4u);
  ASSERT_OK(cuModuleGetGlobal(&other, nullptr, second, "counter"));
  EXPECT_NE(counter, other);
  EXPECT_OK(cuModuleGetGlobal(nullptr, &bytes, first, "table"));
  EXPECT_EQ(bytes, 16u);
  EXPECT_CU(ERROR_NOT_FOUND, cuModuleGetGlobal(&counter, &bytes, first, "nothing"));
  CUfunction f = nullptr;
  ASSERT_OK(cuModuleGetFunction(&f, first, "globals"));
  EXPECT_OK(launch(f, 1, 1, nullptr, out));
  EXPECT_EQ(download<uint32_t>(out, 1)[0], 71u);
  EXPECT_EQ(download<uint32_t>(counter, 1)[0], 42u);
  EXPECT_EQ(download<uint32_t>(other, 1)[0], 41u);
}

TEST_F(DriverTest, ParametersFromABuffer) {
  CUdeviceptr p = allocate(4);
  struct {
    CUdeviceptr p;
    uint32_t value;
  } arguments{p, 99};
  size_t size = 12;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &arguments, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                   CU_LAUNCH_PARAM_END};
  CUfunction f = function(kArithmetic, "set_value");
  EXPECT_OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_EQ(download<uint32_t>(p, 1)[0], 99u);
  size = 8;
  EXPECT_CU(ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_CU(ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
  size_t offset = 0;
  EXPECT_OK(cuFuncGetParamInfo(f, 1, &offset, &size));
  EXPECT_EQ(offset, 8u);
  EXPECT_EQ(size, 4u);
  EXPECT_CU(ERROR_INVALID_VALUE, cuFuncGetParamInfo(f, 2, &offset, &size));
}

TEST_F(DriverTest, LaunchesKeepTheLimits) {
  CUfunction f = function(kShared, "bounded");
  CUdeviceptr p = allocate(4);
  void *arguments[] = {&p};
  auto launchOf = [&](unsigned gx, unsigned gy, unsigned bx, unsigned bz, unsigned shared = 0) {
    return cuLaunchKernel(f, gx, gy, 1, bx, 1, bz, shared, nullptr, arguments, nullptr);
  };
  EXPECT_OK(launchOf(1, 1, 64, 1));
  EXPECT_CU(ERROR_INVALID_VALUE, launchOf(1, 1, 65, 1)); // .maxntid
  EXPECT_CU(ERROR_INVALID_VALUE, launchOf(0, 1, 32, 1));
  EXPECT_CU(ERROR_INVALID_VALUE, launchOf(1, 65536, 32, 1));
  EXPECT_CU(ERROR_INVALID_VALUE, launchOf(1, 1, 1025, 1));
  EXPECT_CU(ERROR_INVALID_VALUE, launchOf(1, 1, 1, 65));
  EXPECT_CU(ERROR_INVALID_VALUE, launchOf(1, 1, 32, 1, 48 * 1024 + 1));
  int value = 0;
  EXPECT_OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, f));
  EXPECT_EQ(value, 64);
  EXPECT_CU(ERROR_INVALID_HANDLE, cuLaunchKernel(reinterpret_cast<CUfunction>(p), 1, 1, 1, 1, 1, 1,
                                                 0, nullptr, arguments, nullptr));
  EXPECT_CU(
      ERROR_INVALID_HANDLE,
      cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, reinterpret_cast<CUstream>(p), arguments, nullptr));
}

TEST_F(DriverTest, LargeSharedMemoryMustBeAskedFor) {
  CUfunction f = function(kShared, "big_shared");
  CUdeviceptr out = allocate(4);
  void *arguments[] = {&out};
  auto run = [&](unsigned shared) {
    return cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, shared, nullptr, arguments, nullptr);
  };
  EXPECT_CU(ERROR_INVALID_VALUE, run(65540));
  EXPECT_CU(ERROR_INVALID_VALUE,
            cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024 + 1));
  EXPECT_OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65540));
  EXPECT_OK(run(65540));
  EXPECT_EQ(download<uint32_t>(out, 1)[0], 7u);
  int blocks = 0;
  EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 32, 65540));
  EXPECT_EQ(blocks, 2); // of 164 KiB, 1 KiB each for the system
  EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 32, 0));
  EXPECT_EQ(blocks, 32);
}

TEST_F(DriverTest, AttributesOfLaunches) {
  CUfunction f = function(kArithmetic, "set_value");
  CUdeviceptr p = allocate(4);
  uint32_t value = 5;
  void *arguments[] = {&p, &value};
  CUlaunchAttribute attribute{};
  CUlaunchConfig config{1, 1, 1, 1, 1, 1, 0, nullptr, &attribute, 1};
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.value.programmaticStreamSerializationAllowed = 1;
  EXPECT_OK(cuLaunchKernelEx(&config, f, arguments, nullptr));
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attribute.value.clusterDim = {2, 1, 1};
  config.gridDimX = 2;
  EXPECT_CU(ERROR_NOT_SUPPORTED, cuLaunchKernelEx(&config, f, arguments, nullptr)); // sm_80
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  EXPECT_OK(cuLaunchKernelEx(&config, f, arguments, nullptr));
  config.gridDimX = 108 * 32 + 1;
  EXPECT_CU(ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, cuLaunchKernelEx(&config, f, arguments, nullptr));
}

TEST_F(DriverTest, ClustersOnHopper) {
  CUcontext hopper = nullptr;
  ASSERT_OK(cuCtxCreate(&hopper, nullptr, 0, 2));
  CUfunction f = function(kArithmetic, "set_value"); // PTX for sm_80 is compiled for it
  CUdeviceptr p = allocate(4);
  uint32_t value = 5;
  void *arguments[] = {&p, &value};
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attribute.value.clusterDim = {2, 1, 1};
  CUlaunchConfig config{3, 1, 1, 1, 1, 1, 0, nullptr, &attribute, 1};
  EXPECT_CU(ERROR_INVALID_VALUE, cuLaunchKernelEx(&config, f, arguments, nullptr));
  config.gridDimX = 16;
  EXPECT_OK(cuLaunchKernelEx(&config, f, arguments, nullptr));
  attribute.value.clusterDim = {16, 1, 1};
  EXPECT_CU(ERROR_INVALID_CLUSTER_SIZE, cuLaunchKernelEx(&config, f, arguments, nullptr));
  EXPECT_OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
  EXPECT_OK(cuLaunchKernelEx(&config, f, arguments, nullptr));
  EXPECT_EQ(download<uint32_t>(p, 1)[0], 5u);
  EXPECT_OK(cuCtxDestroy(hopper));
}

TEST_F(DriverTest, ImagesThatDoNotFit) {
  CUmodule module = nullptr;
  EXPECT_CU(ERROR_INVALID_IMAGE, cuModuleLoadData(&module, "neither PTX nor anything else"));
  std::string newer = kArithmetic, later = kArithmetic, broken = kArithmetic;
  newer.replace(newer.find("sm_80"), 5, "sm_90");
  EXPECT_CU(ERROR_INVALID_PTX, cuModuleLoadData(&module, newer.c_str()));
  later.replace(later.find("7.0"), 3, "9.9");
  EXPECT_CU(ERROR_UNSUPPORTED_PTX_VERSION, cuModuleLoadData(&module, later.c_str()));
  broken.replace(broken.find("mad.lo"), 6, "mad.lo !");
  char log[512] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
  EXPECT_CU(ERROR_INVALID_PTX, cuModuleLoadDataEx(&module, broken.c_str(), 2, options, values));
  EXPECT_NE(std::strstr(log, "line"), nullptr) << log;
  EXPECT_CU(ERROR_FILE_NOT_FOUND, cuModuleLoad(&module, "/does/not/exist.cubin"));
  CUfunction f = nullptr;
  EXPECT_CU(ERROR_NOT_FOUND, cuModuleGetFunction(&f, load(kArithmetic), "absent"));
  EXPECT_CU(ERROR_INVALID_HANDLE, cuModuleUnload(nullptr));
}

TEST_F(DriverTest, UnknownInstructionsAreRefusedAtTheLaunch) {
  std::string odd = kArithmetic;
  odd.replace(odd.find("add.f32"), 7, "frobnicate.f32");
  CUmodule module = nullptr;
  CUresult result = cuModuleLoadData(&module, odd.c_str());
  if (result != CUDA_SUCCESS) { // as a syntax error is also a refusal
    EXPECT_CU(ERROR_INVALID_PTX, result);
    return;
  }
  CUfunction f = nullptr;
  ASSERT_OK(cuModuleGetFunction(&f, module, "vector_add"));
  CUdeviceptr p = allocate(4);
  EXPECT_CU(ERROR_NOT_SUPPORTED, launch(f, 1, 1, nullptr, p, p, p, 1u));
  ASSERT_OK(cuModuleGetFunction(&f, module, "set_value")); // its neighbours run
  EXPECT_OK(launch(f, 1, 1, nullptr, p, 1u));
}

TEST_F(DriverTest, LibrariesServeEveryContext) {
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  ASSERT_OK(
      cuLibraryLoadData(&library, kArithmetic.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0));
  ASSERT_OK(cuLibraryGetKernel(&kernel, library, "set_value"));
  EXPECT_CU(ERROR_NOT_FOUND, cuLibraryGetKernel(&kernel, library, "absent"));
  unsigned count = 0;
  EXPECT_OK(cuLibraryGetKernelCount(&count, library));
  EXPECT_EQ(count, 3u);
  CUdeviceptr p = allocate(4);
  EXPECT_OK(launch(reinterpret_cast<CUfunction>(kernel), 1, 1, nullptr, p, 6u));
  EXPECT_EQ(download<uint32_t>(p, 1)[0], 6u);
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 1));
  p = allocate(4);
  EXPECT_OK(launch(reinterpret_cast<CUfunction>(kernel), 1, 1, nullptr, p, 8u));
  EXPECT_EQ(download<uint32_t>(p, 1)[0], 8u);
  EXPECT_OK(cuCtxDestroy(second));
  EXPECT_OK(cuLibraryUnload(library));
  EXPECT_CU(ERROR_INVALID_HANDLE,
            launch(reinterpret_cast<CUfunction>(kernel), 1, 1, nullptr, p, 8u));
}

TEST_F(DriverTest, FunctionsBelongToTheirContext) {
  CUfunction f = function(kArithmetic, "set_value");
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 1));
  CUdeviceptr p = allocate(4);
  EXPECT_CU(ERROR_INVALID_HANDLE, launch(f, 1, 1, nullptr, p, 1u));
  EXPECT_OK(cuCtxDestroy(second));
}

struct Failure {
  const char *name;
  std::string kernel;
  int offset; // of the address from an allocation of 8 bytes
  CUresult result;
};
void PrintTo(const Failure &failure, std::ostream *out) { *out << failure.name; }

class FailureTest : public DriverTest, public testing::WithParamInterface<Failure> {};

TEST_P(FailureTest, StaysWithTheContext) {
  CUfunction f =
      function(GetParam().kernel == "set_value" ? kArithmetic : kShared, GetParam().kernel.c_str());
  CUdeviceptr p = allocate(8), out = allocate(4);
  CUdeviceptr address = p + static_cast<CUdeviceptr>(GetParam().offset);
  if (GetParam().kernel == "reads") {
    EXPECT_OK(launch(f, 1, 1, nullptr, address, out));
  } else {
    EXPECT_OK(launch(f, 1, 1, nullptr, address, 1u));
  }
  EXPECT_EQ(nameOf(cuCtxSynchronize()), nameOf(GetParam().result));
  EXPECT_EQ(nameOf(cuMemAlloc(&p, 4)), nameOf(GetParam().result)); // sticky
  EXPECT_EQ(nameOf(launch(f, 1, 1, nullptr, address, 1u)), nameOf(GetParam().result));
  CUcontext second = nullptr; // another context is not touched
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 0));
  EXPECT_OK(cuMemAlloc(&p, 4));
  EXPECT_OK(cuCtxDestroy(second));
}

INSTANTIATE_TEST_SUITE_P(
    Violations, FailureTest,
    testing::Values(Failure{"out_of_bounds", "set_value", 8, CUDA_ERROR_ILLEGAL_ADDRESS},
                    Failure{"misaligned", "set_value", 2, CUDA_ERROR_MISALIGNED_ADDRESS},
                    Failure{"trap", "traps", 0, CUDA_ERROR_LAUNCH_FAILED},
                    Failure{"uninitialised", "reads", 0, CUDA_ERROR_LAUNCH_FAILED}),
    [](const auto &info) { return std::string(info.param.name); });

} // namespace
} // namespace platen::ptxsim
