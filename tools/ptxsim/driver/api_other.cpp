// Entry points: names of entry points, tensor maps, the profiler, tables that are not documented.
#include "tools/ptxsim/driver/call.h"

#include "tools/ptxsim/core/tensor_map.h"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>

using namespace platen::ptxsim::driver;
using platen::base::StatusCode;
using platen::ptxsim::Swizzle;
using platen::ptxsim::TensorMap;
using platen::ptxsim::TensorType;

namespace {

/// Names whose meaning changed: from CUDA version `since` on `name` means `symbol`. Newest first.
struct Versioned {
  const char *name, *symbol;
  int since;
};
constexpr Versioned kVersioned[] = {
    {"cuCtxCreate", "cuCtxCreate_v4", 12050},
    {"cuCtxCreate", "cuCtxCreate_v3", 11040},
    {"cuCtxCreate", "cuCtxCreate_v2", 3020},
    {"cuDeviceGetUuid", "cuDeviceGetUuid_v2", 11040},
    {"cuEventElapsedTime", "cuEventElapsedTime_v2", 12080},
    {"cuGetProcAddress", "cuGetProcAddress_v2", 12000},
    {"cuGraphAddDependencies", "cuGraphAddDependencies_v2", 12030},
    {"cuGraphAddKernelNode", "cuGraphAddKernelNode_v2", 12000},
    {"cuGraphAddNode", "cuGraphAddNode_v2", 12030},
    {"cuGraphExecKernelNodeSetParams", "cuGraphExecKernelNodeSetParams_v2", 12000},
    {"cuGraphExecUpdate", "cuGraphExecUpdate_v2", 12000},
    {"cuGraphGetEdges", "cuGraphGetEdges_v2", 12030},
    {"cuGraphInstantiate", "cuGraphInstantiateWithFlags", 12000},
    {"cuGraphKernelNodeGetParams", "cuGraphKernelNodeGetParams_v2", 12000},
    {"cuGraphKernelNodeSetParams", "cuGraphKernelNodeSetParams_v2", 12000},
    {"cuGraphNodeGetDependencies", "cuGraphNodeGetDependencies_v2", 12030},
    {"cuGraphNodeGetDependentNodes", "cuGraphNodeGetDependentNodes_v2", 12030},
    {"cuGraphRemoveDependencies", "cuGraphRemoveDependencies_v2", 12030},
    {"cuMemAdvise", "cuMemAdvise_v2", 12020},
    {"cuMemPrefetchAsync", "cuMemPrefetchAsync_v2", 12020},
    {"cuStreamBeginCapture", "cuStreamBeginCapture_v2", 10010},
    {"cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v3", 12030},
    {"cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v2", 11030},
    {"cuStreamUpdateCaptureDependencies", "cuStreamUpdateCaptureDependencies_v2", 12030},
};

/// The table without which the CUDA runtime library does not start.
constexpr unsigned char kRuntimeTable[16] = {0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a,
                                             0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9};

/// This library's own handle.
void *self() {
  static void *handle = [] {
    Dl_info info{};
    if (!dladdr(reinterpret_cast<void *>(&cuInit), &info))
      return static_cast<void *>(nullptr);
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  }();
  return handle;
}

void *symbol(const std::string &name, bool perThread) {
  if (perThread)
    for (const char *suffix : {"_ptsz", "_ptds"})
      if (void *found = dlsym(self(), (name + suffix).c_str()))
        return found;
  return dlsym(self(), name.c_str());
}

/// A name stands for its newest meaning that the asked version knows; _v2 for older changes.
void *entryPoint(const std::string &name, int version, bool perThread, bool &isTooOld) {
  bool isVersioned = false;
  for (const Versioned &row : kVersioned)
    if (name == row.name) {
      isVersioned = true;
      if (version >= row.since)
        return symbol(row.symbol, perThread);
    }
  if (!isVersioned)
    if (void *found = symbol(name + "_v2", perThread))
      return found; // changed by CUDA 3.2 or 4.0
  void *found = symbol(name, perThread);
  isTooOld = isVersioned && !found;
  return found;
}

CUresult getProcAddress(const char *name, void **result, int version, cuuint64_t flags,
                        CUdriverProcAddressQueryResult *status) {
  if (!name || !result ||
      (flags &
       ~(CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)))
    return CUDA_ERROR_INVALID_VALUE;
  bool isTooOld = false;
  *result = std::strncmp(name, "cu", 2) == 0
                ? entryPoint(name, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
                             isTooOld)
                : nullptr;
  if (status)
    *status = *result    ? CU_GET_PROC_ADDRESS_SUCCESS
              : isTooOld ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                         : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return *result || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

bool isSimpleEnum(int value, int last) { return value >= 0 && value <= last; }

} // namespace

extern "C" {

CUresult cuGetProcAddress_v2(const char *name, void **result, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
  return guarded([&] { return getProcAddress(name, result, version, flags, status); });
}
#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *name, void **result, int version, cuuint64_t flags) {
  return guarded([&] { return getProcAddress(name, result, version, flags, nullptr); });
}

// NVRTC asks for tables too and goes on without them; the CUDA runtime library cannot, because it
// reaches the driver through tables that are not documented.
CUresult cuGetExportTable(const void **table, const CUuuid *id) {
  if (!table || !id)
    return CUDA_ERROR_INVALID_VALUE;
  *table = nullptr;
  if (std::memcmp(id->bytes, kRuntimeTable, sizeof kRuntimeTable) == 0)
    (void)notSupported("a program that uses the CUDA runtime library (libcudart)",
                       "it needs undocumented parts of the driver; programs of the driver API run");
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *result, CUtensorMapDataType type, cuuint32_t rank,
                                void *address, const cuuint64_t *extents, const cuuint64_t *strides,
                                const cuuint32_t *box, const cuuint32_t *elementStrides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  return guarded([&]() -> CUresult {
    if (!result || reinterpret_cast<uintptr_t>(result) % 64 || rank < 1 || rank > 5 || !extents ||
        (!strides && rank > 1) || !box || !elementStrides ||
        !isSimpleEnum(type, CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B) ||
        !isSimpleEnum(interleave, CU_TENSOR_MAP_INTERLEAVE_32B) ||
        !isSimpleEnum(swizzle, CU_TENSOR_MAP_SWIZZLE_128B_ATOM_64B) ||
        !isSimpleEnum(promotion, CU_TENSOR_MAP_L2_PROMOTION_L2_256B) || !isSimpleEnum(fill, 1))
      return CUDA_ERROR_INVALID_VALUE;
    if (type > CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ)
      return notSupported("cuTensorMapEncodeTiled", "packed sub-byte types");
    if (swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
      return notSupported("cuTensorMapEncodeTiled", "swizzles with larger atoms");
    TensorMap map;
    map.type = static_cast<TensorType>(type);
    map.rank = rank;
    map.address = reinterpret_cast<uint64_t>(address);
    map.stride[0] = map.elementBytes();
    for (uint32_t i = 0; i < rank; ++i) {
      map.extent[i] = extents[i];
      map.box[i] = box[i];
      map.elementStride[i] = elementStrides[i];
      if (i > 0)
        map.stride[i] = strides[i - 1];
    }
    map.interleave = static_cast<uint8_t>(interleave);
    map.l2Promotion = static_cast<uint8_t>(promotion);
    map.swizzle = static_cast<Swizzle>(swizzle);
    map.fillsNan = fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
    auto status = encodeTensorMap(
        map, std::span<std::byte, platen::ptxsim::kTensorMapBytes>(
                 reinterpret_cast<std::byte *>(result), platen::ptxsim::kTensorMapBytes));
    if (status.isOk())
      return CUDA_SUCCESS;
    logLine("cuTensorMapEncodeTiled: " + status.toString());
    return status.code() == StatusCode::kUnsupported ? CUDA_ERROR_NOT_SUPPORTED
                                                     : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuTensorMapReplaceAddress(CUtensorMap *result, void *address) {
  return guarded([&]() -> CUresult {
    if (!result)
      return CUDA_ERROR_INVALID_VALUE;
    std::span<std::byte, platen::ptxsim::kTensorMapBytes> bytes(
        reinterpret_cast<std::byte *>(result), platen::ptxsim::kTensorMapBytes);
    auto map = platen::ptxsim::decodeTensorMap(bytes);
    if (!map)
      return CUDA_ERROR_INVALID_VALUE;
    map->address = reinterpret_cast<uint64_t>(address);
    return encodeTensorMap(*map, bytes).isOk() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuProfilerStart() { return CUDA_SUCCESS; }
CUresult cuProfilerStop() { return CUDA_SUCCESS; }

} // extern "C"
