// Entry points: allocation, host memory, managed memory, attributes of pointers.
#include "tools/ptxsim/driver/memory_blocks.h"

#include <algorithm>

using namespace platen::ptxsim::driver;
using platen::ptxsim::kHostOwner;

namespace {

constexpr unsigned kHostFlags =
    CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
constexpr unsigned kRegisterFlags =
    CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
constexpr size_t kPitchAlignment = 512;

CUresult allocate(CUdeviceptr *result, size_t bytes) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        if (!result)
          return CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
        uint64_t address = 0;
        PTXSIM_RETURN_IF(allocateDevice(driver, context, bytes, Block::Kind::kDevice, address));
        *result = address;
        return CUDA_SUCCESS;
      });
}

CUresult allocateOnHost(void **result, size_t bytes, unsigned flags) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        if (!result || (flags & ~kHostFlags))
          return CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
        uint64_t address = 0;
        PTXSIM_RETURN_IF(allocateHost(driver, context, bytes, Block::Kind::kHost, flags, address));
        *result = reinterpret_cast<void *>(address);
        return CUDA_SUCCESS;
      });
}

/// The block that holds an address, and where it begins.
std::pair<uint64_t, const Block *> holderOf(const Driver &driver, uint64_t address) {
  auto it = driver.blocks.upper_bound(address);
  if (it == driver.blocks.begin())
    return {0, nullptr};
  --it;
  bool inside = address < it->first + it->second.bytes;
  return {it->first, inside ? &it->second : nullptr};
}

/// Writes an attribute of a pointer. Unknown pointers answer only some (`isKnown` false).
CUresult pointerAttribute(Driver &driver, void *data, CUpointer_attribute attribute,
                          CUdeviceptr pointer) {
  auto allocation = driver.memory.find(pointer);
  auto [begin, block] = holderOf(driver, pointer);
  bool isHost = allocation && allocation->owner == kHostOwner;
  bool isManaged = block && block->kind == Block::Kind::kManaged;
  auto put = [&](auto value) {
    *static_cast<decltype(value) *>(data) = value;
    return CUDA_SUCCESS;
  };
  if (attribute == CU_POINTER_ATTRIBUTE_MAPPED)
    return put(static_cast<unsigned char>(allocation.isOk()));
  if (!allocation)
    return CUDA_ERROR_INVALID_VALUE;
  switch (attribute) {
  case CU_POINTER_ATTRIBUTE_CONTEXT:
    return put(block ? reinterpret_cast<CUcontext>(block->context) : CUcontext{});
  case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    return put(
        static_cast<unsigned>(isHost && !isManaged ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE));
  case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    return put(pointer);
  case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    return isHost ? put(reinterpret_cast<void *>(pointer)) : CUDA_ERROR_INVALID_VALUE;
  case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    return put(static_cast<unsigned long long>(block ? block->id : 0));
  case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
  case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
  case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    return put(0u);
  case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    return put(static_cast<unsigned>(isManaged));
  case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
    return put(block ? block->device : std::max(allocation->owner, 0));
  case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
  case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
    return put(reinterpret_cast<void *>(allocation->begin));
  case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
  case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
    return put(static_cast<size_t>(allocation->end - allocation->begin));
  case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    return put(static_cast<unsigned long long>(0));
  case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
    return put(CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
  case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    return put(block ? reinterpret_cast<CUmemoryPool>(block->pool) : CUmemoryPool{});
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
}

} // namespace

extern "C" {

CUresult cuMemGetInfo(size_t *free, size_t *total) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        size_t all = driver.devices[static_cast<size_t>(context->device)].memoryBytes;
        size_t used = driver.memory.allocatedBytes(context->device);
        if (free)
          *free = all - std::min(all, used);
        if (total)
          *total = all;
        return CUDA_SUCCESS;
      });
}

CUresult cuMemAlloc(CUdeviceptr *result, size_t bytes) { return allocate(result, bytes); }

CUresult cuMemAllocPitch(CUdeviceptr *result, size_t *pitch, size_t width, size_t height,
                         unsigned int elementBytes) {
  if (!pitch || width == 0 || height == 0 ||
      (elementBytes != 4 && elementBytes != 8 && elementBytes != 16))
    return CUDA_ERROR_INVALID_VALUE;
  size_t row = (width + kPitchAlignment - 1) / kPitchAlignment * kPitchAlignment;
  if (row < width || height > SIZE_MAX / row)
    return CUDA_ERROR_OUT_OF_MEMORY;
  PTXSIM_RETURN_IF(allocate(result, row * height));
  *pitch = row;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocManaged(CUdeviceptr *result, size_t bytes, unsigned int flags) {
  return withContext([&](Driver &driver, Lock &,
                         const std::shared_ptr<Context> &context) -> CUresult {
    if (!result || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
    uint64_t address = 0;
    PTXSIM_RETURN_IF(allocateHost(driver, context, bytes, Block::Kind::kManaged, flags, address));
    *result = address;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemFree(CUdeviceptr address) {
  return withContext([&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &) -> CUresult {
    if (address == 0)
      return CUDA_SUCCESS;
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
    const Block *block = findBlock(
        driver, address, {Block::Kind::kDevice, Block::Kind::kPooled, Block::Kind::kManaged});
    if (!block || block->freePending)
      return CUDA_ERROR_INVALID_VALUE;
    if (block->kind == Block::Kind::kManaged)
      drainAll(driver, lock);
    else
      drainDevice(driver, lock, block->device);
    return releaseBlock(driver, address);
  });
}

CUresult cuMemGetAddressRange(CUdeviceptr *begin, size_t *bytes, CUdeviceptr address) {
  return withContext([&](Driver &driver, Lock &, const std::shared_ptr<Context> &) -> CUresult {
    auto allocation = driver.memory.find(address);
    if (!allocation)
      return CUDA_ERROR_NOT_FOUND;
    if (begin)
      *begin = allocation->begin;
    if (bytes)
      *bytes = allocation->end - allocation->begin;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAllocHost(void **result, size_t bytes) { return allocateOnHost(result, bytes, 0); }
CUresult cuMemHostAlloc(void **result, size_t bytes, unsigned int flags) {
  return allocateOnHost(result, bytes, flags);
}

CUresult cuMemFreeHost(void *pointer) {
  return withContext([&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &) -> CUresult {
    if (!pointer)
      return CUDA_SUCCESS;
    auto address = reinterpret_cast<uint64_t>(pointer);
    if (!findBlock(driver, address, {Block::Kind::kHost}))
      return CUDA_ERROR_INVALID_VALUE;
    drainAll(driver, lock);
    return releaseBlock(driver, address);
  });
}

CUresult cuMemHostRegister(void *pointer, size_t bytes, unsigned int flags) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        if (!pointer || bytes == 0 || (flags & ~kRegisterFlags))
          return flags & CU_MEMHOSTREGISTER_IOMEMORY ? CUDA_ERROR_NOT_SUPPORTED
                                                     : CUDA_ERROR_INVALID_VALUE;
        PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
        if (!driver.memory.registerHost(pointer, bytes).isOk())
          return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
        driver.blocks[reinterpret_cast<uint64_t>(pointer)] = {Block::Kind::kRegistered,
                                                              context->handle,
                                                              context->device,
                                                              bytes,
                                                              0,
                                                              flags,
                                                              driver.nextId++,
                                                              0,
                                                              false};
        return CUDA_SUCCESS;
      });
}

CUresult cuMemHostUnregister(void *pointer) {
  return withContext([&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &) -> CUresult {
    auto address = reinterpret_cast<uint64_t>(pointer);
    if (!findBlock(driver, address, {Block::Kind::kRegistered}))
      return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    drainAll(driver, lock);
    return releaseBlock(driver, address);
  });
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *result, void *pointer, unsigned int flags) {
  return withContext([&](Driver &driver, Lock &, const std::shared_ptr<Context> &) -> CUresult {
    auto address = reinterpret_cast<uint64_t>(pointer);
    if (!result || flags || placeOf(driver, address) != Place::kPinned)
      return CUDA_ERROR_INVALID_VALUE;
    *result = address;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *pointer) {
  return withContext([&](Driver &driver, Lock &, const std::shared_ptr<Context> &) -> CUresult {
    const Block *block = holderOf(driver, reinterpret_cast<uint64_t>(pointer)).second;
    if (!flags || !block || block->kind != Block::Kind::kHost)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = block->flags | CU_MEMHOSTALLOC_DEVICEMAP;
    return CUDA_SUCCESS;
  });
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    return data ? pointerAttribute(driver, data, attribute, pointer) : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **data,
                                CUdeviceptr pointer) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    if (!count || !attributes || !data)
      return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; ++i) {
      CUresult result = pointerAttribute(driver, data[i], attributes[i], pointer);
      if (result != CUDA_SUCCESS && attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
        *static_cast<int *>(data[i]) = CU_DEVICE_INVALID;
      else if (result != CUDA_SUCCESS && attributes[i] == CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
        *static_cast<unsigned *>(data[i]) = 0;
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAdvise(CUdeviceptr address, size_t bytes, CUmem_advise, CUmemLocation) {
  return withContext([&](Driver &driver, Lock &, const std::shared_ptr<Context> &) -> CUresult {
    return driver.memory.find(address, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuMemPrefetchAsync(CUdeviceptr address, size_t bytes, CUmemLocation, unsigned int flags,
                            CUstream) {
  return withContext([&](Driver &driver, Lock &, const std::shared_ptr<Context> &) -> CUresult {
    return !flags && driver.memory.find(address, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

} // extern "C"
