// Memory: allocation, copies of every direction and shape, fills, pools, attributes of pointers.
#include "tools/ptxsim/driver/api_testing.h"

#include <cstring>
#include <numeric>

namespace platen::ptxsim {
namespace {

std::vector<uint8_t> ramp(size_t n) {
  std::vector<uint8_t> bytes(n);
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  return bytes;
}

TEST_F(DriverTest, MemoryRunsOutAndComesBack) {
  size_t free = 0, total = 0;
  ASSERT_OK(cuMemGetInfo(&free, &total));
  EXPECT_EQ(total, size_t{64} << 20);
  EXPECT_EQ(free, total);
  CUdeviceptr large = allocate(size_t{48} << 20), more = 0;
  EXPECT_CU(ERROR_OUT_OF_MEMORY, cuMemAlloc(&more, size_t{32} << 20));
  EXPECT_OK(cuMemFree(large));
  EXPECT_OK(cuMemAlloc(&more, size_t{32} << 20));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemAlloc(&more, 0));
}

TEST_F(DriverTest, FreesAreChecked) {
  CUdeviceptr p = allocate(256);
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemFree(p + 16));
  EXPECT_OK(cuMemFree(p));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemFree(p));
  EXPECT_OK(cuMemFree(0));
}

TEST_F(DriverTest, CopiesStayInsideOfAllocations) {
  CUdeviceptr p = allocate(256);
  std::vector<uint8_t> host(512);
  EXPECT_OK(cuMemcpyHtoD(p, host.data(), 256));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemcpyHtoD(p, host.data(), 257));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemcpyDtoH(host.data(), p + 200, 57));
  EXPECT_CU(ERROR_INVALID_VALUE,
            cuMemcpyHtoD(reinterpret_cast<CUdeviceptr>(host.data()), host.data(), 1));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemsetD8(p, 0, 300));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemsetD32(p + 2, 0, 1));
}

TEST_F(DriverTest, CopiesGoEveryWay) {
  auto bytes = ramp(1000);
  CUdeviceptr a = upload(bytes), b = allocate(1000);
  EXPECT_OK(cuMemcpyDtoD(b, a, 1000));
  EXPECT_EQ(download<uint8_t>(b, 1000), bytes);
  void *pinned = nullptr;
  ASSERT_OK(cuMemAllocHost(&pinned, 1000));
  EXPECT_OK(cuMemcpy(reinterpret_cast<CUdeviceptr>(pinned), a, 1000));
  EXPECT_EQ(std::memcmp(pinned, bytes.data(), 1000), 0);
  std::vector<uint8_t> other(1000);
  EXPECT_OK(cuMemcpy(reinterpret_cast<CUdeviceptr>(other.data()),
                     reinterpret_cast<CUdeviceptr>(pinned), 1000));
  EXPECT_EQ(other, bytes);
  EXPECT_OK(cuMemFreeHost(pinned));
}

TEST_F(DriverTest, BoxesAreCopiedRowByRow) {
  CUdeviceptr p = 0;
  size_t pitch = 0;
  ASSERT_OK(cuMemAllocPitch(&p, &pitch, 10, 4, 4));
  EXPECT_EQ(pitch % 512, 0u);
  auto bytes = ramp(40);
  CUDA_MEMCPY2D in{};
  in.srcMemoryType = CU_MEMORYTYPE_HOST;
  in.srcHost = bytes.data();
  in.srcPitch = 10;
  in.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  in.dstDevice = p;
  in.dstPitch = pitch;
  in.WidthInBytes = 10;
  in.Height = 4;
  ASSERT_OK(cuMemcpy2D(&in));
  EXPECT_EQ(download<uint8_t>(p + 2 * pitch + 3, 1)[0], bytes[23]);
  // Back through a three-dimensional copy: rows 1 and 2, bytes 2..5, as two planes of one row.
  std::vector<uint8_t> out(32, 0xEE);
  CUDA_MEMCPY3D box{};
  box.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  box.srcDevice = p;
  box.srcPitch = pitch;
  box.srcHeight = 1;
  box.srcXInBytes = 2;
  box.srcZ = 1;
  box.dstMemoryType = CU_MEMORYTYPE_HOST;
  box.dstHost = out.data();
  box.dstPitch = 8;
  box.dstHeight = 2;
  box.WidthInBytes = 4;
  box.Height = 1;
  box.Depth = 2;
  ASSERT_OK(cuMemcpy3D(&box));
  EXPECT_EQ(std::vector<uint8_t>(out.begin(), out.begin() + 4),
            std::vector<uint8_t>(bytes.begin() + 12, bytes.begin() + 16));
  EXPECT_EQ(std::vector<uint8_t>(out.begin() + 16, out.begin() + 20),
            std::vector<uint8_t>(bytes.begin() + 22, bytes.begin() + 26));
  EXPECT_EQ(out[4], 0xEE);
  in.dstPitch = 9; // narrower than a row
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemcpy2D(&in));
}

TEST_F(DriverTest, FillsOfEveryWidth) {
  CUdeviceptr p = allocate(64);
  EXPECT_OK(cuMemsetD8(p, 0x11, 64));
  EXPECT_OK(cuMemsetD16(p, 0x2233, 4));
  EXPECT_OK(cuMemsetD32(p + 16, 0x44556677, 2));
  EXPECT_OK(cuMemsetD2D8(p + 32, 8, 0x99, 2, 3));
  auto bytes = download<uint8_t>(p, 64);
  EXPECT_EQ(bytes[0], 0x33);
  EXPECT_EQ(bytes[7], 0x22);
  EXPECT_EQ(bytes[8], 0x11);
  EXPECT_EQ(bytes[16], 0x77);
  EXPECT_EQ(bytes[23], 0x44);
  EXPECT_EQ(bytes[32], 0x99);
  EXPECT_EQ(bytes[34], 0x11);
  EXPECT_EQ(bytes[49], 0x99);
  EXPECT_EQ(bytes[56], 0x11);
}

TEST_F(DriverTest, PointersKnowWhatTheyAre) {
  CUdeviceptr p = allocate(256);
  void *pinned = nullptr;
  ASSERT_OK(cuMemHostAlloc(&pinned, 128, CU_MEMHOSTALLOC_DEVICEMAP));
  unsigned type = 0;
  EXPECT_OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 10));
  EXPECT_EQ(type, static_cast<unsigned>(CU_MEMORYTYPE_DEVICE));
  auto host = reinterpret_cast<CUdeviceptr>(pinned);
  EXPECT_OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, host));
  EXPECT_EQ(type, static_cast<unsigned>(CU_MEMORYTYPE_HOST));
  CUdeviceptr mapped = 0;
  EXPECT_OK(cuMemHostGetDevicePointer(&mapped, pinned, 0));
  int ordinal = -1;
  EXPECT_OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, p));
  EXPECT_EQ(ordinal, 0);
  int local = 0;
  EXPECT_CU(ERROR_INVALID_VALUE, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                                       reinterpret_cast<CUdeviceptr>(&local)));
  CUdeviceptr base = 0;
  size_t size = 0;
  EXPECT_OK(cuMemGetAddressRange(&base, &size, p + 100));
  EXPECT_EQ(base, p);
  EXPECT_EQ(size, 256u);
  EXPECT_OK(cuMemFreeHost(pinned));
}

TEST_F(DriverTest, HostMemoryIsRegisteredOnce) {
  std::vector<uint32_t> host(1024, 3);
  ASSERT_OK(cuMemHostRegister(host.data(), 4096, CU_MEMHOSTREGISTER_DEVICEMAP));
  EXPECT_CU(ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(host.data() + 8, 64, 0));
  CUdeviceptr p = 0;
  ASSERT_OK(cuMemHostGetDevicePointer(&p, host.data(), 0));
  EXPECT_OK(launch(function(kArithmetic, "scale"), 8, 128, nullptr, p, 1024u, 5u));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(host[1023], 15u);
  EXPECT_OK(cuMemHostUnregister(host.data()));
  EXPECT_CU(ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(host.data()));
}

TEST_F(DriverTest, ManagedMemoryIsReachedFromBothSides) {
  CUdeviceptr p = 0;
  ASSERT_OK(cuMemAllocManaged(&p, 4096, CU_MEM_ATTACH_GLOBAL));
  auto *host = reinterpret_cast<uint32_t *>(p);
  for (uint32_t i = 0; i < 1024; ++i)
    host[i] = i;
  EXPECT_OK(launch(function(kArithmetic, "scale"), 8, 128, nullptr, p, 1024u, 3u));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(host[1000], 3000u);
  EXPECT_OK(cuMemFree(p));
}

TEST_F(DriverTest, PoolsGiveMemoryInStreamOrder) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUdeviceptr p = 0, q = 0;
  ASSERT_OK(cuMemAllocAsync(&p, size_t{40} << 20, stream));
  EXPECT_OK(cuMemsetD8Async(p, 7, size_t{40} << 20, stream));
  EXPECT_OK(cuMemFreeAsync(p, stream));
  EXPECT_CU(ERROR_INVALID_VALUE, cuMemFreeAsync(p, stream)); // twice
  EXPECT_OK(cuMemAllocAsync(&q, size_t{40} << 20, stream));  // fits once the first is freed
  EXPECT_OK(cuStreamSynchronize(stream));
  CUmemoryPool pool = nullptr;
  cuuint64_t used = 0;
  EXPECT_OK(cuDeviceGetDefaultMemPool(&pool, 0));
  EXPECT_OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT_EQ(used, size_t{40} << 20);
  EXPECT_OK(cuMemFree(q));
}

TEST_F(DriverTest, PeerCopiesAndPeerAccess) {
  CUcontext second = nullptr;
  auto bytes = ramp(256);
  CUdeviceptr here = upload(bytes);
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 1));
  CUdeviceptr there = allocate(256);
  EXPECT_OK(cuMemcpyPeer(there, second, here, context_, 256));
  EXPECT_EQ(download<uint8_t>(there, 256), bytes);
  // A kernel of device 1 may touch memory of device 0 only once that is enabled.
  CUfunction set = function(kArithmetic, "set_value");
  EXPECT_OK(cuCtxEnablePeerAccess(context_, 0));
  EXPECT_OK(launch(set, 1, 1, nullptr, here, 77u));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuCtxDisablePeerAccess(context_));
  EXPECT_OK(launch(set, 1, 1, nullptr, here, 78u));
  EXPECT_CU(ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  EXPECT_OK(cuCtxDestroy(second));
  ASSERT_OK(cuCtxSetCurrent(context_));
  EXPECT_EQ(download<uint32_t>(here, 1)[0], 77u);
}

} // namespace
} // namespace platen::ptxsim
