// Devices, contexts, names of entry points.
#include "tools/ptxsim/driver/api_testing.h"

#include <cstring>
#include <thread>

namespace platen::ptxsim {
namespace {

TEST(Initialisation, CallsBeforeCuInitAreRefused) {
  int count = -1;
  EXPECT_CU(ERROR_NOT_INITIALIZED, cuDeviceGetCount(&count));
  EXPECT_CU(ERROR_INVALID_VALUE, cuInit(1));
  int version = 0;
  EXPECT_OK(cuDriverGetVersion(&version));
  EXPECT_EQ(version, 13000);
  initialiseDriver();
  EXPECT_OK(cuDeviceGetCount(&count));
  EXPECT_EQ(count, 3);
}

TEST(Errors, HaveNamesAndTexts) {
  const char *text = nullptr;
  EXPECT_OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  EXPECT_OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_CU(ERROR_INVALID_VALUE, cuGetErrorName(static_cast<CUresult>(12345), &text));
  EXPECT_EQ(text, nullptr);
}

int attribute(CUdevice device, CUdevice_attribute which) {
  int value = -1;
  EXPECT_OK(cuDeviceGetAttribute(&value, which, device));
  return value;
}

TEST_F(DriverTest, DevicesClaimTheirArchitecture) {
  char name[64];
  ASSERT_OK(cuDeviceGetName(name, sizeof name, 2));
  EXPECT_STREQ(name, "platen simulated sm_90a");
  EXPECT_OK(cuDeviceGetName(name, 8, 2));
  EXPECT_STREQ(name, "platen ");
  EXPECT_EQ(attribute(0, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 8);
  EXPECT_EQ(attribute(0, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR), 0);
  EXPECT_EQ(attribute(0, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 163 * 1024);
  EXPECT_EQ(attribute(0, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 108);
  EXPECT_EQ(attribute(0, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), 0);
  EXPECT_EQ(attribute(2, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 9);
  EXPECT_EQ(attribute(2, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 227 * 1024);
  EXPECT_EQ(attribute(2, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), 1);
  EXPECT_EQ(attribute(2, CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
  EXPECT_EQ(attribute(2, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING), 1);
  int value = 0;
  EXPECT_CU(ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 3));
  EXPECT_CU(ERROR_INVALID_VALUE,
            cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(9999), 0));
  size_t bytes = 0;
  EXPECT_OK(cuDeviceTotalMem(&bytes, 1));
  EXPECT_EQ(bytes, size_t{64} << 20);
  CUuuid first{}, second{};
  EXPECT_OK(cuDeviceGetUuid(&first, 0));
  EXPECT_OK(cuDeviceGetUuid(&second, 1));
  EXPECT_NE(std::memcmp(&first, &second, sizeof first), 0);
  char bus[20];
  CUdevice device = -1;
  EXPECT_OK(cuDeviceGetPCIBusId(bus, sizeof bus, 2));
  EXPECT_OK(cuDeviceGetByPCIBusId(&device, bus));
  EXPECT_EQ(device, 2);
}

TEST_F(DriverTest, PeersFollowTheMatrix) {
  int can = -1;
  EXPECT_OK(cuDeviceCanAccessPeer(&can, 0, 1));
  EXPECT_EQ(can, 1);
  EXPECT_OK(cuDeviceCanAccessPeer(&can, 0, 2));
  EXPECT_EQ(can, 0);
  EXPECT_OK(cuDeviceGetP2PAttribute(&can, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 1, 0));
  EXPECT_EQ(can, 1);
  CUcontext second = nullptr, third = nullptr;
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 1));
  ASSERT_OK(cuCtxCreate(&third, nullptr, 0, 2));
  ASSERT_OK(cuCtxSetCurrent(context_));
  EXPECT_CU(ERROR_PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(second));
  EXPECT_OK(cuCtxEnablePeerAccess(second, 0));
  EXPECT_CU(ERROR_PEER_ACCESS_ALREADY_ENABLED, cuCtxEnablePeerAccess(second, 0));
  EXPECT_CU(ERROR_PEER_ACCESS_UNSUPPORTED, cuCtxEnablePeerAccess(third, 0));
  EXPECT_OK(cuCtxDestroy(second));
  EXPECT_OK(cuCtxDestroy(third));
}

TEST_F(DriverTest, ContextsAreAStackOfEachThread) {
  CUcontext current = nullptr, second = nullptr, popped = nullptr;
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 1));
  EXPECT_OK(cuCtxGetCurrent(&current));
  EXPECT_EQ(current, second);
  CUdevice device = -1;
  EXPECT_OK(cuCtxGetDevice(&device));
  EXPECT_EQ(device, 1);
  EXPECT_OK(cuCtxPopCurrent(&popped));
  EXPECT_EQ(popped, second);
  EXPECT_OK(cuCtxGetCurrent(&current));
  EXPECT_EQ(current, context_);
  std::thread([&] {
    CUdeviceptr pointer = 0;
    EXPECT_CU(ERROR_INVALID_CONTEXT, cuMemAlloc(&pointer, 16));
    EXPECT_OK(cuCtxSetCurrent(second));
    EXPECT_OK(cuMemAlloc(&pointer, 16));
  }).join();
  EXPECT_OK(cuCtxDestroy(second));
  EXPECT_CU(ERROR_INVALID_CONTEXT, cuCtxPushCurrent(second));
  EXPECT_CU(ERROR_INVALID_CONTEXT, cuCtxDestroy(second));
}

TEST_F(DriverTest, CallsInADestroyedContextSaySo) {
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate(&second, nullptr, 0, 0));
  std::thread([&] { EXPECT_OK(cuCtxDestroy(second)); }).join();
  CUdeviceptr pointer = 0;
  EXPECT_CU(ERROR_CONTEXT_IS_DESTROYED, cuMemAlloc(&pointer, 16));
  EXPECT_OK(cuCtxPopCurrent(nullptr));
  EXPECT_OK(cuMemAlloc(&pointer, 16));
}

TEST_F(DriverTest, PrimaryContextsAreCounted) {
  CUcontext first = nullptr, second = nullptr;
  unsigned flags = 0;
  int active = -1;
  EXPECT_OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 0);
  ASSERT_OK(cuDevicePrimaryCtxRetain(&first, 1));
  ASSERT_OK(cuDevicePrimaryCtxRetain(&second, 1));
  EXPECT_EQ(first, second);
  EXPECT_OK(cuDevicePrimaryCtxRelease(1));
  EXPECT_OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 1);
  EXPECT_CU(ERROR_INVALID_CONTEXT, cuCtxDestroy(first));
  EXPECT_OK(cuDevicePrimaryCtxRelease(1));
  EXPECT_OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 0);
  EXPECT_CU(ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease(1));
}

TEST_F(DriverTest, LimitsAndPriorities) {
  size_t value = 0;
  EXPECT_OK(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
  EXPECT_OK(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
  EXPECT_EQ(value, 4096u);
  EXPECT_CU(ERROR_UNSUPPORTED_LIMIT, cuCtxSetLimit(CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH, 2));
  EXPECT_CU(ERROR_INVALID_VALUE, cuCtxSetLimit(static_cast<CUlimit>(99), 2));
  int least = -1, greatest = 1;
  EXPECT_OK(cuCtxGetStreamPriorityRange(&least, &greatest));
  EXPECT_EQ(least, 0);
  EXPECT_LT(greatest, 0);
}

TEST_F(DriverTest, EntryPointsAreFoundByNameAndVersion) {
  void *symbol = nullptr;
  CUdriverProcAddressQueryResult status{};
  EXPECT_OK(cuGetProcAddress("cuMemAlloc", &symbol, 13000, 0, &status));
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
  EXPECT_EQ(symbol, reinterpret_cast<void *>(&cuMemAlloc)); // cuda.h's name for _v2
  void *perThread = nullptr;
  EXPECT_OK(
      cuGetProcAddress("cuMemcpyHtoD", &symbol, 13000, CU_GET_PROC_ADDRESS_LEGACY_STREAM, nullptr));
  EXPECT_OK(cuGetProcAddress("cuMemcpyHtoD", &perThread, 13000,
                             CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, nullptr));
  EXPECT_NE(symbol, perThread);
  EXPECT_OK(cuGetProcAddress("cuGraphAddDependencies", &symbol, 12000, 0, nullptr));
  EXPECT_OK(cuGetProcAddress("cuGraphAddDependencies", &perThread, 13000, 0, nullptr));
  EXPECT_NE(symbol, perThread); // with and without data of the edges
  EXPECT_CU(ERROR_NOT_FOUND, cuGetProcAddress("cuNoSuchThing", &symbol, 13000, 0, nullptr));
  EXPECT_OK(cuGetProcAddress("cuNoSuchThing", &symbol, 13000, 0, &status));
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

TEST_F(DriverTest, WhatIsNotThereIsRefusedByCode) {
  CUipcMemHandle handle{};
  EXPECT_CU(ERROR_NOT_SUPPORTED, cuIpcGetMemHandle(&handle, allocate(16)));
  CUarray array = nullptr;
  EXPECT_CU(ERROR_NOT_SUPPORTED, cuArrayCreate(&array, nullptr));
  const void *table = &table;
  CUuuid id{};
  EXPECT_CU(ERROR_NOT_FOUND, cuGetExportTable(&table, &id));
  EXPECT_EQ(table, nullptr);
}

TEST_F(DriverTest, TensorMapsAreEncodedWithinTheirLimits) {
  CUtensorMap map;
  CUdeviceptr p = allocate(64 * 64 * 2);
  cuuint64_t extent[] = {64, 64}, stride[] = {128};
  cuuint32_t box[] = {64, 32}, steps[] = {1, 1};
  auto encode = [&](CUtensorMapSwizzle swizzle) {
    return cuTensorMapEncodeTiled(
        &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, reinterpret_cast<void *>(p), extent, stride, box,
        steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  EXPECT_OK(encode(CU_TENSOR_MAP_SWIZZLE_128B));
  EXPECT_CU(ERROR_INVALID_VALUE, encode(CU_TENSOR_MAP_SWIZZLE_64B)); // the box is too wide
  box[0] = 257;
  EXPECT_CU(ERROR_INVALID_VALUE, encode(CU_TENSOR_MAP_SWIZZLE_NONE));
  box[0] = 32;
  stride[0] = 100; // no multiple of 16
  EXPECT_CU(ERROR_INVALID_VALUE, encode(CU_TENSOR_MAP_SWIZZLE_NONE));
}

} // namespace
} // namespace platen::ptxsim
