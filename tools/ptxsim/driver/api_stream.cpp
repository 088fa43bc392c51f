// Entry points: streams, stream capture, host functions, events.
#include "tools/ptxsim/driver/contexts.h"
#include "tools/ptxsim/driver/graphs.h"

#include <algorithm>

using namespace platen::ptxsim::driver;

namespace {

constexpr unsigned kEventFlags =
    CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;

/// body(driver, lock, stream)
template <class Body> CUresult withStream(CUstream handle, Body &&body) {
  return withContext(
      [&](Driver &driver, Lock &lock, const std::shared_ptr<Context> &context) -> CUresult {
        auto stream = resolveStream(driver, context, handle);
        if (!stream)
          return CUDA_ERROR_INVALID_HANDLE;
        CUresult error = stream->context.lock()->error;
        return error != CUDA_SUCCESS ? error : body(driver, lock, stream);
      });
}

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

CUresult beginCapture(Driver &driver, const std::shared_ptr<Stream> &stream,
                      std::shared_ptr<Graph> graph, std::vector<std::shared_ptr<Node>> tail,
                      CUstreamCaptureMode mode) {
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  if (stream->isLegacy)
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture)
    return CUDA_ERROR_ILLEGAL_STATE;
  auto capture = std::make_shared<Capture>();
  if (!graph) {
    graph = std::make_shared<Graph>();
    driver.graphs.add(graph);
  }
  capture->graph = std::move(graph);
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->id = driver.nextId++;
  capture->origin = stream->handle;
  capture->streams.insert(stream->handle);
  stream->captureTail = std::move(tail);
  stream->capture = capture;
  driver.captures.push_back(capture);
  return CUDA_SUCCESS;
}

/// Whether every captured node is followed, in the end, by what the origin stream holds.
bool isJoined(const Capture &capture, const std::vector<std::shared_ptr<Node>> &tail) {
  std::set<const Node *> reached;
  std::vector<const Node *> open;
  for (const auto &node : tail)
    open.push_back(node.get());
  while (!open.empty()) {
    const Node *node = open.back();
    open.pop_back();
    if (reached.insert(node).second)
      for (const auto &other : node->after)
        open.push_back(other.get());
  }
  return reached.size() == capture.graph->nodes.size();
}

CUresult endCapture(Driver &driver, const std::shared_ptr<Stream> &stream, CUgraph *result) {
  auto capture = stream->capture;
  if (!capture)
    return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream->handle)
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
      capture->thread != std::this_thread::get_id())
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  CUresult status = capture->isInvalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                    : capture->streams.size() > 1 && !isJoined(*capture, stream->captureTail)
                        ? CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                        : CUDA_SUCCESS;
  auto context = stream->context.lock();
  for (const auto &member : streamsOf(driver, *context))
    if (member->capture == capture) {
      member->capture = nullptr;
      member->captureTail.clear();
    }
  for (const auto &[handle, member] : driver.streams.all()) // of other contexts
    if (member->capture == capture) {
      member->capture = nullptr;
      member->captureTail.clear();
    }
  auto graph = std::move(capture->graph);
  capture->graph = nullptr;
  if (status != CUDA_SUCCESS)
    destroyGraph(driver, graph);
  *result = status == CUDA_SUCCESS ? graph->as<CUgraph>() : nullptr;
  return status;
}

CUstreamCaptureStatus statusOf(const Stream &stream) {
  return !stream.capture             ? CU_STREAM_CAPTURE_STATUS_NONE
         : stream.capture->isInvalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                     : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

/// Lives until the stream's next question: the handles that cuStreamGetCaptureInfo points at.
std::vector<CUgraphNode> &tailHandles(const Stream &stream) {
  thread_local std::vector<CUgraphNode> handles;
  handles.clear();
  for (const auto &node : stream.captureTail)
    handles.push_back(node->as<CUgraphNode>());
  return handles;
}

CUresult captureInfo(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                     const CUgraphNode **dependencies, const CUgraphEdgeData **edges,
                     size_t *count) {
  return withStream(handle, [&](Driver &, Lock &, const auto &stream) -> CUresult {
    if (!status)
      return CUDA_ERROR_INVALID_VALUE;
    *status = statusOf(*stream);
    if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
      return CUDA_SUCCESS;
    if (id)
      *id = stream->capture->id;
    if (graph)
      *graph = stream->capture->graph->template as<CUgraph>();
    if (edges)
      *edges = nullptr;
    std::vector<CUgraphNode> &handles = tailHandles(*stream);
    if (dependencies)
      *dependencies = handles.data();
    if (count)
      *count = handles.size();
    return CUDA_SUCCESS;
  });
}

CUresult findNodes(Driver &driver, const CUgraphNode *handles, size_t count,
                   std::vector<std::shared_ptr<Node>> &nodes) {
  for (size_t i = 0; i < count; ++i) {
    auto node = handles ? driver.nodes.find(handles[i]) : nullptr;
    if (!node)
      return CUDA_ERROR_INVALID_VALUE;
    nodes.push_back(std::move(node));
  }
  return CUDA_SUCCESS;
}

CUresult updateCapture(CUstream handle, CUgraphNode *list, size_t count, unsigned flags) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    if (!stream->capture)
      return CUDA_ERROR_ILLEGAL_STATE;
    std::vector<std::shared_ptr<Node>> nodes;
    PTXSIM_RETURN_IF(findNodes(driver, list, count, nodes));
    if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
      stream->captureTail.clear();
    else if (flags != CU_STREAM_ADD_CAPTURE_DEPENDENCIES)
      return CUDA_ERROR_INVALID_VALUE;
    stream->captureTail.insert(stream->captureTail.end(), nodes.begin(), nodes.end());
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

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    return beginCapture(driver, stream, nullptr, {}, mode);
  });
}

CUresult cuStreamBeginCaptureToGraph(CUstream handle, CUgraph graphHandle,
                                     const CUgraphNode *dependencies, const CUgraphEdgeData *,
                                     size_t count, CUstreamCaptureMode mode) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    auto graph = driver.graphs.find(graphHandle);
    std::vector<std::shared_ptr<Node>> nodes;
    if (!graph)
      return CUDA_ERROR_INVALID_HANDLE;
    PTXSIM_RETURN_IF(findNodes(driver, dependencies, count, nodes));
    return beginCapture(driver, stream, graph, std::move(nodes), mode);
  });
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    return graph ? endCapture(driver, stream, graph) : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status) {
  return withStream(handle, [&](Driver &driver, Lock &, const auto &stream) -> CUresult {
    if (!status)
      return CUDA_ERROR_INVALID_VALUE;
    PTXSIM_RETURN_IF(checkImplicitCapture(driver, stream));
    *status = statusOf(*stream);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **dependencies,
                                   size_t *count) {
  return captureInfo(stream, status, id, graph, dependencies, nullptr, count);
}
CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **dependencies,
                                   const CUgraphEdgeData **edges, size_t *count) {
  return captureInfo(stream, status, id, graph, dependencies, edges, count);
}
CUresult cuStreamUpdateCaptureDependencies_v2(CUstream stream, CUgraphNode *dependencies,
                                              const CUgraphEdgeData *, size_t count,
                                              unsigned int flags) {
  return updateCapture(stream, dependencies, count, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, threadCaptureMode());
  return CUDA_SUCCESS;
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
