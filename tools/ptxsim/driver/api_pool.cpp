// Entry points: memory pools and stream-ordered allocation.
//
// An allocation is usable from the call on (its address is needed then); a free happens in the
// order of its stream, so that what still uses the memory without order is caught.
#include "tools/ptxsim/driver/memory_blocks.h"

using namespace platen::ptxsim::driver;

namespace {

std::shared_ptr<Pool> poolOf(Driver &driver, const Context &context) {
  return driver.devices[static_cast<size_t>(context.device)].pool;
}

CUresult allocateFrom(CUdeviceptr *result, size_t bytes, CUmemoryPool handle, CUstream stream) {
  return withContext(
      [&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &current) -> CUresult {
        auto target = resolveStream(driver, current, stream);
        if (!result || !target)
          return target ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
        if (target->capture) {
          (void)notSupported("cuMemAllocAsync", "allocations inside of a captured graph");
          return checkNotCapturing(target);
        }
        auto context = target->context.lock();
        auto pool = handle ? driver.pools.find(handle) : poolOf(driver, *context);
        if (!pool)
          return CUDA_ERROR_INVALID_HANDLE;
        uint64_t address = 0;
        CUresult status = allocateDevice(driver, context, bytes, Block::Kind::kPooled, address);
        if (status == CUDA_ERROR_OUT_OF_MEMORY) { // what this stream frees may make room
          driver.engine->wait(lock, target->tail);
          status = allocateDevice(driver, context, bytes, Block::Kind::kPooled, address);
        }
        PTXSIM_RETURN_IF(status);
        driver.blocks[address].pool = pool->handle;
        pool->used += bytes;
        pool->usedHigh = std::max(pool->usedHigh, pool->used);
        *result = address;
        return CUDA_SUCCESS;
      });
}

template <class Body> CUresult withPool(CUmemoryPool handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto pool = driver.pools.find(handle);
    return pool ? body(driver, pool) : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult devicePool(CUmemoryPool *result, CUdevice ordinal, bool wantsDefault) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= driver.devices.size())
      return CUDA_ERROR_INVALID_DEVICE;
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    const Device &device = driver.devices[static_cast<size_t>(ordinal)];
    *result = (wantsDefault ? device.defaultPool : device.pool)->as<CUmemoryPool>();
    return CUDA_SUCCESS;
  });
}

} // namespace

extern "C" {

CUresult cuMemAllocAsync(CUdeviceptr *result, size_t bytes, CUstream stream) {
  return allocateFrom(result, bytes, nullptr, stream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *result, size_t bytes, CUmemoryPool pool,
                                 CUstream stream) {
  return pool ? allocateFrom(result, bytes, pool, stream) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &current) -> CUresult {
        auto target = resolveStream(driver, current, stream);
        if (!target)
          return CUDA_ERROR_INVALID_HANDLE;
        if (address == 0)
          return CUDA_SUCCESS;
        if (target->capture) {
          (void)notSupported("cuMemFreeAsync", "frees inside of a captured graph");
          return checkNotCapturing(target);
        }
        Block *block = findBlock(driver, address, {Block::Kind::kPooled, Block::Kind::kDevice});
        if (!block || block->freePending)
          return CUDA_ERROR_INVALID_VALUE;
        block->freePending = true;
        return submit(driver, target, FreeOperation{address});
      });
}

CUresult cuMemPoolCreate(CUmemoryPool *result, const CUmemPoolProps *properties) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    if (!result || !properties || properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
      return CUDA_ERROR_INVALID_VALUE;
    if (properties->handleTypes != CU_MEM_HANDLE_TYPE_NONE ||
        properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
      return notSupported("cuMemPoolCreate", "pools that are shared or lie on the host");
    int device = properties->location.id;
    if (device < 0 || static_cast<size_t>(device) >= driver.devices.size())
      return CUDA_ERROR_INVALID_VALUE;
    auto pool = std::make_shared<Pool>();
    pool->device = device;
    driver.pools.add(pool);
    *result = pool->as<CUmemoryPool>();
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  return withPool(handle, [&](Driver &driver, const std::shared_ptr<Pool> &pool) -> CUresult {
    if (pool->isDefault)
      return CUDA_ERROR_INVALID_VALUE;
    Device &device = driver.devices[static_cast<size_t>(pool->device)];
    if (device.pool == pool)
      device.pool = device.defaultPool;
    driver.pools.remove(pool->handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t) {
  return withPool(handle, [](Driver &, const std::shared_ptr<Pool> &) { return CUDA_SUCCESS; });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value) {
  return withPool(handle, [&](Driver &, const std::shared_ptr<Pool> &pool) -> CUresult {
    if (!value)
      return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      pool->reuse[attribute] = *static_cast<int *>(value);
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      pool->releaseThreshold = *static_cast<cuuint64_t *>(value);
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      if (*static_cast<cuuint64_t *>(value) != 0)
        return CUDA_ERROR_INVALID_VALUE;
      pool->usedHigh = pool->used;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value) {
  return withPool(handle, [&](Driver &, const std::shared_ptr<Pool> &pool) -> CUresult {
    if (!value)
      return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: {
      auto it = pool->reuse.find(attribute);
      *static_cast<int *>(value) = it == pool->reuse.end() ? 1 : it->second;
      return CUDA_SUCCESS;
    }
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      *static_cast<cuuint64_t *>(value) = pool->releaseThreshold;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      *static_cast<cuuint64_t *>(value) = pool->used;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      *static_cast<cuuint64_t *>(value) = pool->usedHigh;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *list, size_t count) {
  return withPool(handle, [&](Driver &driver, const std::shared_ptr<Pool> &pool) -> CUresult {
    for (size_t i = 0; list && i < count; ++i) {
      int device = list[i].location.id;
      if (list[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || device < 0 ||
          static_cast<size_t>(device) >= driver.devices.size())
        return CUDA_ERROR_INVALID_VALUE;
      if (list[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
        pool->access.erase(device);
      else if (device == pool->device ||
               driver.settings.peer[static_cast<size_t>(device)][static_cast<size_t>(pool->device)])
        pool->access.insert(device);
      else
        return CUDA_ERROR_INVALID_DEVICE;
    }
    return list || !count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool handle,
                            CUmemLocation *location) {
  return withPool(handle, [&](Driver &, const std::shared_ptr<Pool> &pool) -> CUresult {
    if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE)
      return CUDA_ERROR_INVALID_VALUE;
    bool may = location->id == pool->device || pool->access.contains(location->id);
    *flags = may ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
  return devicePool(pool, device, true);
}
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
  return devicePool(pool, device, false);
}

CUresult cuDeviceSetMemPool(CUdevice ordinal, CUmemoryPool handle) {
  return withPool(handle, [&](Driver &driver, const std::shared_ptr<Pool> &pool) -> CUresult {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= driver.devices.size())
      return CUDA_ERROR_INVALID_DEVICE;
    if (pool->device != ordinal)
      return CUDA_ERROR_INVALID_VALUE;
    driver.devices[static_cast<size_t>(ordinal)].pool = pool;
    return CUDA_SUCCESS;
  });
}

} // extern "C"
