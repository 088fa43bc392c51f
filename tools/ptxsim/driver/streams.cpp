#include "tools/ptxsim/driver/streams.h"

#include "tools/ptxsim/driver/graphs.h"

#include <algorithm>

namespace platen::ptxsim::driver {
namespace {

CUresult capture(Driver &driver, const std::shared_ptr<Stream> &stream,
                 const Operation &operation) {
  if (stream->capture->isInvalid)
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  auto node = addNode(driver, stream->capture->graph, operation, stream->captureTail,
                      stream->context.lock());
  stream->captureTail = {node};
  return CUDA_SUCCESS;
}

/// The stream joins the capture that the event was recorded in.
CUresult join(const std::shared_ptr<Stream> &stream, const Event &event) {
  if (!event.capture->graph)
    return CUDA_ERROR_CAPTURED_EVENT; // that capture has ended
  if (stream->capture && stream->capture != event.capture) {
    stream->capture->isInvalid = event.capture->isInvalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  if (stream->isLegacy)
    return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  stream->capture = event.capture;
  stream->capture->streams.insert(stream->handle);
  for (const auto &node : event.captured)
    if (std::find(stream->captureTail.begin(), stream->captureTail.end(), node) ==
        stream->captureTail.end())
      stream->captureTail.push_back(node);
  return CUDA_SUCCESS;
}

} // namespace

CUstreamCaptureMode &threadCaptureMode() {
  thread_local CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  return mode;
}

std::shared_ptr<Stream> resolveStream(Driver &driver, const std::shared_ptr<Context> &current,
                                      CUstream handle) {
  if (handle == CU_STREAM_PER_THREAD || (!handle && isPerThreadDefault())) {
    auto &stream = current->perThread[std::this_thread::get_id()];
    if (!stream) {
      stream = std::make_shared<Stream>();
      stream->context = current;
      stream->handle = reinterpret_cast<uint64_t>(CU_STREAM_PER_THREAD);
      stream->id = driver.nextId++;
    }
    return stream;
  }
  if (!handle || handle == CU_STREAM_LEGACY)
    return current->legacy;
  return driver.streams.find(handle);
}

void enqueue(Driver &driver, const std::shared_ptr<Stream> &stream, const WorkPointer &work,
             std::vector<WorkPointer> also) {
  auto context = stream->context.lock();
  also.push_back(stream->tail);
  if (stream->isLegacy) {
    for (auto &[thread, other] : context->perThread)
      also.push_back(other->tail);
    for (uint64_t handle : context->streams)
      if (auto other = driver.streams.find(reinterpret_cast<void *>(handle));
          other && other->isBlocking())
        also.push_back(other->tail);
    for (const Context::Orphan &orphan : context->orphans)
      if (orphan.isBlocking)
        also.push_back(orphan.tail);
  } else if (stream->isBlocking()) {
    also.push_back(context->legacy->tail);
  }
  stream->tail = work;
  driver.engine->submit(work, also);
}

WorkPointer mark(Driver &driver, const std::shared_ptr<Stream> &stream,
                 std::vector<WorkPointer> also) {
  auto work = std::make_shared<Work>();
  work->context = stream->context.lock();
  work->executor = work->context->device;
  enqueue(driver, stream, work, std::move(also));
  return work;
}

CUresult submit(Driver &driver, const std::shared_ptr<Stream> &stream, const Operation &operation) {
  if (stream->capture)
    return capture(driver, stream, operation);
  PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
  enqueue(driver, stream, makeWork(stream->context.lock(), operation));
  return CUDA_SUCCESS;
}

CUresult forbidWhileCapturing(Driver &driver) {
  CUstreamCaptureMode mode = threadCaptureMode();
  if (mode == CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_SUCCESS;
  std::erase_if(driver.captures, [](auto &weak) { return weak.expired(); });
  CUresult result = CUDA_SUCCESS;
  for (auto &weak : driver.captures) {
    auto capture = weak.lock();
    if (!capture || !capture->graph || capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED)
      continue;
    bool isOurs = capture->thread == std::this_thread::get_id();
    if (isOurs ||
        (mode == CU_STREAM_CAPTURE_MODE_GLOBAL && capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL)) {
      capture->isInvalid = true;
      result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
  }
  return result;
}

CUresult checkImplicitCapture(Driver &driver, const std::shared_ptr<Stream> &stream) {
  if (!stream->isLegacy)
    return CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;
  auto context = stream->context.lock();
  auto check = [&](const std::shared_ptr<Stream> &other) {
    if (other && other->isBlocking() && other->capture) {
      other->capture->isInvalid = true;
      result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
  };
  for (uint64_t handle : context->streams)
    check(driver.streams.find(reinterpret_cast<void *>(handle)));
  for (auto &[thread, other] : context->perThread)
    check(other);
  return result;
}

CUresult checkNotCapturing(const std::shared_ptr<Stream> &stream) {
  if (!stream->capture)
    return CUDA_SUCCESS;
  stream->capture->isInvalid = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult recordEvent(Driver &driver, const std::shared_ptr<Stream> &stream,
                     const std::shared_ptr<Event> &event, bool external) {
  if (event->context.lock() != stream->context.lock())
    return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture) {
    if (stream->capture->isInvalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (external)
      return submit(driver, stream, EventRecordOperation{event});
    event->capture = stream->capture;
    event->captured = stream->captureTail;
    return CUDA_SUCCESS;
  }
  if (external)
    return CUDA_ERROR_INVALID_VALUE;
  PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
  event->capture = nullptr;
  event->captured.clear();
  event->recorded = mark(driver, stream);
  event->wasRecorded = true;
  return CUDA_SUCCESS;
}

CUresult waitEvent(Driver &driver, const std::shared_ptr<Stream> &stream,
                   const std::shared_ptr<Event> &event, bool external) {
  if (stream->capture && stream->capture->isInvalid)
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (external)
    return stream->capture ? submit(driver, stream, EventWaitOperation{event})
                           : CUDA_ERROR_INVALID_VALUE;
  if (event->capture)
    return join(stream, *event);
  if (stream->capture) { // waits for what is not captured
    stream->capture->isInvalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
  if (event->recorded)
    mark(driver, stream, {event->recorded});
  return CUDA_SUCCESS;
}

} // namespace platen::ptxsim::driver
