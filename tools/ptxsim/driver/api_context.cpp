// Entry points: contexts, primary contexts, limits, peer access.
#include "tools/ptxsim/driver/contexts.h"

#include <algorithm>

using namespace platen::ptxsim::driver;

namespace {

constexpr unsigned kKnownFlags = CU_CTX_FLAGS_MASK;

void pushContext(const std::shared_ptr<Context> &context) {
  contextStack().push_back(context ? context->handle : 0);
}

CUresult destroy(Driver &driver, Lock &lock, const std::shared_ptr<Context> &context) {
  (void)drain(driver, lock, context);
  destroyContext(driver, context);
  std::vector<uint64_t> &stack = contextStack();
  if (!stack.empty() && stack.back() == context->handle)
    stack.pop_back();
  return CUDA_SUCCESS;
}

/// body(driver, lock, device)
template <class Body> CUresult withPrimary(CUdevice ordinal, Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= driver.devices.size())
      return CUDA_ERROR_INVALID_DEVICE;
    return body(driver, lock, driver.devices[static_cast<size_t>(ordinal)]);
  });
}

void releasePrimary(Driver &driver, Lock &lock, Device &device) {
  auto context = std::move(device.primary);
  device.primary = nullptr;
  (void)drain(driver, lock, context);
  destroyContext(driver, context);
}

CUresult create(CUcontext *result, unsigned flags, CUdevice ordinal) {
  return withPrimary(ordinal, [&](Driver &driver, Lock &, Device &) -> CUresult {
    if (!result || (flags & ~kKnownFlags))
      return CUDA_ERROR_INVALID_VALUE;
    auto context = createContext(driver, ordinal, flags, false);
    pushContext(context);
    *result = context->as<CUcontext>();
    return CUDA_SUCCESS;
  });
}

/// Null: the current one.
CUresult findContext(Driver &driver, CUcontext handle, std::shared_ptr<Context> &context) {
  CUresult result = CUDA_SUCCESS;
  context = handle ? driver.contexts.find(handle) : currentContext(driver, result);
  return context ? CUDA_SUCCESS : handle ? CUDA_ERROR_INVALID_CONTEXT : result;
}

} // namespace

extern "C" {

CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned int flags,
                        CUdevice device) {
  if (parameters && (parameters->numExecAffinityParams || parameters->cigParams))
    return notSupported("cuCtxCreate_v4", "execution affinity and graphics interoperation");
  return create(context, flags, device);
}
CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *, int affinities,
                        unsigned int flags, CUdevice device) {
  return affinities ? notSupported("cuCtxCreate_v3", "execution affinity")
                    : create(context, flags, device);
}
CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device) {
  return create(context, flags, device);
}

CUresult cuCtxDestroy(CUcontext handle) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    auto context = driver.contexts.find(handle);
    if (!context || context->isPrimary)
      return CUDA_ERROR_INVALID_CONTEXT;
    return destroy(driver, lock, context);
  });
}

CUresult cuCtxPushCurrent(CUcontext handle) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto context = driver.contexts.find(handle);
    if (!context)
      return CUDA_ERROR_INVALID_CONTEXT;
    pushContext(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxPopCurrent(CUcontext *handle) {
  return withDriver([&](Driver &, Lock &) -> CUresult {
    std::vector<uint64_t> &stack = contextStack();
    if (stack.empty())
      return CUDA_ERROR_INVALID_CONTEXT;
    if (handle)
      *handle = reinterpret_cast<CUcontext>(stack.back());
    stack.pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext handle) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto context = driver.contexts.find(handle);
    if (handle && !context)
      return CUDA_ERROR_INVALID_CONTEXT;
    std::vector<uint64_t> &stack = contextStack();
    if (!stack.empty())
      stack.pop_back();
    if (context)
      pushContext(context);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCurrent(CUcontext *handle) {
  return withDriver([&](Driver &, Lock &) -> CUresult {
    if (!handle)
      return CUDA_ERROR_INVALID_VALUE;
    *handle = contextStack().empty() ? nullptr : reinterpret_cast<CUcontext>(contextStack().back());
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice(CUdevice *device) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = context->device;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetFlags(unsigned int *flags) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (!flags)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = context->flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetFlags(unsigned int flags) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (flags & ~kKnownFlags)
      return CUDA_ERROR_INVALID_VALUE;
    context->flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long *id) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    std::shared_ptr<Context> context;
    PTXSIM_RETURN_IF(findContext(driver, handle, context));
    if (!id)
      return CUDA_ERROR_INVALID_VALUE;
    *id = context->id;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *version) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    std::shared_ptr<Context> context;
    PTXSIM_RETURN_IF(findContext(driver, handle, context));
    if (!version)
      return CUDA_ERROR_INVALID_VALUE;
    *version = 3020;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSynchronize() {
  return withContext(
      [&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &context) -> CUresult {
        for (const auto &stream : streamsOf(driver, *context))
          PTXSIM_RETURN_IF(checkNotCapturing(stream));
        PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
        return drain(driver, lock, context);
      });
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (limit < 0 || limit >= CU_LIMIT_MAX)
      return CUDA_ERROR_INVALID_VALUE;
    auto it = context->limits.find(limit);
    if (it == context->limits.end())
      return CUDA_ERROR_UNSUPPORTED_LIMIT;
    it->second = value;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (!value || limit < 0 || limit >= CU_LIMIT_MAX)
      return CUDA_ERROR_INVALID_VALUE;
    auto it = context->limits.find(limit);
    if (it == context->limits.end())
      return CUDA_ERROR_UNSUPPORTED_LIMIT;
    *value = it->second;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *config) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (!config)
      return CUDA_ERROR_INVALID_VALUE;
    *config = context->cacheConfig;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
    if (config < CU_FUNC_CACHE_PREFER_NONE || config > CU_FUNC_CACHE_PREFER_EQUAL)
      return CUDA_ERROR_INVALID_VALUE;
    context->cacheConfig = config;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxResetPersistingL2Cache() {
  return withContext(
      [&](Driver &, Lock &, const std::shared_ptr<Context> &) { return CUDA_SUCCESS; });
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  return withContext([&](Driver &, Lock &, const std::shared_ptr<Context> &) -> CUresult {
    if (least)
      *least = 0;
    if (greatest)
      *greatest = kGreatestPriority;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        auto other = driver.contexts.find(peer);
        if (!other || other == context)
          return CUDA_ERROR_INVALID_CONTEXT;
        if (flags)
          return CUDA_ERROR_INVALID_VALUE;
        if (other->device != context->device &&
            !driver.settings
                 .peer[static_cast<size_t>(context->device)][static_cast<size_t>(other->device)])
          return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
        return context->peers.insert(other->device).second ? CUDA_SUCCESS
                                                           : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
      });
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
  return withContext([&](Driver &driver, Lock &,
                         const std::shared_ptr<Context> &context) -> CUresult {
    auto other = driver.contexts.find(peer);
    if (!other)
      return CUDA_ERROR_INVALID_CONTEXT;
    return context->peers.erase(other->device) ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *handle, CUdevice ordinal) {
  return withPrimary(ordinal, [&](Driver &driver, Lock &, Device &device) -> CUresult {
    if (!handle)
      return CUDA_ERROR_INVALID_VALUE;
    if (!device.primary)
      device.primary = createContext(driver, ordinal, device.primaryFlags, true);
    ++device.primaryCount;
    *handle = device.primary->as<CUcontext>();
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice ordinal) {
  return withPrimary(ordinal, [&](Driver &driver, Lock &lock, Device &device) -> CUresult {
    if (device.primaryCount == 0)
      return CUDA_ERROR_INVALID_CONTEXT;
    if (--device.primaryCount == 0 && device.primary)
      releasePrimary(driver, lock, device);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxReset(CUdevice ordinal) {
  return withPrimary(ordinal, [&](Driver &driver, Lock &lock, Device &device) -> CUresult {
    if (device.primary) {
      releasePrimary(driver, lock, device);
      device.primary = nullptr;
    }
    device.primaryCount = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice ordinal, unsigned int flags) {
  return withPrimary(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    if (flags & ~kKnownFlags)
      return CUDA_ERROR_INVALID_VALUE;
    device.primaryFlags = flags;
    if (device.primary)
      device.primary->flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned int *flags, int *active) {
  return withPrimary(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    if (!flags || !active)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = device.primaryFlags;
    *active = device.primary != nullptr;
    return CUDA_SUCCESS;
  });
}

} // extern "C"
