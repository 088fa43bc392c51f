#include "tools/ptxsim/driver/modules.h"

#include <algorithm>
#include <cstring>

namespace platen::ptxsim::driver {
namespace {

CUresult resultOf(ImageProblem problem) {
  switch (problem) {
  case ImageProblem::kInvalidImage:
    return CUDA_ERROR_INVALID_IMAGE;
  case ImageProblem::kNoBinary:
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  case ImageProblem::kInvalidPtx:
    return CUDA_ERROR_INVALID_PTX;
  case ImageProblem::kPtxTooNew:
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  return CUDA_ERROR_UNKNOWN;
}

/// Parsed once for all devices and contexts that load the same text.
base::Result<std::shared_ptr<const Module>> parseOnce(Driver &driver, const std::string &ptx) {
  std::weak_ptr<const Module> &known = driver.parsed[ptx];
  if (auto module = known.lock())
    return module;
  PLATEN_ASSIGN_OR_RETURN(auto module, Module::parse(ptx));
  known = module;
  return module;
}

bool isLaunchable(const Dim3 &grid, const Dim3 &block) {
  return grid.x && grid.y && grid.z && block.x && block.y && block.z && grid.x <= 0x7FFFFFFF &&
         grid.y <= 65535 && grid.z <= 65535 && block.x <= 1024 && block.y <= 1024 &&
         block.z <= 64 && block.count() <= kLargestBlock;
}

CUresult checkCluster(const Device &device, const KernelOperation &kernel) {
  const Function &function = *kernel.function;
  uint64_t size = kernel.cluster.count();
  const Dim3 &required = function.info->requiredCluster;
  if (required.x && kernel.hasCluster &&
      (required.x != kernel.cluster.x || required.y != kernel.cluster.y ||
       required.z != kernel.cluster.z))
    return CUDA_ERROR_INVALID_VALUE;
  if (!kernel.hasCluster)
    return CUDA_SUCCESS;
  if (device.architecture.number < 90)
    return CUDA_ERROR_NOT_SUPPORTED;
  if (size == 0 || size > kLargestCluster ||
      (size > kPortableCluster && !function.nonPortableCluster))
    return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  if (kernel.grid.x % kernel.cluster.x || kernel.grid.y % kernel.cluster.y ||
      kernel.grid.z % kernel.cluster.z)
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

/// What a compiler would use at most: the largest block that the kernel declares must fit.
int registersOfPtx(const KernelInfo &info) {
  const auto threads = static_cast<int>(std::max<uint32_t>(info.maxThreads, 1));
  const int most = std::clamp(kRegistersPerMultiprocessor / threads / 8 * 8, 16, 255);
  return std::clamp(static_cast<int>(info.registerEstimate), 16, most);
}

} // namespace

int Function::threadLimit() const {
  int byRegisters = kRegistersPerMultiprocessor / std::max(1, (registers + 7) / 8 * 8) / 32 * 32;
  int byBounds = info->maxThreads ? static_cast<int>(info->maxThreads) : kLargestBlock;
  return std::min({kLargestBlock, byRegisters, byBounds});
}

CUresult loadModule(Driver &driver, const std::shared_ptr<Context> &context,
                    const std::string &image, std::shared_ptr<ModuleObject> &module,
                    std::string &log) {
  const Device &device = driver.devices[static_cast<size_t>(context->device)];
  ChooseResult choice = chooseImage(image, device.architecture, driver.settings.ptxPath);
  if (!choice.chosen) {
    log = choice.error.message;
    logLine("module: " + log);
    return resultOf(choice.error.problem);
  }
  auto parsed = parseOnce(driver, choice.chosen->ptx);
  if (!parsed) {
    log = parsed.status().toString();
    logLine("module: " + log);
    return CUDA_ERROR_INVALID_PTX;
  }
  auto loaded = LoadedModule::load(*parsed, driver.memory, context->device);
  if (!loaded) {
    log = loaded.status().toString();
    logLine("module: " + log);
    return loaded.status().code() == base::StatusCode::kResourceExhausted ? CUDA_ERROR_OUT_OF_MEMORY
                                                                          : CUDA_ERROR_INVALID_PTX;
  }
  auto holder = std::make_shared<LoadedImage>();
  holder->loaded = std::move(*loaded);
  holder->cubin = std::move(choice.chosen->cubin);
  module = std::make_shared<ModuleObject>();
  module->context = context;
  module->image = std::move(holder);
  driver.modules.add(module);
  return CUDA_SUCCESS;
}

void unloadModule(Driver &driver, Lock &lock, const std::shared_ptr<ModuleObject> &module) {
  if (auto context = module->context.lock())
    drainDevice(driver, lock, context->device);
  for (auto &[name, function] : module->functions)
    driver.functions.remove(function->handle);
  driver.modules.remove(module->handle);
}

CUresult getFunction(Driver &driver, ModuleObject &module, std::string_view name,
                     std::shared_ptr<Function> &function) {
  if (auto it = module.functions.find(name); it != module.functions.end()) {
    function = it->second;
    return CUDA_SUCCESS;
  }
  const KernelInfo *info = module.image->loaded->module().kernel(name);
  const auto &cubin = module.image->cubin;
  const CubinKernel *machine = cubin ? cubin->kernel(name) : nullptr;
  if (!info || (cubin && !machine))
    return CUDA_ERROR_NOT_FOUND;
  function = std::make_shared<Function>();
  function->context = module.context;
  function->image = module.image;
  function->module = module.handle;
  function->info = info;
  function->registers = machine && machine->registers ? machine->registers : registersOfPtx(*info);
  function->maxDynamicShared =
      info->staticSharedBytes < kSharedPerBlock ? kSharedPerBlock - info->staticSharedBytes : 0;
  driver.functions.add(function);
  module.functions[std::string(name)] = function;
  return CUDA_SUCCESS;
}

CUresult libraryModule(Driver &driver, const std::shared_ptr<Context> &context, Library &library,
                       std::shared_ptr<ModuleObject> &module) {
  auto &entry = library.modules[context->handle];
  if (!entry) {
    std::string log;
    if (CUresult result = loadModule(driver, context, library.image, entry, log);
        result != CUDA_SUCCESS) {
      library.modules.erase(context->handle);
      return result;
    }
  }
  module = entry;
  return CUDA_SUCCESS;
}

CUresult resolveFunction(Driver &driver, const std::shared_ptr<Context> &context,
                         const void *handle, std::shared_ptr<Function> &function) {
  function = driver.functions.find(handle);
  if (function)
    return CUDA_SUCCESS;
  auto kernel = driver.kernels.find(handle);
  if (!kernel)
    return CUDA_ERROR_INVALID_HANDLE;
  auto library = driver.libraries.find(reinterpret_cast<void *>(kernel->library));
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<ModuleObject> module;
  PTXSIM_RETURN_IF(libraryModule(driver, context, *library, module));
  return getFunction(driver, *module, kernel->name, function);
}

CUresult packParameters(const KernelInfo &info, void **parameters, void **extra,
                        std::string &packed) {
  packed.assign(info.parameterBytes, '\0');
  if (parameters && extra)
    return CUDA_ERROR_INVALID_VALUE;
  if (parameters) {
    for (size_t i = 0; i < info.parameters.size(); ++i) {
      const KernelParameter &p = info.parameters[i];
      if (!parameters[i])
        return CUDA_ERROR_INVALID_VALUE;
      std::memcpy(packed.data() + p.offset, parameters[i], p.size);
    }
    return CUDA_SUCCESS;
  }
  const void *buffer = nullptr;
  size_t size = 0;
  for (size_t i = 0; extra && extra[i] != CU_LAUNCH_PARAM_END; i += 2)
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
      buffer = extra[i + 1];
    else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
      size = *static_cast<size_t *>(extra[i + 1]);
    else
      return CUDA_ERROR_INVALID_VALUE;
  if (size < info.parameterBytes || (info.parameterBytes && !buffer))
    return CUDA_ERROR_INVALID_VALUE;
  if (info.parameterBytes)
    std::memcpy(packed.data(), buffer, info.parameterBytes);
  return CUDA_SUCCESS;
}

CUresult applyAttribute(KernelOperation &kernel, CUlaunchAttributeID id,
                        const CUlaunchAttributeValue &value) {
  switch (id) {
  case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    kernel.cooperative = value.cooperative != 0;
    return CUDA_SUCCESS;
  case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    kernel.cluster = {value.clusterDim.x, value.clusterDim.y, value.clusterDim.z};
    kernel.hasCluster = value.clusterDim.x != 0;
    if (!kernel.hasCluster)
      kernel.cluster = {};
    return CUDA_SUCCESS;
  case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    kernel.priority = value.priority;
    return CUDA_SUCCESS;
  // Hints, and permissions to overlap that the simulator does not make use of.
  case CU_LAUNCH_ATTRIBUTE_IGNORE:
  case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
  case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
  case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
  case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
  case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
  case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
  case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
  case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
    return CUDA_SUCCESS;
  case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
  case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
  case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
  case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
    return notSupported("a launch attribute", std::to_string(id).c_str());
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult checkLaunch(const Context &context, const KernelOperation &kernel) {
  const Device &device = Driver::get().devices[static_cast<size_t>(context.device)];
  const Function &function = *kernel.function;
  const KernelInfo &info = *function.info;
  if (function.context.lock().get() != &context)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!isLaunchable(kernel.grid, kernel.block))
    return CUDA_ERROR_INVALID_VALUE;
  auto threads = static_cast<int>(kernel.block.count());
  const Dim3 &required = info.requiredBlock;
  if (required.x && (required.x != kernel.block.x || std::max(1u, required.y) != kernel.block.y ||
                     std::max(1u, required.z) != kernel.block.z))
    return CUDA_ERROR_INVALID_VALUE;
  if (info.maxThreads && threads > static_cast<int>(info.maxThreads))
    return CUDA_ERROR_INVALID_VALUE;
  if (threads > function.threadLimit())
    return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  if (kernel.dynamicSharedBytes > function.maxDynamicShared)
    return CUDA_ERROR_INVALID_VALUE;
  PTXSIM_RETURN_IF(checkCluster(device, kernel));
  if (kernel.cooperative) {
    int blocks =
        blocksPerMultiprocessor(*device.traits, function.registers,
                                info.staticSharedBytes + kernel.dynamicSharedBytes, threads);
    if (kernel.grid.count() >
        static_cast<uint64_t>(blocks) * static_cast<uint64_t>(device.traits->multiprocessors))
      return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  }
  if (!info.refusals.empty()) {
    logLine("kernel " + info.name + " cannot be simulated:");
    for (const Refusal &refusal : info.refusals)
      logLine("  " + refusal.toString());
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_SUCCESS;
}

} // namespace platen::ptxsim::driver
