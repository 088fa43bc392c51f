// Streams: order of queued work, default-stream semantics, stream capture.
#pragma once

#include "tools/ptxsim/driver/call.h"

namespace platen::ptxsim::driver {

/// The stream that a handle means (null and CU_STREAM_LEGACY: the context's, CU_STREAM_PER_THREAD:
/// the thread's). Null: no such stream.
std::shared_ptr<Stream> resolveStream(Driver &driver, const std::shared_ptr<Context> &current,
                                      CUstream handle);

/// Queues an operation in a stream, or adds it to the graph that the stream captures.
CUresult submit(Driver &driver, const std::shared_ptr<Stream> &stream, const Operation &operation);
/// Queues finished work behind the stream's, and `also`.
void enqueue(Driver &driver, const std::shared_ptr<Stream> &stream, const WorkPointer &work,
             std::vector<WorkPointer> also = {});
/// A marker behind everything that the stream holds now.
WorkPointer mark(Driver &driver, const std::shared_ptr<Stream> &stream,
                 std::vector<WorkPointer> also = {});

/// Fails (and invalidates the capture) if a capture in progress forbids calls that are not
/// captured.
CUresult forbidWhileCapturing(Driver &driver);
/// The legacy stream may not be used while a blocking stream of its context captures.
CUresult checkImplicitCapture(Driver &driver, const std::shared_ptr<Stream> &stream);
/// For calls that wait for a stream.
CUresult checkNotCapturing(const std::shared_ptr<Stream> &stream);

CUresult recordEvent(Driver &driver, const std::shared_ptr<Stream> &stream,
                     const std::shared_ptr<Event> &event, bool external);
CUresult waitEvent(Driver &driver, const std::shared_ptr<Stream> &stream,
                   const std::shared_ptr<Event> &event, bool external);

/// body(driver, lock, stream) for a stream of a context that has not failed.
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

/// How strict this thread is about captures (cuThreadExchangeStreamCaptureMode).
CUstreamCaptureMode &threadCaptureMode();

} // namespace platen::ptxsim::driver
