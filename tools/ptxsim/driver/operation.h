// Operations: what a stream or a graph node can do, as data: kernels, copies, fills, host
// functions, events, frees. performing() turns one into what the engine executes.
#pragma once

#include "tools/ptxsim/driver/engine.h"

#include <set>
#include <variant>

namespace platen::ptxsim::driver {

struct Event;
struct Function;
struct Graph;
struct LoadedImage;

/// One side of a copy: rows of bytes somewhere in the unified address space.
struct CopyEnd {
  uint64_t address = 0;
  size_t pitch = 0, slice = 0;         // bytes between rows, and between planes
  std::shared_ptr<std::string> staged; // a snapshot of pageable memory; then address is an offset
};
struct CopyOperation {
  CopyEnd to, from;
  size_t width = 0, height = 1, depth = 1; // bytes, rows, planes
};
struct FillOperation {
  uint64_t address = 0;
  size_t pitch = 0, width = 0, height = 1; // width in elements
  uint32_t value = 0, elementBytes = 1;
};
struct KernelOperation {
  std::shared_ptr<Function> function;
  Dim3 grid, block, cluster;
  bool hasCluster = false, cooperative = false;
  size_t dynamicSharedBytes = 0;
  int priority = 0;
  std::string parameters;
};
struct HostOperation {
  CUhostFn function = nullptr;
  void *data = nullptr;
  // cuStreamAddCallback:
  CUstreamCallback callback = nullptr;
  CUstream stream = nullptr;
};
struct EmptyOperation {};
struct EventRecordOperation {
  std::shared_ptr<Event> event;
};
struct EventWaitOperation {
  std::shared_ptr<Event> event;
};
struct ChildOperation {
  std::shared_ptr<Graph> graph;
};
struct FreeOperation {
  uint64_t address = 0;
};
using Operation =
    std::variant<EmptyOperation, KernelOperation, CopyOperation, FillOperation, HostOperation,
                 EventRecordOperation, EventWaitOperation, ChildOperation, FreeOperation>;

/// Checks a kernel's configuration against the function and the device, as a launch does.
CUresult checkLaunch(const Context &context, const KernelOperation &kernel);
/// Whether a copy's or fill's device ranges lie in allocations now.
CUresult checkRanges(const CopyOperation &copy);
CUresult checkRanges(const FillOperation &fill);

/// Executes at once, on this thread (copies and fills).
CUresult perform(const CopyOperation &copy);
CUresult perform(const FillOperation &fill);
/// Work that performs `operation` when its turn comes (events are the caller's).
WorkPointer makeWork(const std::shared_ptr<Context> &context, const Operation &operation);

} // namespace platen::ptxsim::driver
