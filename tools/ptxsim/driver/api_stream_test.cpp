// Streams and events: what is ordered, and that what is not ordered shows.
#include "tools/ptxsim/driver/api_testing.h"

#include <atomic>
#include <cstring>
#include <thread>

namespace platen::ptxsim {
namespace {

class StreamTest : public DriverTest {
protected:
  void SetUp() override {
    DriverTest::SetUp();
    for (CUstream &stream : streams_)
      ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    ASSERT_OK(cuMemAllocHost(reinterpret_cast<void **>(&pinned_), 4096));
    std::memset(pinned_, 0, 4096);
    set_ = function(kArithmetic, "set_value");
    scale_ = function(kArithmetic, "scale");
  }
  CUevent event() {
    CUevent result = nullptr;
    EXPECT_OK(cuEventCreate(&result, CU_EVENT_DISABLE_TIMING));
    return result;
  }
  uint32_t valueAt(CUdeviceptr p) {
    uint32_t value = 0;
    EXPECT_OK(cuMemcpyDtoH(&value, p, 4)); // waits for blocking streams only
    return value;
  }
  CUstream streams_[3]{};
  uint32_t *pinned_ = nullptr;
  CUfunction set_ = nullptr, scale_ = nullptr;
};

TEST_F(StreamTest, ReadingWithoutSynchronisationShows) {
  CUdeviceptr p = upload(std::vector<uint32_t>{123});
  EXPECT_OK(cuMemcpyDtoHAsync(pinned_, p, 4, streams_[0]));
  EXPECT_EQ(pinned_[0], 0u); // not there before somebody waits
  EXPECT_CU(ERROR_NOT_READY, cuStreamQuery(streams_[0]));
  EXPECT_OK(cuStreamSynchronize(streams_[0]));
  EXPECT_EQ(pinned_[0], 123u);
  EXPECT_OK(cuStreamQuery(streams_[0]));
}

TEST_F(StreamTest, PinnedSourcesAreReadLateAndPageableOnesAtTheCall) {
  CUdeviceptr p = allocate(8);
  uint32_t pageable = 7;
  pinned_[0] = 7;
  EXPECT_OK(cuMemcpyHtoDAsync(p, pinned_, 4, streams_[0]));
  EXPECT_OK(cuMemcpyHtoDAsync(p + 4, &pageable, 4, streams_[0]));
  pinned_[0] = pageable = 8; // too early for the first, legal for the second
  EXPECT_OK(cuStreamSynchronize(streams_[0]));
  EXPECT_EQ(download<uint32_t>(p, 2), (std::vector<uint32_t>{8, 7}));
}

TEST_F(StreamTest, TheLastLegOfAPageableCopyIsAsynchronous) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  uint32_t value = 2;
  EXPECT_OK(cuMemcpyHtoD(p, &value, 4));                    // returns once the bytes are staged
  EXPECT_OK(cuMemcpyDtoHAsync(pinned_, p, 4, streams_[0])); // does not wait for the legacy stream
  EXPECT_OK(cuStreamSynchronize(streams_[0]));
  EXPECT_EQ(pinned_[0], 1u);
  EXPECT_EQ(valueAt(p), 2u); // in the legacy stream it is ordered
}

TEST_F(StreamTest, AMissingEventBetweenStreamsShows) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  ASSERT_OK(cuCtxSynchronize());
  EXPECT_OK(launch(set_, 1, 1, streams_[0], p, 10u));
  EXPECT_OK(launch(scale_, 1, 32, streams_[1], p, 1u, 3u)); // should wait for the first
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(valueAt(p), 10u); // and not 30
}

TEST_F(StreamTest, EventsOrderStreams) {
  for (int round = 0; round < 20; ++round) {
    CUdeviceptr p = upload(std::vector<uint32_t>{1});
    CUevent written = event();
    EXPECT_OK(launch(set_, 1, 1, streams_[0], p, 10u));
    EXPECT_OK(cuEventRecord(written, streams_[0]));
    EXPECT_OK(cuStreamWaitEvent(streams_[1], written, 0));
    EXPECT_OK(launch(scale_, 1, 32, streams_[1], p, 1u, 3u));
    EXPECT_OK(cuEventDestroy(written)); // legal: what was recorded stays
    EXPECT_OK(cuStreamSynchronize(streams_[1]));
    EXPECT_EQ(valueAt(p), 30u);
  }
}

TEST_F(StreamTest, EventsAreDoneWhenTheirStreamWas) {
  CUdeviceptr p = allocate(4);
  CUevent written = event();
  EXPECT_OK(cuEventQuery(written)); // never recorded
  EXPECT_OK(launch(set_, 1, 1, streams_[0], p, 10u));
  EXPECT_OK(cuEventRecord(written, streams_[0]));
  EXPECT_CU(ERROR_NOT_READY, cuEventQuery(written));
  EXPECT_OK(cuEventSynchronize(written));
  EXPECT_OK(cuEventQuery(written));
  EXPECT_OK(cuEventDestroy(written));
  EXPECT_CU(ERROR_INVALID_HANDLE, cuEventQuery(written));
}

TEST_F(StreamTest, NoTimeIsTakenForAMeasuredOne) {
  CUevent start = nullptr, end = nullptr;
  ASSERT_OK(cuEventCreate(&start, 0));
  ASSERT_OK(cuEventCreate(&end, 0));
  float time = -1;
  EXPECT_CU(ERROR_INVALID_HANDLE, cuEventElapsedTime(&time, start, end));
  EXPECT_OK(cuEventRecord(start, streams_[0]));
  EXPECT_OK(cuEventRecord(end, streams_[0]));
  EXPECT_OK(cuEventSynchronize(end));
  EXPECT_CU(ERROR_NOT_SUPPORTED, cuEventElapsedTime(&time, start, end));
  EXPECT_EQ(time, -1);
  EXPECT_CU(ERROR_INVALID_HANDLE, cuEventElapsedTime(&time, start, event()));
}

TEST_F(StreamTest, TheLegacyStreamWaitsForBlockingStreamsAndTheyForIt) {
  CUstream blocking = nullptr;
  ASSERT_OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  CUdeviceptr p = allocate(4);
  for (int round = 0; round < 20; ++round) {
    EXPECT_OK(launch(set_, 1, 1, blocking, p, 10u));
    EXPECT_OK(launch(scale_, 1, 32, nullptr, p, 1u, 3u));
    EXPECT_OK(launch(scale_, 1, 32, blocking, p, 1u, 2u));
    EXPECT_EQ(valueAt(p), 60u); // a copy in the legacy stream
  }
  // A non-blocking stream is not ordered with it.
  EXPECT_OK(launch(set_, 1, 1, streams_[0], p, 5u));
  EXPECT_EQ(valueAt(p), 60u);
  EXPECT_OK(cuStreamSynchronize(streams_[0]));
  EXPECT_EQ(valueAt(p), 5u);
}

TEST_F(StreamTest, PerThreadStreamsBlockWithTheLegacyOneOnly) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  ASSERT_OK(cuCtxSynchronize());
  EXPECT_OK(launch(set_, 1, 1, CU_STREAM_PER_THREAD, p, 4u));
  EXPECT_OK(launch(scale_, 1, 32, CU_STREAM_LEGACY, p, 1u, 3u));
  EXPECT_EQ(valueAt(p), 12u);
  void *entry = nullptr;
  ASSERT_OK(cuGetProcAddress("cuLaunchKernel", &entry, 13000,
                             CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, nullptr));
  auto *perThread = reinterpret_cast<decltype(&cuLaunchKernel)>(entry);
  uint32_t value = 9;
  void *arguments[] = {&p, &value};
  EXPECT_OK(perThread(set_, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr));
  EXPECT_CU(ERROR_NOT_READY, cuStreamQuery(CU_STREAM_PER_THREAD));
  EXPECT_OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
  EXPECT_EQ(valueAt(p), 9u);
}

struct Trace {
  std::atomic<int> count{0};
  std::atomic<CUresult> inside{CUDA_SUCCESS};
};

TEST_F(StreamTest, HostFunctionsRunInOrderAndMayNotCallTheDriver) {
  Trace trace;
  CUdeviceptr p = upload(std::vector<uint32_t>{123});
  EXPECT_OK(cuMemcpyDtoHAsync(pinned_, p, 4, streams_[0]));
  struct Data {
    Trace *trace;
    uint32_t *value;
  } data{&trace, pinned_};
  EXPECT_OK(cuLaunchHostFunc(
      streams_[0],
      [](void *pointer) {
        auto *d = static_cast<Data *>(pointer);
        d->trace->count = static_cast<int>(*d->value);
        CUdeviceptr unused = 0;
        d->trace->inside = cuMemAlloc(&unused, 16);
      },
      &data));
  EXPECT_OK(cuStreamAddCallback(
      streams_[0],
      [](CUstream, CUresult status, void *pointer) {
        auto *d = static_cast<Data *>(pointer);
        d->trace->count = d->trace->count + (status == CUDA_SUCCESS ? 1 : 1000);
      },
      &data, 0));
  EXPECT_EQ(trace.count, 0);
  EXPECT_OK(cuStreamSynchronize(streams_[0]));
  EXPECT_EQ(trace.count, 124);
  EXPECT_EQ(nameOf(trace.inside), nameOf(CUDA_ERROR_NOT_PERMITTED));
}

TEST_F(StreamTest, CallbacksLearnOfAFailure) {
  std::atomic<int> status{-1};
  EXPECT_OK(launch(set_, 1, 1, streams_[0], allocate(4) + 64, 10u));
  EXPECT_OK(cuStreamAddCallback(
      streams_[0],
      [](CUstream, CUresult result, void *pointer) {
        *static_cast<std::atomic<int> *>(pointer) = result;
      },
      &status, 0));
  EXPECT_CU(ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(streams_[0]));
  EXPECT_CU(ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  for (int i = 0; i < 1000 && status == -1; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(status, CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_F(StreamTest, DestroyedStreamsFinishTheirWork) {
  CUdeviceptr p = upload(std::vector<uint32_t>{1});
  EXPECT_OK(launch(set_, 1, 1, streams_[0], p, 10u));
  EXPECT_OK(cuStreamDestroy(streams_[0]));
  EXPECT_CU(ERROR_INVALID_HANDLE, cuStreamSynchronize(streams_[0]));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(valueAt(p), 10u);
}

TEST_F(StreamTest, UnloadingAModuleWaitsForItsKernels) {
  CUmodule module = load(kArithmetic);
  CUfunction f = nullptr;
  ASSERT_OK(cuModuleGetFunction(&f, module, "set_value"));
  CUdeviceptr p = allocate(4);
  EXPECT_OK(launch(f, 1, 1, streams_[0], p, 10u));
  EXPECT_OK(cuModuleUnload(module));
  EXPECT_OK(cuStreamQuery(streams_[0]));
  EXPECT_EQ(valueAt(p), 10u);
  EXPECT_CU(ERROR_INVALID_HANDLE, launch(f, 1, 1, streams_[0], p, 10u));
  EXPECT_CU(ERROR_INVALID_HANDLE, cuModuleUnload(module));
}

TEST_F(StreamTest, AContextGoesWithItsWorkAndItsHandles) {
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 0));
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, 0));
  CUdeviceptr p = allocate(1 << 20);
  EXPECT_OK(cuMemsetD8Async(p, 1, 1 << 20, stream));
  EXPECT_OK(cuCtxDestroy(second));
  EXPECT_CU(ERROR_INVALID_HANDLE, cuStreamSynchronize(stream));
  size_t free = 0, total = 0;
  EXPECT_OK(cuMemGetInfo(&free, &total));
  EXPECT_GT(free, total - (1 << 20)); // its memory came back
}

TEST_F(StreamTest, FreeInStreamOrderCatchesLateUse) {
  CUdeviceptr p = 0;
  ASSERT_OK(cuMemAllocAsync(&p, 4, streams_[0]));
  EXPECT_OK(launch(set_, 1, 1, streams_[1], p, 10u)); // not ordered before the free
  EXPECT_OK(cuMemFreeAsync(p, streams_[0]));
  EXPECT_OK(cuStreamSynchronize(streams_[0]));
  EXPECT_CU(ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(streams_[1]));
}

TEST_F(StreamTest, ManyThreadsAndDevices) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      CUcontext context = nullptr;
      ASSERT_OK(cuCtxCreate(&context, nullptr, 0, t % 3));
      CUstream stream = nullptr;
      ASSERT_OK(cuStreamCreate(&stream, t % 2));
      CUmodule module = nullptr;
      ASSERT_OK(cuModuleLoadData(&module, kArithmetic.c_str()));
      CUfunction f = nullptr;
      ASSERT_OK(cuModuleGetFunction(&f, module, "scale"));
      CUdeviceptr p = 0;
      ASSERT_OK(cuMemAlloc(&p, 256));
      std::vector<uint32_t> host(64, 1);
      ASSERT_OK(cuMemcpyHtoDAsync(p, host.data(), 256, stream));
      uint32_t n = 64, factor = 3;
      void *arguments[] = {&p, &n, &factor};
      for (int i = 0; i < 10; ++i)
        ASSERT_OK(cuLaunchKernel(f, 2, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr));
      ASSERT_OK(cuMemcpyDtoHAsync(host.data(), p, 256, stream));
      EXPECT_EQ(host[63], 59049u); // pageable: complete at return
      ASSERT_OK(cuCtxDestroy(context));
    });
  for (auto &thread : threads)
    thread.join();
}

} // namespace
} // namespace platen::ptxsim
