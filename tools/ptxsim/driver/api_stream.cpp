// Entry points: streams, host functions, events.
#include "tools/ptxsim/driver/contexts.h"

#include <algorithm>

using namespace platen::ptxsim::driver;

namespace {

constexpr unsigned kEventFlags =
    CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;

/// body(driver, lock, event). Events of a failed context answer its error.
template <class Body> CUresult withEvent(CUevent handle, Body &&body) {
  return withDriver([&](Driver &driver, Lock &lock) -> CUresult {
    auto event = driver.events.find(handle);
    auto context = event ? event->context.lock() : nullptr;
    if (!context)
      return CUDA_ERROR_INVALID_HANDLE;
    return context->error != CUDA_SUCCESS ? context->error : body(driver, lock, event);
  });
}

CUresult createStream(CUstream *result, unsigned flags, int priority) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        if (!result || (flags & ~CU_STREAM_NON_BLOCKING))
          return CUDA_ERROR_INVALID_VALUE;
        auto stream = std::make_shared<Stream>();
        stream->context = context;
        stream->flags = flags;
        stream->priority = std::clamp(priority, kGreatestPriority, 0);
        stream->id = driver.nextId++;
        context->streams.insert(driver.streams.add(stream));
        *result = stream->as<CUstream>();
        return CUDA_SUCCESS;
      });
}

CUresult elapsed(float *milliseconds, CUevent start, CUevent end) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto first = driver.events.find(start), last = driver.events.find(end);
    if (!first || !last || !first->wasRecorded || !last->wasRecorded ||
        ((first->flags | last->flags) & CU_EVENT_DISABLE_TIMING))
      return CUDA_ERROR_INVALID_HANDLE;
    if (!milliseconds)
      return CUDA_ERROR_INVALID_VALUE;
    if (!first->recorded->isDone || !last->recorded->isDone)
      return CUDA_ERROR_NOT_READY;
    if (!driver.settings.wallEventTime)
      return notSupported("cuEventElapsedTime",
                          "nothing here is a model of time; PLATEN_PTXSIM_EVENT_TIME=wall answers "
                          "with the time that the host took to simulate");
    std::chrono::duration<float, std::milli> time =
        last->recorded->doneAt - first->recorded->doneAt;
    *milliseconds = time.count();
    return CUDA_SUCCESS;
  });
}

} // namespace

extern "C" {

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  return createStream(stream, flags, 0);
}
CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority) {
  return createStream(stream, flags, priority);
}

CUresult cuStreamDestroy(CUstream handle) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    auto stream = driver.streams.find(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture)
      stream->capture->isInvalid = true;
    // What is queued still happens.
    auto context = stream->context.lock();
    std::erase_if(context->orphans, [](const Context::Orphan &o) { return o.tail->isDone; });
    if (stream->tail && !stream->tail->isDone)
      context->orphans.push_back({stream->tail, stream->isBlocking()});
    context->streams.erase(stream->handle);
    driver.streams.remove(stream->handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetPriority(CUstream handle, int *priority) {
  return withStream(handle, [&](Driver &, Lock &, const auto &stream) -> CUresult {
    if (!priority)
      return CUDA_ERROR_INVALID_VALUE;
    *priority = stream->priority;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetFlags(CUstream handle, unsigned int *flags) {
  return withStream(handle, [&](Driver &, Lock &, const auto &stream) -> CUresult {
    if (!flags)
      return CUDA_ERROR_INVALID_VALUE;
    *flags = stream->flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetId(CUstream handle, unsigned long long *id) {
  return withStream(handle, [&](Driver &, Lock &, const auto &stream) -> CUresult {
    if (!id)
      return CUDA_ERROR_INVALID_VALUE;
    *id = stream->id;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context) {
  return withStream(handle, [&](Driver &, Lock &, const auto &stream) -> CUresult {
    if (!context)
      return CUDA_ERROR_INVALID_VALUE;
    *context = stream->context.lock()->template as<CUcontext>();
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetDevice(CUstream handle, CUdevice *device) {
  return withStream(handle, [&](Driver &, Lock &, const auto &stream) -> CUresult {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = stream->context.lock()->device;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamQuery(CUstream handle) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    PTXSIM_RETURN_IF(checkNotCapturing(stream));
    if (!stream->tail || stream->tail->isDone)
      return CUDA_SUCCESS;
    driver.engine->force(stream->tail); // who asks again and again must get an answer
    return CUDA_ERROR_NOT_READY;
  });
}

CUresult cuStreamSynchronize(CUstream handle) {
  return withStream(handle, [&](Driver &driver, Lock &lock, const auto &stream) -> CUresult {
    PTXSIM_RETURN_IF(checkNotCapturing(stream));
    PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
    auto context = stream->context.lock();
    WorkPointer tail = stream->isLegacy ? mark(driver, stream) : stream->tail;
    driver.engine->wait(lock, tail);
    return context->error;
  });
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent eventHandle, unsigned int flags) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    auto event = driver.events.find(eventHandle);
    if (!event)
      return CUDA_ERROR_INVALID_HANDLE;
    return flags & ~CU_EVENT_WAIT_EXTERNAL ? CUDA_ERROR_INVALID_VALUE
                                           : waitEvent(driver, stream, event, flags != 0);
  });
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    return function ? submit(driver, stream, HostOperation{function, data, nullptr, nullptr})
                    : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *data,
                             unsigned int flags) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    if (!callback || flags)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(checkNotCapturing(stream));
    return submit(driver, stream, HostOperation{nullptr, data, callback, handle});
  });
}

CUresult cuStreamAttachMemAsync(CUstream handle, CUdeviceptr, size_t, unsigned int) {
  return withStream(handle, [&](Driver &, Lock &, const auto &) { return CUDA_SUCCESS; });
}

CUresult cuEventCreate(CUevent *result, unsigned int flags) {
  return withContext(
      [&](Driver &driver, Lock &, const std::shared_ptr<Context> &context) -> CUresult {
        if (!result || (flags & ~kEventFlags))
          return CUDA_ERROR_INVALID_VALUE;
        if (flags & CU_EVENT_INTERPROCESS)
          return notSupported("cuEventCreate", "events that are shared between processes");
        auto event = std::make_shared<Event>();
        event->context = context;
        event->flags = flags;
        driver.events.add(event);
        *result = event->as<CUevent>();
        return CUDA_SUCCESS;
      });
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream streamHandle, unsigned int flags) {
  return withStream(streamHandle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    auto event = driver.events.find(handle);
    if (!event)
      return CUDA_ERROR_INVALID_HANDLE;
    return flags & ~CU_EVENT_RECORD_EXTERNAL ? CUDA_ERROR_INVALID_VALUE
                                             : recordEvent(driver, stream, event, flags != 0);
  });
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
  return cuEventRecordWithFlags(event, stream, 0);
}

CUresult cuEventQuery(CUevent handle) {
  return withEvent(handle, [&](Driver &driver, Lock &, const auto &event) -> CUresult {
    if (event->capture) {
      event->capture->isInvalid = true;
      return CUDA_ERROR_CAPTURED_EVENT;
    }
    PTXSIM_RETURN_IF(forbidWhileCapturing(driver));
    if (!event->recorded || event->recorded->isDone)
      return CUDA_SUCCESS;
    driver.engine->force(event->recorded);
    return CUDA_ERROR_NOT_READY;
  });
}

CUresult cuEventSynchronize(CUevent handle) {
  return withEvent(handle, [&](Driver &driver, Lock &lock, const auto &event) -> CUresult {
    if (event->capture) {
      event->capture->isInvalid = true;
      return CUDA_ERROR_CAPTURED_EVENT;
    }
    auto context = event->context.lock();
    WorkPointer recorded = event->recorded;
    driver.engine->wait(lock, recorded);
    return context->error;
  });
}

CUresult cuEventDestroy(CUevent handle) {
  return withDriver([&](Driver &driver, Lock &) -> CUresult {
    return driver.events.remove(reinterpret_cast<uint64_t>(handle)) ? CUDA_SUCCESS
                                                                    : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  return elapsed(milliseconds, start, end);
}

} // extern "C"
