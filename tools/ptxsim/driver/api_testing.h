// What the tests of the driver API share: devices, a context for each test, PTX by hand. These
// tests are ordinary programs of the driver API: nothing of the simulator is included.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cuda.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace platen::ptxsim {

inline std::string nameOf(CUresult result) {
  const char *name = nullptr;
  return cuGetErrorName(result, &name) == CUDA_SUCCESS ? name : std::to_string(result);
}

#define EXPECT_CU(expected, call) EXPECT_EQ(nameOf(call), nameOf(CUDA_##expected))
#define ASSERT_CU(expected, call) ASSERT_EQ(nameOf(call), nameOf(CUDA_##expected))
#define EXPECT_OK(call) EXPECT_CU(SUCCESS, call)
#define ASSERT_OK(call) ASSERT_CU(SUCCESS, call)

/// Devices 0 and 1 (sm_80) reach each other; 2 is an sm_90a alone. Work that nobody waits for does
/// not start by itself within a test's time.
inline void initialiseDriver() {
  setenv("PLATEN_PTXSIM_DEVICES", "sm_80,sm_80,sm_90a", 0);
  setenv("PLATEN_PTXSIM_MEMORY", "64MiB", 0);
  setenv("PLATEN_PTXSIM_PEER", "0-1", 0);
  setenv("PLATEN_PTXSIM_GRACE_MS", "600000", 0);
  setenv("PLATEN_PTXSIM_THREADS", "1", 0);
  ASSERT_OK(cuInit(0));
}

class DriverTest : public testing::Test {
protected:
  void SetUp() override {
    initialiseDriver();
    ASSERT_OK(cuCtxCreate(&context_, nullptr, 0, 0));
  }
  void TearDown() override {
    if (context_) {
      EXPECT_OK(cuCtxDestroy(context_));
    }
  }
  CUmodule load(const std::string &ptx) {
    CUmodule module = nullptr;
    EXPECT_OK(cuModuleLoadData(&module, ptx.c_str()));
    return module;
  }
  CUfunction function(const std::string &ptx, const char *name) {
    CUfunction result = nullptr;
    EXPECT_OK(cuModuleGetFunction(&result, load(ptx), name));
    return result;
  }
  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr pointer = 0;
    EXPECT_OK(cuMemAlloc(&pointer, bytes));
    return pointer;
  }
  template <class T> CUdeviceptr upload(const std::vector<T> &values) {
    CUdeviceptr pointer = allocate(values.size() * sizeof(T));
    EXPECT_OK(cuMemcpyHtoD(pointer, values.data(), values.size() * sizeof(T)));
    EXPECT_OK(cuCtxSynchronize()); // the last leg of a copy from pageable memory is asynchronous
    return pointer;
  }
  template <class T> std::vector<T> download(CUdeviceptr pointer, size_t count) {
    std::vector<T> values(count);
    EXPECT_OK(cuMemcpyDtoH(values.data(), pointer, count * sizeof(T)));
    return values;
  }
  template <class... A>
  CUresult launch(CUfunction f, unsigned blocks, unsigned threads, CUstream stream,
                  A... arguments) {
    void *list[] = {&arguments..., nullptr};
    return cuLaunchKernel(f, blocks, 1, 1, threads, 1, 1, 0, stream, list, nullptr);
  }
  CUcontext context_ = nullptr;
};

/// kernels: vector_add(a, b, c, n); scale(p, n, factor): p[i] *= factor; set_value(p, value).
inline const std::string kArithmetic = R"(.version 7.0
.target sm_80
.address_size 64
.visible .entry vector_add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{
  .reg .pred %p;
  .reg .u32 %r<5>;
  .reg .u64 %d<5>;
  .reg .f32 %f<3>;
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mad.lo.u32 %r3, %r0, %r1, %r2;
  ld.param.u32 %r4, [n];
  setp.ge.u32 %p, %r3, %r4;
  @%p bra DONE;
  mul.wide.u32 %d0, %r3, 4;
  ld.param.u64 %d1, [a];
  add.u64 %d1, %d1, %d0;
  ld.global.f32 %f0, [%d1];
  ld.param.u64 %d2, [b];
  add.u64 %d2, %d2, %d0;
  ld.global.f32 %f1, [%d2];
  add.f32 %f2, %f0, %f1;
  ld.param.u64 %d3, [c];
  add.u64 %d3, %d3, %d0;
  st.global.f32 [%d3], %f2;
DONE:
  ret;
}
.visible .entry scale(.param .u64 p, .param .u32 n, .param .u32 factor)
{
  .reg .pred %p;
  .reg .u32 %r<6>;
  .reg .u64 %d<3>;
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mad.lo.u32 %r3, %r0, %r1, %r2;
  ld.param.u32 %r4, [n];
  setp.ge.u32 %p, %r3, %r4;
  @%p bra DONE;
  mul.wide.u32 %d0, %r3, 4;
  ld.param.u64 %d1, [p];
  add.u64 %d1, %d1, %d0;
  ld.global.u32 %r5, [%d1];
  ld.param.u32 %r4, [factor];
  mul.lo.u32 %r5, %r5, %r4;
  st.global.u32 [%d1], %r5;
DONE:
  ret;
}
.visible .entry set_value(.param .u64 p, .param .u32 value)
{
  .reg .u32 %r;
  .reg .u64 %d;
  ld.param.u64 %d, [p];
  ld.param.u32 %r, [value];
  st.global.u32 [%d], %r;
  ret;
}
)";

} // namespace platen::ptxsim
