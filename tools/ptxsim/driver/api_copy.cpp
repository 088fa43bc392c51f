// Entry points: copies and fills.
#include "tools/ptxsim/driver/copies.h"

using namespace platen::ptxsim::driver;

namespace {

uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

enum Ends { kAny = 0, kToDevice = 1, kFromDevice = 2 };
CUresult copyFlat(uint64_t to, uint64_t from, size_t bytes, CUstream handle, bool isSync,
                  int ends) {
  return withStream(handle, [&](Driver &driver, Lock &lock, const auto &stream) -> CUresult {
    if (bytes == 0)
      return CUDA_SUCCESS;
    if (!to || !from)
      return CUDA_ERROR_INVALID_VALUE;
    return queueCopy(driver, lock, stream, flatCopy(to, from, bytes), isSync, ends & kToDevice,
                     ends & kFromDevice);
  });
}

template <class Descriptor>
CUresult copyBox(const Descriptor *descriptor, CUstream handle, bool isSync) {
  return withStream(handle, [&](Driver &driver, Lock &lock, const auto &stream) -> CUresult {
    CopyOperation copy;
    if (!descriptor)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(describeCopy(*descriptor, copy));
    return queueCopy(driver, lock, stream, std::move(copy), isSync);
  });
}

CUresult fill(CUdeviceptr to, size_t pitch, uint32_t value, uint32_t elementBytes, size_t width,
              size_t height, CUstream handle, bool isSync) {
  return withStream(handle, [&](Driver &driver, Lock &lock, const auto &stream) -> CUresult {
    FillOperation operation;
    PTXSIM_RETURN_IF(describeFill(to, pitch, value, elementBytes, width, height, operation));
    return queueFill(driver, lock, stream, operation, isSync);
  });
}

/// The descriptor without its contexts, which must live.
CUresult peerless(const CUDA_MEMCPY3D_PEER *peer, CUDA_MEMCPY3D &descriptor) {
  if (!peer)
    return CUDA_ERROR_INVALID_VALUE;
  Driver &driver = Driver::get();
  {
    Lock lock(driver.mutex);
    for (CUcontext context : {peer->srcContext, peer->dstContext})
      if (context && !driver.contexts.find(context))
        return CUDA_ERROR_INVALID_CONTEXT;
  }
  const CUDA_MEMCPY3D_PEER &p = *peer;
  descriptor = {p.srcXInBytes,   p.srcY,        p.srcZ,         p.srcLOD,   p.srcMemoryType,
                p.srcHost,       p.srcDevice,   p.srcArray,     nullptr,    p.srcPitch,
                p.srcHeight,     p.dstXInBytes, p.dstY,         p.dstZ,     p.dstLOD,
                p.dstMemoryType, p.dstHost,     p.dstDevice,    p.dstArray, nullptr,
                p.dstPitch,      p.dstHeight,   p.WidthInBytes, p.Height,   p.Depth};
  return CUDA_SUCCESS;
}

} // namespace

extern "C" {

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copyFlat(to, from, bytes, nullptr, true, kAny);
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copyFlat(to, from, bytes, stream, false, kAny);
}
CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
  return copyFlat(to, addressOf(from), bytes, nullptr, true, kToDevice);
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  return copyFlat(to, addressOf(from), bytes, stream, false, kToDevice);
}
CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
  return copyFlat(addressOf(to), from, bytes, nullptr, true, kFromDevice);
}
CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copyFlat(addressOf(to), from, bytes, stream, false, kFromDevice);
}
CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copyFlat(to, from, bytes, nullptr, true, kToDevice | kFromDevice);
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copyFlat(to, from, bytes, stream, false, kToDevice | kFromDevice);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext toContext, CUdeviceptr from,
                           CUcontext fromContext, size_t bytes, CUstream handle) {
  return withStream(handle, [&](Driver &driver, Lock &lock, const auto &stream) -> CUresult {
    if (!driver.contexts.find(toContext) || !driver.contexts.find(fromContext))
      return CUDA_ERROR_INVALID_CONTEXT;
    return bytes ? queueCopy(driver, lock, stream, flatCopy(to, from, bytes), false, true, true)
                 : CUDA_SUCCESS;
  });
}

CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext toContext, CUdeviceptr from, CUcontext fromContext,
                      size_t bytes) {
  return withStream(nullptr, [&](Driver &driver, Lock &lock, const auto &stream) -> CUresult {
    auto target = driver.contexts.find(toContext), source = driver.contexts.find(fromContext);
    if (!target || !source)
      return CUDA_ERROR_INVALID_CONTEXT;
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
    // Ordered with all work of the three contexts.
    PTXSIM_RETURN_IF(drain(driver, lock, target));
    PTXSIM_RETURN_IF(drain(driver, lock, source));
    if (bytes == 0)
      return CUDA_SUCCESS;
    PTXSIM_RETURN_IF(queueCopy(driver, lock, stream, flatCopy(to, from, bytes), true, true, true));
    driver.engine->wait(lock, stream->tail);
    return stream->context.lock()->error;
  });
}

CUresult cuMemcpy2D(const CUDA_MEMCPY2D *copy) { return copyBox(copy, nullptr, true); }
CUresult cuMemcpy2DUnaligned(const CUDA_MEMCPY2D *copy) { return copyBox(copy, nullptr, true); }
CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream) {
  return copyBox(copy, stream, false);
}
CUresult cuMemcpy3D(const CUDA_MEMCPY3D *copy) { return copyBox(copy, nullptr, true); }
CUresult cuMemcpy3DAsync(const CUDA_MEMCPY3D *copy, CUstream stream) {
  return copyBox(copy, stream, false);
}
CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *copy) {
  CUDA_MEMCPY3D descriptor;
  PTXSIM_RETURN_IF(peerless(copy, descriptor));
  return copyBox(&descriptor, nullptr, true);
}
CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *copy, CUstream stream) {
  CUDA_MEMCPY3D descriptor;
  PTXSIM_RETURN_IF(peerless(copy, descriptor));
  return copyBox(&descriptor, stream, false);
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  return fill(to, 0, value, 1, count, 1, nullptr, true);
}
CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t count) {
  return fill(to, 0, value, 2, count, 1, nullptr, true);
}
CUresult cuMemsetD32(CUdeviceptr to, unsigned int value, size_t count) {
  return fill(to, 0, value, 4, count, 1, nullptr, true);
}
CUresult cuMemsetD2D8(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                      size_t height) {
  return fill(to, pitch, value, 1, width, height, nullptr, true);
}
CUresult cuMemsetD2D16(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                       size_t height) {
  return fill(to, pitch, value, 2, width, height, nullptr, true);
}
CUresult cuMemsetD2D32(CUdeviceptr to, size_t pitch, unsigned int value, size_t width,
                       size_t height) {
  return fill(to, pitch, value, 4, width, height, nullptr, true);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return fill(to, 0, value, 1, count, 1, stream, false);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
  return fill(to, 0, value, 2, count, 1, stream, false);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream) {
  return fill(to, 0, value, 4, count, 1, stream, false);
}
CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream) {
  return fill(to, pitch, value, 1, width, height, stream, false);
}
CUresult cuMemsetD2D16Async(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream) {
  return fill(to, pitch, value, 2, width, height, stream, false);
}
CUresult cuMemsetD2D32Async(CUdeviceptr to, size_t pitch, unsigned int value, size_t width,
                            size_t height, CUstream stream) {
  return fill(to, pitch, value, 4, width, height, stream, false);
}

} // extern "C"
