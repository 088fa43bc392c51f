// A program of the CUDA driver API as one writes it for a GPU: it knows nothing of the simulator.
//   sample_program KERNELS.fatbin [missing-event | out-of-bounds | crash]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda.h>
#include <string>
#include <vector>

static void check(CUresult result, const char *what) {
  if (result == CUDA_SUCCESS)
    return;
  const char *name = "?";
  cuGetErrorName(result, &name);
  std::fprintf(stderr, "%s: %s\n", what, name);
  std::exit(2);
}
#define CHECK(call) check(call, #call)

struct Buffer {
  explicit Buffer(size_t bytes) { CHECK(cuMemAlloc(&pointer, bytes)); }
  ~Buffer() { cuMemFree(pointer); }
  CUdeviceptr pointer = 0;
};

static CUmodule module_;
static CUfunction function(const char *name) {
  CUfunction f;
  CHECK(cuModuleGetFunction(&f, module_, name));
  return f;
}

static bool vectorAdd(const char *kernel) {
  int n = 50000;
  size_t bytes = n * sizeof(float);
  std::vector<float> a(n), b(n), c(n);
  for (int i = 0; i < n; ++i)
    a[i] = i * 0.25f, b[i] = 3.0f - i;
  Buffer da(bytes), db(bytes), dc(bytes);
  CHECK(cuMemcpyHtoD(da.pointer, a.data(), bytes));
  CHECK(cuMemcpyHtoD(db.pointer, b.data(), bytes));
  void *arguments[] = {&da.pointer, &db.pointer, &dc.pointer, &n};
  CHECK(cuLaunchKernel(function(kernel), (n + 255) / 256, 1, 1, 256, 1, 1, 0, nullptr, arguments,
                       nullptr));
  CHECK(cuCtxSynchronize());
  CHECK(cuMemcpyDtoH(c.data(), dc.pointer, bytes));
  for (int i = 0; i < n; ++i)
    if (c[i] != a[i] + b[i])
      return false;
  return true;
}

static bool matrixMul() {
  int m = 48, k = 64, n = 32;
  std::vector<float> a(m * k), b(k * n), c(m * n);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = static_cast<float>(static_cast<int>(i % 13) - 6);
  for (size_t i = 0; i < b.size(); ++i)
    b[i] = static_cast<float>(static_cast<int>(i % 7) - 3);
  Buffer da(a.size() * 4), db(b.size() * 4), dc(c.size() * 4);
  CHECK(cuMemcpyHtoD(da.pointer, a.data(), a.size() * 4));
  CHECK(cuMemcpyHtoD(db.pointer, b.data(), b.size() * 4));
  void *arguments[] = {&da.pointer, &db.pointer, &dc.pointer, &k, &n};
  CHECK(cuLaunchKernel(function("matrixMul"), n / 16, m / 16, 1, 16, 16, 1, 0, nullptr, arguments,
                       nullptr));
  CHECK(cuMemcpyDtoH(c.data(), dc.pointer, c.size() * 4));
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int l = 0; l < k; ++l)
        sum += a[i * k + l] * b[l * n + j];
      if (c[i * n + j] != sum) // whole numbers: exact in any order
        return false;
    }
  return true;
}

/// Sums on one stream what another uploads, an event between them.
static bool streams(bool withEvent) {
  int n = 4096, *pinned = nullptr;
  CHECK(cuMemAllocHost(reinterpret_cast<void **>(&pinned), n * sizeof(int) + 4));
  for (int i = 0; i < n; ++i)
    pinned[i] = i;
  CUstream upload, compute;
  CUevent uploaded;
  CHECK(cuStreamCreate(&upload, CU_STREAM_NON_BLOCKING));
  CHECK(cuStreamCreate(&compute, CU_STREAM_NON_BLOCKING));
  CHECK(cuEventCreate(&uploaded, CU_EVENT_DISABLE_TIMING));
  Buffer in(n * sizeof(int)), out(sizeof(int));
  CHECK(cuMemsetD32(in.pointer, 0, n));
  CHECK(cuMemsetD32(out.pointer, 0, 1));
  CHECK(cuCtxSynchronize());
  CHECK(cuMemcpyHtoDAsync(in.pointer, pinned, n * sizeof(int), upload));
  CHECK(cuEventRecord(uploaded, upload));
  if (withEvent)
    CHECK(cuStreamWaitEvent(compute, uploaded, 0));
  void *arguments[] = {&in.pointer, &out.pointer, &n};
  CHECK(cuLaunchKernel(function("reduceSum"), 4, 1, 1, 256, 1, 1, 0, compute, arguments, nullptr));
  CHECK(cuMemcpyDtoHAsync(pinned + n, out.pointer, sizeof(int), compute));
  CHECK(cuCtxSynchronize());
  bool isRight = pinned[n] == n / 2 * (n - 1);
  CHECK(cuMemFreeHost(pinned));
  return isRight;
}

static bool graphs() {
  int n = 1024, *pinned = nullptr;
  CHECK(cuMemAllocHost(reinterpret_cast<void **>(&pinned), n * sizeof(int) + 4));
  CUstream stream;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  Buffer in(n * sizeof(int)), out(sizeof(int));
  CUfunction f = function("reduceSum");
  CHECK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CHECK(cuMemcpyHtoDAsync(in.pointer, pinned, n * sizeof(int), stream));
  CHECK(cuMemsetD32Async(out.pointer, 0, 1, stream));
  void *arguments[] = {&in.pointer, &out.pointer, &n};
  CHECK(cuLaunchKernel(f, 4, 1, 1, 128, 1, 1, 0, stream, arguments, nullptr));
  CHECK(cuMemcpyDtoHAsync(pinned + n, out.pointer, sizeof(int), stream));
  CUgraph graph;
  CUgraphExec exec;
  CHECK(cuStreamEndCapture(stream, &graph));
  CHECK(cuGraphInstantiate(&exec, graph, 0));
  bool isRight = true;
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < n; ++i)
      pinned[i] = round;
    CHECK(cuGraphLaunch(exec, stream));
    CHECK(cuStreamSynchronize(stream));
    isRight = isRight && pinned[n] == round * n;
  }
  CHECK(cuMemFreeHost(pinned));
  return isRight;
}

int main(int argc, char **argv) {
  if (argc < 2)
    return 1;
  std::string mistake = argc > 2 ? argv[2] : "";
  CUdevice device;
  CUcontext context;
  char name[100];
  CHECK(cuInit(0));
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuDeviceGetName(name, sizeof name, device));
  std::printf("%s\n", name);
  CHECK(cuDevicePrimaryCtxRetain(&context, device));
  CHECK(cuCtxSetCurrent(context));
  CHECK(cuModuleLoad(&module_, argv[1]));
  if (mistake == "crash")
    std::abort();
  bool isRight = vectorAdd(mistake == "out-of-bounds" ? "vectorAddUnchecked" : "vectorAdd");
  isRight = matrixMul() && isRight;
  isRight = streams(mistake != "missing-event") && isRight;
  isRight = graphs() && isRight;
  std::printf("%s\n", isRight ? "PASSED" : "FAILED");
  CHECK(cuModuleUnload(module_));
  CHECK(cuDevicePrimaryCtxRelease(device));
  return isRight ? 0 : 3;
}
