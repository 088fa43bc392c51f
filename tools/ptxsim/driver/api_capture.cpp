// Entry points: stream capture.
#include "tools/ptxsim/driver/contexts.h"
#include "tools/ptxsim/driver/graphs.h"

using namespace platen::ptxsim::driver;

namespace {

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

} // namespace

extern "C" {

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

} // extern "C"
