#include "tools/ptxsim/driver/devices.h"

#include <algorithm>

namespace platen::ptxsim::driver {
namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * 1024;
constexpr DeviceTraits kTraits[] = {
    {75, 40, 64 * kKiB, 64 * kKiB, 1024, 16, 4 * kMiB, false},
    {80, 108, 163 * kKiB, 164 * kKiB, 2048, 32, 40 * kMiB, false},
    {86, 72, 99 * kKiB, 100 * kKiB, 1536, 16, 6 * kMiB, false},
    {87, 16, 163 * kKiB, 164 * kKiB, 1536, 16, 4 * kMiB, true},
    {88, 16, 99 * kKiB, 100 * kKiB, 1536, 16, 6 * kMiB, true},
    {89, 142, 99 * kKiB, 100 * kKiB, 1536, 24, 96 * kMiB, false},
    {90, 132, 227 * kKiB, 228 * kKiB, 2048, 32, 50 * kMiB, false},
    {100, 148, 227 * kKiB, 228 * kKiB, 2048, 32, 126 * kMiB, false},
    {103, 148, 227 * kKiB, 228 * kKiB, 2048, 32, 126 * kMiB, false},
    {110, 20, 227 * kKiB, 228 * kKiB, 1536, 24, 32 * kMiB, true},
    {120, 170, 99 * kKiB, 100 * kKiB, 1536, 24, 96 * kMiB, false},
    {121, 48, 99 * kKiB, 100 * kKiB, 1536, 24, 24 * kMiB, true},
};

std::optional<int> limitAttribute(const DeviceTraits &traits, CUdevice_attribute attribute) {
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
    return kLargestBlock;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
    return 64;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    return 0x7FFFFFFF;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
    return 65535;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
    return static_cast<int>(kSharedPerBlock);
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    return static_cast<int>(traits.sharedPerBlockOptin);
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
    return static_cast<int>(traits.sharedPerMultiprocessor);
  case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
    return static_cast<int>(kSharedReserved);
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
    return kRegistersPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
    return traits.multiprocessors;
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
    return traits.threadsPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
    return traits.blocksPerMultiprocessor;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
    return static_cast<int>(traits.l2Bytes);
  case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    return traits.isIntegrated;
  case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
    return 32;
  case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
    return 65536;
  case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
    return 0x7FFFFFFF;
  case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
  case CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT:
    return 512;
  case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT:
    return 32;
  default:
    return std::nullopt;
  }
}

/// What a device can do; what is not listed (textures, IPC, sparse arrays, …) it cannot: 0.
std::optional<int> abilityAttribute(Architecture device, int ordinal,
                                    CUdevice_attribute attribute) {
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
    return device.major();
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
    return device.minor();
  case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    return ordinal + 1;
  case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
  case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED:
    return device.number >= 90;
  case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    return 3;
  // No simulated clock may be taken for a real one, but programs divide by these: 1 GHz, 1024 bits.
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
    return 1000000;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
    return 1024;
  case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
    return device.number == 80 || device.number == 90 || device.number == 100 ? 2 : 64;
  case CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT:
    return device.number >= 90 ? 4 : 1;
  case CU_DEVICE_ATTRIBUTE_NUMA_ID:
  case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
    return -1;
  case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
  case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
  case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
  case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
  case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
  case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
  case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
  case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS:
    return 1;
  default:
    return 0;
  }
}

size_t roundUp(size_t value, size_t to) { return (value + to - 1) / to * to; }

} // namespace

const DeviceTraits &traitsOf(Architecture device) {
  const DeviceTraits *best = &kTraits[0];
  for (const DeviceTraits &row : kTraits)
    if (row.architecture <= device.number)
      best = &row;
  return *best;
}

std::optional<int> deviceAttribute(Architecture device, int ordinal, CUdevice_attribute attribute) {
  if (attribute < 1 || attribute >= CU_DEVICE_ATTRIBUTE_MAX)
    return std::nullopt;
  if (auto limit = limitAttribute(traitsOf(device), attribute))
    return limit;
  return abilityAttribute(device, ordinal, attribute);
}

int blocksPerMultiprocessor(const DeviceTraits &traits, int registers, size_t sharedBytes,
                            int threads) {
  if (threads <= 0 || threads > kLargestBlock)
    return 0;
  int warps = (threads + 31) / 32;
  // Registers are given out to warps in units of 256, warps in fours; shared memory in 128 bytes.
  size_t ofWarp = roundUp(static_cast<size_t>(std::max(registers, 1)) * 32, 256);
  int byRegisters = static_cast<int>(kRegistersPerMultiprocessor / 4 / ofWarp) * 4 / warps;
  size_t shared = roundUp(sharedBytes + kSharedReserved, 128);
  int byShared = static_cast<int>(traits.sharedPerMultiprocessor / shared);
  int byThreads = traits.threadsPerMultiprocessor / 32 / warps;
  return std::min({traits.blocksPerMultiprocessor, byThreads, byRegisters, byShared});
}

} // namespace platen::ptxsim::driver
