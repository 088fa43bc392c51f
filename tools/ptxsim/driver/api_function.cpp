// Entry points: functions, their attributes, occupancy, launches.
#include "tools/ptxsim/driver/modules.h"

#include <algorithm>
#include <cstring>

using namespace platen::ptxsim::driver;

namespace {

/// body(driver, context, function)
template <class Body> CUresult withFunction(const void *handle, Body &&body) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        std::shared_ptr<Function> function;
        PTXSIM_RETURN_IF(resolveFunction(driver, context, handle, function));
        auto own = function->context.lock();
        return own ? body(driver, own, function) : CUDA_ERROR_CONTEXT_IS_DESTROYED;
      });
}

const Device &deviceOf(const Driver &driver, const Context &context) {
  return driver.devices[static_cast<size_t>(context.device)];
}

size_t constantBytes(const Function &function) {
  size_t bytes = 0;
  for (const auto &variable : function.image->loaded->module().globals())
    bytes += variable.isConstant ? variable.size : 0;
  return bytes;
}

CUresult getAttribute(const Driver &driver, const Context &context, const Function &function,
                      CUfunction_attribute attribute, int &value) {
  const auto &info = *function.info;
  auto put = [&](auto number) {
    value = static_cast<int>(number);
    return CUDA_SUCCESS;
  };
  switch (attribute) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    return put(function.threadLimit());
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    return put(info.staticSharedBytes);
  case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    return put(constantBytes(function));
  case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    return put(info.localBytes);
  case CU_FUNC_ATTRIBUTE_NUM_REGS:
    return put(function.registers);
  case CU_FUNC_ATTRIBUTE_PTX_VERSION: {
    auto target = parseArchitecture(function.image->loaded->module().target());
    return put(target ? target->number : 0);
  }
  case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
    return put(function.image->cubin ? function.image->cubin->architecture.number
                                     : deviceOf(driver, context).architecture.number);
  case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
    return put(0);
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    return put(function.maxDynamicShared);
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    return put(function.carveout);
  case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
    return put(info.requiredCluster.x != 0);
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    return put(info.requiredCluster.x);
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    return put(info.requiredCluster.y);
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
    return put(info.requiredCluster.z);
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    return put(function.nonPortableCluster);
  case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    return put(function.schedulingPolicy);
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult setAttribute(const Driver &driver, const Context &context, Function &function,
                      CUfunction_attribute attribute, int value) {
  switch (attribute) {
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
    size_t limit = deviceOf(driver, context).traits->sharedPerBlockOptin;
    if (value < 0 || static_cast<size_t>(value) + function.info->staticSharedBytes > limit)
      return CUDA_ERROR_INVALID_VALUE;
    function.maxDynamicShared = static_cast<size_t>(value);
    return CUDA_SUCCESS;
  }
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    if (value < -1 || value > 100)
      return CUDA_ERROR_INVALID_VALUE;
    function.carveout = value;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    if (deviceOf(driver, context).architecture.number < 90)
      return CUDA_ERROR_NOT_SUPPORTED;
    function.nonPortableCluster = value != 0;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    function.schedulingPolicy = value;
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
    return notSupported("cuFuncSetAttribute", "required cluster sizes; give them to the launch");
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult parameterInfo(const Function &function, size_t index, size_t *offset, size_t *size) {
  const auto &parameters = function.info->parameters;
  if (index >= parameters.size() || !offset)
    return CUDA_ERROR_INVALID_VALUE;
  *offset = parameters[index].offset;
  if (size)
    *size = parameters[index].size;
  return CUDA_SUCCESS;
}

int residentBlocks(const Driver &driver, const Context &context, const Function &function,
                   int threads, size_t dynamicSharedBytes) {
  if (threads > function.threadLimit() || dynamicSharedBytes > function.maxDynamicShared)
    return 0;
  return blocksPerMultiprocessor(*deviceOf(driver, context).traits, function.registers,
                                 function.info->staticSharedBytes + dynamicSharedBytes, threads);
}

CUresult launch(const CUlaunchConfig &config, const void *handle, void **parameters, void **extra) {
  return withContext([&](Driver &driver, Lock &,
                         const std::shared_ptr<Context> &context) -> CUresult {
    KernelOperation kernel;
    auto stream = resolveStream(driver, context, config.hStream);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    auto streamContext = stream->context.lock();
    PTXSIM_RETURN_IF(streamContext->error);
    PTXSIM_RETURN_IF(resolveFunction(driver, streamContext, handle, kernel.function));
    kernel.grid = {config.gridDimX, config.gridDimY, config.gridDimZ};
    kernel.block = {config.blockDimX, config.blockDimY, config.blockDimZ};
    kernel.dynamicSharedBytes = config.sharedMemBytes;
    const auto &required = kernel.function->info->requiredCluster;
    if (required.x) {
      kernel.cluster = {required.x, std::max(1u, required.y), std::max(1u, required.z)};
      kernel.hasCluster = true;
    }
    if (config.numAttrs && !config.attrs)
      return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < config.numAttrs; ++i)
      PTXSIM_RETURN_IF(applyAttribute(kernel, config.attrs[i].id, config.attrs[i].value));
    PTXSIM_RETURN_IF(checkLaunch(*streamContext, kernel));
    PTXSIM_RETURN_IF(packParameters(*kernel.function->info, parameters, extra, kernel.parameters));
    return submit(driver, stream, kernel);
  });
}

CUresult launch(const void *function, unsigned gridX, unsigned gridY, unsigned gridZ,
                unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                CUstream stream, void **parameters, void **extra, bool cooperative) {
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  CUlaunchConfig config{gridX,  gridY,       gridZ,  blockX,     blockY,
                        blockZ, sharedBytes, stream, &attribute, cooperative ? 1u : 0u};
  return launch(config, function, parameters, extra);
}

} // namespace

extern "C" {

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    return value ? getAttribute(driver, *context, *function, attribute, *value)
                 : CUDA_ERROR_INVALID_VALUE;
  });
}
CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    return setAttribute(driver, *context, *function, attribute, value);
  });
}
CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel handle,
                              CUdevice) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    return value ? getAttribute(driver, *context, *function, attribute, *value)
                 : CUDA_ERROR_INVALID_VALUE;
  });
}
CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel handle,
                              CUdevice) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    return setAttribute(driver, *context, *function, attribute, value);
  });
}

CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
  return withFunction(handle, [&](Driver &, const auto &, const auto &function) {
    function->cacheConfig = config;
    return CUDA_SUCCESS;
  });
}
CUresult cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig) {
  return withFunction(handle, [](Driver &, const auto &, const auto &) { return CUDA_SUCCESS; });
}

CUresult cuFuncGetModule(CUmodule *module, CUfunction handle) {
  return withFunction(handle, [&](Driver &, const auto &, const auto &function) {
    if (!module)
      return CUDA_ERROR_INVALID_VALUE;
    *module = reinterpret_cast<CUmodule>(function->module);
    return CUDA_SUCCESS;
  });
}
CUresult cuFuncGetName(const char **name, CUfunction handle) {
  return withFunction(handle, [&](Driver &, const auto &, const auto &function) {
    if (!name)
      return CUDA_ERROR_INVALID_VALUE;
    *name = function->info->name.c_str();
    return CUDA_SUCCESS;
  });
}
CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *size) {
  return withFunction(handle, [&](Driver &, const auto &, const auto &function) {
    return parameterInfo(*function, index, offset, size);
  });
}
CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t *offset, size_t *size) {
  return withFunction(handle, [&](Driver &, const auto &, const auto &function) {
    return parameterInfo(*function, index, offset, size);
  });
}
CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction handle) {
  return withFunction(handle, [&](Driver &, const auto &, const auto &) {
    if (!state)
      return CUDA_ERROR_INVALID_VALUE;
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
  });
}
CUresult cuFuncLoad(CUfunction handle) {
  return withFunction(handle, [](Driver &, const auto &, const auto &) { return CUDA_SUCCESS; });
}

CUresult cuLaunchKernel(CUfunction function, unsigned int gridX, unsigned int gridY,
                        unsigned int gridZ, unsigned int blockX, unsigned int blockY,
                        unsigned int blockZ, unsigned int sharedBytes, CUstream stream,
                        void **parameters, void **extra) {
  return launch(function, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, stream,
                parameters, extra, false);
}
CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int gridX, unsigned int gridY,
                                   unsigned int gridZ, unsigned int blockX, unsigned int blockY,
                                   unsigned int blockZ, unsigned int sharedBytes, CUstream stream,
                                   void **parameters) {
  return launch(function, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, stream,
                parameters, nullptr, true);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters,
                          void **extra) {
  return config ? launch(*config, function, parameters, extra) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction handle, int threads,
                                                     size_t sharedBytes) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    if (!blocks || threads <= 0)
      return CUDA_ERROR_INVALID_VALUE;
    *blocks = residentBlocks(driver, *context, *function, threads, sharedBytes);
    return CUDA_SUCCESS;
  });
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction function,
                                                              int threads, size_t sharedBytes,
                                                              unsigned int flags) {
  return flags & ~CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE
             ? CUDA_ERROR_INVALID_VALUE
             : cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, sharedBytes);
}

CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction handle,
                                          CUoccupancyB2DSize sharedFor, size_t sharedBytes,
                                          int limit) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    if (!grid || !block || limit < 0)
      return CUDA_ERROR_INVALID_VALUE;
    int largest = std::min(limit ? limit : kLargestBlock, function->threadLimit());
    int bestThreads = 0;
    for (int threads = largest; threads > 0; threads = (threads - 1) / 32 * 32) {
      size_t shared = sharedFor ? sharedFor(threads) : sharedBytes;
      int blocks = residentBlocks(driver, *context, *function, threads, shared);
      if (blocks * threads > bestThreads) {
        bestThreads = blocks * threads;
        *block = threads;
        *grid = blocks * deviceOf(driver, *context).traits->multiprocessors;
      }
    }
    return bestThreads ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction function,
                                                   CUoccupancyB2DSize sharedFor, size_t sharedBytes,
                                                   int limit, unsigned int flags) {
  return flags & ~CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE
             ? CUDA_ERROR_INVALID_VALUE
             : cuOccupancyMaxPotentialBlockSize(grid, block, function, sharedFor, sharedBytes,
                                                limit);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction handle, int blocks,
                                                 int threads) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    if (!bytes || blocks <= 0 || threads <= 0)
      return CUDA_ERROR_INVALID_VALUE;
    const DeviceTraits &traits = *deviceOf(driver, *context).traits;
    size_t share = traits.sharedPerMultiprocessor / static_cast<size_t>(blocks) / 128 * 128;
    size_t taken = kSharedReserved + function->info->staticSharedBytes;
    *bytes = std::min(share > taken ? share - taken : 0, function->maxDynamicShared);
    return residentBlocks(driver, *context, *function, threads, 0) >= blocks
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction handle,
                                            const CUlaunchConfig *config) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    if (!size || !config)
      return CUDA_ERROR_INVALID_VALUE;
    if (deviceOf(driver, *context).architecture.number < 90)
      return CUDA_ERROR_NOT_SUPPORTED;
    *size = function->nonPortableCluster ? kLargestCluster : kPortableCluster;
    return CUDA_SUCCESS;
  });
}

CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction handle,
                                      const CUlaunchConfig *config) {
  return withFunction(handle, [&](Driver &driver, const auto &context, const auto &function) {
    if (!clusters || !config)
      return CUDA_ERROR_INVALID_VALUE;
    const Device &device = deviceOf(driver, *context);
    if (device.architecture.number < 90)
      return CUDA_ERROR_NOT_SUPPORTED;
    KernelOperation kernel;
    for (unsigned i = 0; config->attrs && i < config->numAttrs; ++i)
      PTXSIM_RETURN_IF(applyAttribute(kernel, config->attrs[i].id, config->attrs[i].value));
    auto threads = static_cast<int>(config->blockDimX * config->blockDimY * config->blockDimZ);
    int blocks = residentBlocks(driver, *context, *function, threads, config->sharedMemBytes);
    *clusters = blocks * device.traits->multiprocessors / static_cast<int>(kernel.cluster.count());
    return CUDA_SUCCESS;
  });
}

} // extern "C"
