// dlopen, and one lookup for each function.
#include "runtime/device/cuda/driver.h"

#include <cstdlib>
#include <dlfcn.h>

namespace platen::device::cuda {
namespace {

using base::Result;
using base::Status;
using base::StatusCode;

constexpr const char *kLibrary = "libcuda.so.1";

/// Looks symbols up and remembers the first that is missing.
struct Symbols {
  void *library;
  std::string missing{};

  template <typename Function> void find(Function *&function, const char *name) {
    optional(function, name);
    if (function == nullptr && missing.empty())
      missing = name;
  }
  template <typename Function> void optional(Function *&function, const char *name) {
    function = reinterpret_cast<Function *>(dlsym(library, name));
  }
};

void findDevices(Symbols &symbols, DriverApi &api) {
  symbols.find(api.cuInit, "cuInit");
  symbols.find(api.cuDriverGetVersion, "cuDriverGetVersion");
  symbols.find(api.cuGetErrorName, "cuGetErrorName");
  symbols.find(api.cuGetErrorString, "cuGetErrorString");
  symbols.find(api.cuDeviceGetCount, "cuDeviceGetCount");
  symbols.find(api.cuDeviceGet, "cuDeviceGet");
  symbols.find(api.cuDeviceGetName, "cuDeviceGetName");
  symbols.find(api.cuDeviceGetAttribute, "cuDeviceGetAttribute");
  symbols.find(api.cuDeviceTotalMem, "cuDeviceTotalMem_v2");
  symbols.find(api.cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
  symbols.find(api.cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2");
  symbols.find(api.cuCtxPushCurrent, "cuCtxPushCurrent_v2");
  symbols.find(api.cuCtxPopCurrent, "cuCtxPopCurrent_v2");
}

void findMemory(Symbols &symbols, DriverApi &api) {
  symbols.find(api.cuMemGetInfo, "cuMemGetInfo_v2");
  symbols.find(api.cuMemAlloc, "cuMemAlloc_v2");
  symbols.find(api.cuMemFree, "cuMemFree_v2");
  symbols.find(api.cuMemHostAlloc, "cuMemHostAlloc");
  symbols.find(api.cuMemFreeHost, "cuMemFreeHost");
  symbols.find(api.cuMemsetD8Async, "cuMemsetD8Async");
  symbols.find(api.cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2");
  symbols.find(api.cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2");
  symbols.find(api.cuStreamCreate, "cuStreamCreate");
  symbols.find(api.cuStreamDestroy, "cuStreamDestroy_v2");
  symbols.find(api.cuStreamSynchronize, "cuStreamSynchronize");
  symbols.find(api.cuEventCreate, "cuEventCreate");
  symbols.find(api.cuEventDestroy, "cuEventDestroy_v2");
  symbols.find(api.cuEventRecord, "cuEventRecord");
  symbols.find(api.cuEventSynchronize, "cuEventSynchronize");
  symbols.find(api.cuEventElapsedTime, "cuEventElapsedTime");
}

void findExecution(Symbols &symbols, DriverApi &api) {
  symbols.find(api.cuModuleLoadDataEx, "cuModuleLoadDataEx");
  symbols.find(api.cuModuleUnload, "cuModuleUnload");
  symbols.find(api.cuModuleGetFunction, "cuModuleGetFunction");
  symbols.find(api.cuFuncGetAttribute, "cuFuncGetAttribute");
  symbols.find(api.cuFuncSetAttribute, "cuFuncSetAttribute");
  symbols.find(api.cuLaunchKernel, "cuLaunchKernel");
  symbols.find(api.cuStreamBeginCapture, "cuStreamBeginCapture_v2");
  symbols.find(api.cuStreamEndCapture, "cuStreamEndCapture");
  symbols.find(api.cuGraphInstantiate, "cuGraphInstantiateWithFlags");
  symbols.find(api.cuGraphDestroy, "cuGraphDestroy");
  symbols.find(api.cuGraphExecDestroy, "cuGraphExecDestroy");
  symbols.find(api.cuGraphLaunch, "cuGraphLaunch");
  symbols.optional(api.cuLaunchKernelEx, "cuLaunchKernelEx");
  symbols.optional(api.cuTensorMapEncodeTiled, "cuTensorMapEncodeTiled");
}

StatusCode codeOf(CUresult result) {
  switch (result) {
  case CUDA_ERROR_OUT_OF_MEMORY:
  case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
    return StatusCode::kResourceExhausted;
  case CUDA_ERROR_NO_DEVICE:
    return StatusCode::kNotFound;
  case CUDA_ERROR_INVALID_IMAGE:
  case CUDA_ERROR_NOT_FOUND:
    return StatusCode::kCorrupt;
  case CUDA_ERROR_NO_BINARY_FOR_GPU:
  case CUDA_ERROR_INVALID_PTX:
  case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
  case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
  case CUDA_ERROR_JIT_COMPILATION_DISABLED:
  case CUDA_ERROR_NOT_SUPPORTED:
    return StatusCode::kUnsupported;
  case CUDA_ERROR_DEVICE_UNAVAILABLE:
  case CUDA_ERROR_ECC_UNCORRECTABLE:
  case CUDA_ERROR_NVLINK_UNCORRECTABLE:
  case CUDA_ERROR_CONTAINED:
  case CUDA_ERROR_ILLEGAL_ADDRESS:
  case CUDA_ERROR_LAUNCH_TIMEOUT:
  case CUDA_ERROR_CONTEXT_IS_DESTROYED:
  case CUDA_ERROR_ASSERT:
  case CUDA_ERROR_HARDWARE_STACK_ERROR:
  case CUDA_ERROR_ILLEGAL_INSTRUCTION:
  case CUDA_ERROR_MISALIGNED_ADDRESS:
  case CUDA_ERROR_INVALID_ADDRESS_SPACE:
  case CUDA_ERROR_INVALID_PC:
  case CUDA_ERROR_LAUNCH_FAILED:
  case CUDA_ERROR_TENSOR_MEMORY_LEAK:
  case CUDA_ERROR_UNKNOWN:
    return StatusCode::kDeviceLost;
  default:
    return StatusCode::kInternal;
  }
}

} // namespace

Result<std::shared_ptr<const Driver>> Driver::load(const std::string &path) {
  const char *from_environment = std::getenv("PLATEN_CUDA_DRIVER");
  std::string name = !path.empty()                 ? path
                     : from_environment == nullptr ? kLibrary
                     : from_environment[0] == '\0' ? kLibrary
                                                   : from_environment;
  void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    return base::unsupported(std::string("there is no CUDA driver: ") + dlerror() +
                             "; install NVIDIA's driver, or run on the host");
  std::shared_ptr<Driver> driver(new Driver());
  Symbols symbols{.library = library};
  findDevices(symbols, driver->api_);
  findMemory(symbols, driver->api_);
  findExecution(symbols, driver->api_);
  driver->is_simulated_ = dlsym(library, "platenSimulatedDriver") != nullptr;
  if (!symbols.missing.empty())
    return base::unsupported("the CUDA driver lacks " + symbols.missing +
                                 "; platen needs the driver of CUDA 11.4 or later",
                             name);
  if (CUresult result = driver->api_.cuInit(0); result != CUDA_SUCCESS) {
    // A driver that does not fit the kernel module or the system is no fault of platen's.
    Status status = driver->status(result, "cuInit");
    StatusCode code =
        status.code() == StatusCode::kInternal ? StatusCode::kUnsupported : status.code();
    return Status(code, std::string(status.message()), name);
  }
  return std::shared_ptr<const Driver>(std::move(driver));
}

std::string Driver::version() const {
  int version = 0;
  if (api_.cuDriverGetVersion(&version) != CUDA_SUCCESS)
    return "unknown";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string Driver::describe(CUresult result) const {
  const char *name = nullptr, *text = nullptr;
  if (api_.cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr)
    return "CUDA error " + std::to_string(result);
  std::string described = name;
  if (api_.cuGetErrorString(result, &text) == CUDA_SUCCESS && text != nullptr)
    described.append(" (").append(text).append(")");
  return described;
}

Status Driver::status(CUresult result, const std::string &what) const {
  if (result == CUDA_SUCCESS)
    return Status::ok();
  return {codeOf(result), what + " failed: " + describe(result)};
}

} // namespace platen::device::cuda
