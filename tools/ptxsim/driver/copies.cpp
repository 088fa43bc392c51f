#include "tools/ptxsim/driver/copies.h"

#include <cstring>

namespace platen::ptxsim::driver {
namespace {

/// Reads pageable rows now; the copy then takes them from the snapshot.
void stage(CopyOperation &copy) {
  auto staged = std::make_shared<std::string>();
  staged->resize(copy.width * copy.height * copy.depth);
  char *out = staged->data();
  for (size_t z = 0; z < copy.depth; ++z)
    for (size_t y = 0; y < copy.height; ++y, out += copy.width)
      std::memcpy(out,
                  reinterpret_cast<const void *>(copy.from.address + z * copy.from.slice +
                                                 y * copy.from.pitch),
                  copy.width);
  copy.from = {0, copy.width, copy.width * copy.height, std::move(staged)};
}

CUresult describeEnd(CUmemorytype type, const void *host, CUdeviceptr device, size_t x, size_t y,
                     size_t z, size_t pitch, size_t height, const CopyOperation &copy,
                     CopyEnd &end) {
  if (type == CU_MEMORYTYPE_ARRAY)
    return notSupported("a copy", "CUDA arrays");
  if (type != CU_MEMORYTYPE_HOST && type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_UNIFIED)
    return CUDA_ERROR_INVALID_VALUE;
  end.pitch = pitch ? pitch : x + copy.width;
  end.slice = end.pitch * (height ? height : y + copy.height);
  if (end.pitch < x + copy.width || (height && height < y + copy.height))
    return CUDA_ERROR_INVALID_VALUE;
  uint64_t base =
      type == CU_MEMORYTYPE_HOST ? reinterpret_cast<uint64_t>(host) : static_cast<uint64_t>(device);
  if (!base)
    return CUDA_ERROR_INVALID_VALUE;
  end.address = base + z * end.slice + y * end.pitch + x;
  if (type == CU_MEMORYTYPE_DEVICE && !Driver::get().memory.find(end.address).isOk())
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

bool isEmpty(const CopyOperation &copy) { return !copy.width || !copy.height || !copy.depth; }

CUresult finish(Driver &driver, Lock &lock, const std::shared_ptr<Stream> &stream) {
  WorkPointer tail = stream->tail;
  auto context = stream->context.lock();
  driver.engine->wait(lock, tail);
  return context->error;
}

} // namespace

CopyOperation flatCopy(uint64_t to, uint64_t from, size_t bytes) {
  return {{to, bytes, bytes, nullptr}, {from, bytes, bytes, nullptr}, bytes, 1, 1};
}

CUresult describeCopy(const CUDA_MEMCPY3D &d, CopyOperation &copy) {
  copy = {};
  copy.width = d.WidthInBytes;
  copy.height = d.Height;
  copy.depth = d.Depth;
  if (d.srcLOD || d.dstLOD)
    return CUDA_ERROR_INVALID_VALUE;
  if (isEmpty(copy))
    return CUDA_SUCCESS;
  PTXSIM_RETURN_IF(describeEnd(d.srcMemoryType, d.srcHost, d.srcDevice, d.srcXInBytes, d.srcY,
                               d.srcZ, d.srcPitch, d.srcHeight, copy, copy.from));
  return describeEnd(d.dstMemoryType, d.dstHost, d.dstDevice, d.dstXInBytes, d.dstY, d.dstZ,
                     d.dstPitch, d.dstHeight, copy, copy.to);
}

CUresult describeCopy(const CUDA_MEMCPY2D &d, CopyOperation &copy) {
  copy = {};
  copy.width = d.WidthInBytes;
  copy.height = d.Height;
  if (isEmpty(copy))
    return CUDA_SUCCESS;
  PTXSIM_RETURN_IF(describeEnd(d.srcMemoryType, d.srcHost, d.srcDevice, d.srcXInBytes, d.srcY, 0,
                               d.srcPitch, 0, copy, copy.from));
  return describeEnd(d.dstMemoryType, d.dstHost, d.dstDevice, d.dstXInBytes, d.dstY, 0, d.dstPitch,
                     0, copy, copy.to);
}

CUresult describeFill(uint64_t address, size_t pitch, uint32_t value, uint32_t elementBytes,
                      size_t width, size_t height, FillOperation &fill) {
  if ((elementBytes != 1 && elementBytes != 2 && elementBytes != 4) || address % elementBytes ||
      (height > 1 && (pitch < width * elementBytes || pitch % elementBytes)))
    return CUDA_ERROR_INVALID_VALUE;
  fill = {address, pitch, width, height, value, elementBytes};
  return checkRanges(fill);
}

CUresult queueCopy(Driver &driver, Lock &lock, const std::shared_ptr<Stream> &stream,
                   CopyOperation copy, bool isSync, bool toDevice, bool fromDevice) {
  if (isEmpty(copy))
    return CUDA_SUCCESS;
  PTXSIM_RETURN_IF(checkRanges(copy));
  Place to = placeOf(driver, copy.to.address), from = placeOf(driver, copy.from.address);
  if ((toDevice && to == Place::kPageable) || (fromDevice && from == Place::kPageable))
    return CUDA_ERROR_INVALID_VALUE;
  if (isSync)
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
  if (stream->capture)
    return submit(driver, stream, copy);
  bool toHost = to != Place::kDevice, fromHost = from != Place::kDevice;
  bool mustFinish = to == Place::kPageable || (toHost && fromHost) ||
                    (isSync && (toHost || from == Place::kPinned));
  if (from == Place::kPageable && !mustFinish) {
    PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
    if (isSync) { // a stream synchronisation comes before the copy is initiated
      WorkPointer before = mark(driver, stream);
      driver.engine->wait(lock, before);
    }
    stage(copy);
  }
  PTXSIM_RETURN_IF(submit(driver, stream, copy));
  return mustFinish ? finish(driver, lock, stream) : CUDA_SUCCESS;
}

CUresult queueFill(Driver &driver, Lock &lock, const std::shared_ptr<Stream> &stream,
                   const FillOperation &fill, bool isSync) {
  if (isSync)
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
  if (fill.width == 0 || fill.height == 0)
    return CUDA_SUCCESS;
  PTXSIM_RETURN_IF(submit(driver, stream, fill));
  bool mustFinish = isSync && placeOf(driver, fill.address) == Place::kPinned;
  return mustFinish ? finish(driver, lock, stream) : CUDA_SUCCESS;
}

} // namespace platen::ptxsim::driver
