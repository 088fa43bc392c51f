// Entry points: initialisation, errors, devices, primary contexts, peers.
#include "tools/ptxsim/driver/call.h"

#include <algorithm>
#include <cstring>

using namespace platen::ptxsim::driver;

namespace {

struct ErrorName {
  CUresult code;
  const char *name, *text;
};
#define PTXSIM_ERROR(name, text) {CUDA_##name, "CUDA_" #name, text}
constexpr ErrorName kErrors[] = {
    PTXSIM_ERROR(SUCCESS, "no error"),
    PTXSIM_ERROR(ERROR_INVALID_VALUE, "invalid argument"),
    PTXSIM_ERROR(ERROR_OUT_OF_MEMORY, "out of memory"),
    PTXSIM_ERROR(ERROR_NOT_INITIALIZED, "cuInit was not called"),
    PTXSIM_ERROR(ERROR_DEINITIALIZED, "the driver is shutting down"),
    PTXSIM_ERROR(ERROR_NO_DEVICE, "there is no device"),
    PTXSIM_ERROR(ERROR_INVALID_DEVICE, "invalid device ordinal"),
    PTXSIM_ERROR(ERROR_INVALID_IMAGE, "the device image is invalid"),
    PTXSIM_ERROR(ERROR_INVALID_CONTEXT, "invalid context"),
    PTXSIM_ERROR(ERROR_NO_BINARY_FOR_GPU, "the image holds nothing that runs on the device"),
    PTXSIM_ERROR(ERROR_UNSUPPORTED_LIMIT, "the limit is not supported"),
    PTXSIM_ERROR(ERROR_PEER_ACCESS_UNSUPPORTED, "no peer access between these devices"),
    PTXSIM_ERROR(ERROR_INVALID_PTX, "the PTX could not be compiled"),
    PTXSIM_ERROR(ERROR_UNSUPPORTED_PTX_VERSION, "the PTX is newer than the driver"),
    PTXSIM_ERROR(ERROR_INVALID_SOURCE, "invalid kernel source"),
    PTXSIM_ERROR(ERROR_FILE_NOT_FOUND, "file not found"),
    PTXSIM_ERROR(ERROR_OPERATING_SYSTEM, "the operating system refused"),
    PTXSIM_ERROR(ERROR_INVALID_HANDLE, "invalid handle"),
    PTXSIM_ERROR(ERROR_ILLEGAL_STATE, "not in this state"),
    PTXSIM_ERROR(ERROR_NOT_FOUND, "name not found"),
    PTXSIM_ERROR(ERROR_NOT_READY, "not ready"),
    PTXSIM_ERROR(ERROR_ILLEGAL_ADDRESS, "a kernel accessed an illegal address"),
    PTXSIM_ERROR(ERROR_LAUNCH_OUT_OF_RESOURCES, "the launch needs more than a block may have"),
    PTXSIM_ERROR(ERROR_LAUNCH_TIMEOUT, "a kernel hangs"),
    PTXSIM_ERROR(ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is enabled already"),
    PTXSIM_ERROR(ERROR_PEER_ACCESS_NOT_ENABLED, "peer access is not enabled"),
    PTXSIM_ERROR(ERROR_PRIMARY_CONTEXT_ACTIVE, "the primary context is in use"),
    PTXSIM_ERROR(ERROR_CONTEXT_IS_DESTROYED, "the context was destroyed"),
    PTXSIM_ERROR(ERROR_ASSERT, "an assertion in a kernel failed"),
    PTXSIM_ERROR(ERROR_HOST_MEMORY_ALREADY_REGISTERED, "host memory is registered already"),
    PTXSIM_ERROR(ERROR_HOST_MEMORY_NOT_REGISTERED, "host memory is not registered"),
    PTXSIM_ERROR(ERROR_ILLEGAL_INSTRUCTION, "a kernel executed an illegal instruction"),
    PTXSIM_ERROR(ERROR_MISALIGNED_ADDRESS, "a kernel used a misaligned address"),
    PTXSIM_ERROR(ERROR_LAUNCH_FAILED, "a kernel failed"),
    PTXSIM_ERROR(ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                 "the blocks of a cooperative launch do not fit the device at once"),
    PTXSIM_ERROR(ERROR_NOT_PERMITTED, "not permitted here"),
    PTXSIM_ERROR(ERROR_NOT_SUPPORTED, "not supported"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_UNSUPPORTED, "not permitted while a stream captures"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_INVALIDATED, "the capture was invalidated by an error"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_MERGE, "two captures would be merged"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_UNMATCHED, "the capture began in another stream"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_UNJOINED, "a captured stream was not joined"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_ISOLATION, "the capture depends on what is not captured"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_IMPLICIT, "the legacy stream would join a capture"),
    PTXSIM_ERROR(ERROR_CAPTURED_EVENT, "the event was recorded in a capture"),
    PTXSIM_ERROR(ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture began in another thread"),
    PTXSIM_ERROR(ERROR_TIMEOUT, "the wait timed out"),
    PTXSIM_ERROR(ERROR_GRAPH_EXEC_UPDATE_FAILURE, "the graph differs too much for an update"),
    PTXSIM_ERROR(ERROR_INVALID_CLUSTER_SIZE, "invalid cluster size"),
    PTXSIM_ERROR(ERROR_FUNCTION_NOT_LOADED, "the function is not loaded"),
    PTXSIM_ERROR(ERROR_UNKNOWN, "unknown error"),
};
#undef PTXSIM_ERROR

const ErrorName *find(CUresult code) {
  for (const ErrorName &error : kErrors)
    if (error.code == code)
      return &error;
  return nullptr;
}

/// body(driver, lock, device)
template <class Body> CUresult withDevice(CUdevice ordinal, Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= driver.devices.size())
      return CUDA_ERROR_INVALID_DEVICE;
    return body(driver, lock, driver.devices[static_cast<size_t>(ordinal)]);
  });
}

} // namespace

extern "C" {

CUresult cuInit(unsigned int flags) {
  return guarded([&]() -> CUresult {
    if (flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    Driver &driver = Driver::get();
    Lock lock(driver.mutex);
    return driver.initialise();
  });
}

CUresult cuDriverGetVersion(int *version) {
  if (!version)
    return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
  const ErrorName *known = find(error);
  if (!name)
    return CUDA_ERROR_INVALID_VALUE;
  *name = known ? known->name : nullptr;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  const ErrorName *known = find(error);
  if (!text)
    return CUDA_ERROR_INVALID_VALUE;
  *text = known ? known->text : nullptr;
  return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *count) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<int>(driver.devices.size());
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &) -> CUresult {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char *name, int length, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    if (!name || length <= 0)
      return CUDA_ERROR_INVALID_VALUE;
    std::string text = "platen simulated " + device.architecture.name();
    std::strncpy(name, text.c_str(), static_cast<size_t>(length));
    name[length - 1] = '\0';
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    if (!uuid)
      return CUDA_ERROR_INVALID_VALUE;
    std::memset(uuid, 0, sizeof *uuid);
    std::memcpy(uuid->bytes, "PTXSIM", 6);
    uuid->bytes[14] = static_cast<char>(device.architecture.number);
    uuid->bytes[15] = static_cast<char>(ordinal);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    if (!bytes)
      return CUDA_ERROR_INVALID_VALUE;
    *bytes = device.memoryBytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    auto known = deviceAttribute(device.architecture, ordinal, attribute);
    if (!value || !known)
      return CUDA_ERROR_INVALID_VALUE;
    *value = *known;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &device) -> CUresult {
    if (!major || !minor)
      return CUDA_ERROR_INVALID_VALUE;
    *major = device.architecture.major();
    *minor = device.architecture.minor();
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetProperties(CUdevprop *properties, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &) -> CUresult {
    if (!properties)
      return CUDA_ERROR_INVALID_VALUE;
    *properties = {kLargestBlock,
                   {1024, 1024, 64},
                   {0x7FFFFFFF, 65535, 65535},
                   static_cast<int>(kSharedPerBlock),
                   65536,
                   32,
                   0x7FFFFFFF,
                   kRegistersPerMultiprocessor,
                   1000000,
                   512};
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetPCIBusId(char *text, int length, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &) -> CUresult {
    if (!text || length < 13)
      return CUDA_ERROR_INVALID_VALUE;
    std::snprintf(text, static_cast<size_t>(length), "0000:%02x:00.0", (ordinal + 1) & 0xFF);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetByPCIBusId(CUdevice *ordinal, const char *text) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    unsigned domain = 0, bus = 0, slot = 0;
    if (!ordinal || !text || std::sscanf(text, "%x:%x:%x", &domain, &bus, &slot) < 3)
      return CUDA_ERROR_INVALID_VALUE;
    if (domain || slot || bus < 1 || bus > driver.devices.size())
      return CUDA_ERROR_INVALID_DEVICE;
    *ordinal = static_cast<CUdevice>(bus - 1);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice from, CUdevice to) {
  return withDevice(from, [&](Driver &driver, Lock &, Device &) -> CUresult {
    if (to < 0 || static_cast<size_t>(to) >= driver.devices.size())
      return CUDA_ERROR_INVALID_DEVICE;
    if (!can)
      return CUDA_ERROR_INVALID_VALUE;
    *can = from != to && driver.settings.peer[static_cast<size_t>(from)][static_cast<size_t>(to)];
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attribute, CUdevice from,
                                 CUdevice to) {
  int can = 0;
  PTXSIM_RETURN_IF(cuDeviceCanAccessPeer(&can, from, to));
  if (!value || from == to)
    return CUDA_ERROR_INVALID_VALUE;
  switch (attribute) {
  case CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED:
  case CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED:
    *value = can;
    return CUDA_SUCCESS;
  case CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK:
  case CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED:
  case CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED:
    *value = 0;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetExecAffinitySupport(int *supported, CUexecAffinityType, CUdevice ordinal) {
  return withDevice(ordinal, [&](Driver &, Lock &, Device &) -> CUresult {
    if (!supported)
      return CUDA_ERROR_INVALID_VALUE;
    *supported = 0;
    return CUDA_SUCCESS;
  });
}

} // extern "C"
