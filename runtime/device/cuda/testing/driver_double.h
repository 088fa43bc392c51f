// A libcuda.so.1 for tests of this room's own logic: a double that does as told and counts.
//
// Device memory is host memory; work is done when it is enqueued. It knows the entries of the tiny
// plan (tiny_kernels_cuda.h) by name and computes what they compute, in C++: it runs no PTX, so it
// proves nothing of kernels. What it is strict about: a context must be current, addresses must lie
// inside live allocations, nothing waits while a stream is recorded, dynamic shared memory is asked
// for.
//
// A test loads it by path as the device does, and reaches its controls by dlsym of
// "platenCudaDouble".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/device/cuda/driver_api.h"

namespace platen::device::cuda {

struct CudaDouble {
  // What it pretends.
  int devices = 1;
  int major = 8, minor = 0;
  size_t total_bytes = size_t{1} << 30;

  /// The `fail_call`-th call from now on (1: the next) of this function gives `fail_result`. If
  /// `fail_sticks`, so does every later call of any function, as after a fault on a real device.
  std::string fail_function;
  uint64_t fail_call = 0;
  CUresult fail_result = 0;
  bool fail_sticks = false;
  std::string jit_log; ///< written when a module's load fails

  // What happened.
  struct Launched {
    std::string entry;
    unsigned grid[3], threads, shared_bytes, cluster[3];
    size_t parameters;
  };
  std::vector<Launched> launched; ///< by kernels that ran, replayed ones included
  uint64_t graphs = 0, graph_launches = 0, modules = 0;
  uint64_t allocations = 0, live_allocations = 0, used_bytes = 0;
  uint64_t pinned_allocations = 0, live_pinned = 0;
  uint64_t uploads = 0, downloads = 0, synchronizations = 0;
  uint64_t live_events = 0, live_streams = 0, live_graphs = 0, live_modules = 0, live_contexts = 0;
  struct EncodedMap {
    CUtensorMapDataType type;
    void *address;
    std::vector<uint64_t> sizes, strides;
    std::vector<uint32_t> box;
    int swizzle;
  };
  std::vector<EncodedMap> maps;

  /// Back to what a process starts with.
  void reset() { *this = CudaDouble(); }
};

using CudaDoubleAccess = CudaDouble *(*)();

} // namespace platen::device::cuda
