// The double's functions, under the names that the real driver exports them by.
#include "runtime/device/cuda/testing/driver_double.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "runtime/plan/kernel_abi.h"

using namespace platen::device::cuda;

namespace platen::device::cuda {
struct CUctx_st {};
struct CUstream_st {
  bool recording = false, spoiled = false;
  std::vector<std::function<CUresult()>> recorded;
};
struct CUevent_st {
  size_t launches = 0; // when it was recorded
};
struct CUmod_st {
  std::set<std::string> entries;
};
struct CUgraph_st {
  std::vector<std::function<CUresult()>> nodes;
};
struct CUgraphExec_st {
  std::vector<std::function<CUresult()>> nodes;
};
} // namespace platen::device::cuda

namespace {

constexpr CUresult kInvalidValue = 1, kNotInitialized = 3, kInvalidDevice = 101,
                   kInvalidContext = 201, kStreamCaptureUnsupported = 900;

/// Blocks and threads as a thread sees them.
struct Thread {
  uint64_t block, threads, index;
  uint64_t global() const { return block * threads + index; }
};

template <typename T> T *pointer(void **parameters, size_t index) {
  T *value = nullptr;
  std::memcpy(&value, parameters[index], sizeof value);
  return value;
}

void embed(void **p, Thread thread) {
  const auto *step = pointer<const PlatenStep>(p, 0);
  auto element = static_cast<int64_t>(thread.global());
  if (element / 4 < step->tokens)
    pointer<int32_t>(p, 2)[element] =
        pointer<const int32_t>(p, 1)[step->token_ids[element / 4] * 4 + element % 4];
}

/// Where column `column` of position `position` stands in the cache.
int64_t cacheIndex(const PlatenStep &step, int64_t sequence, int64_t position, int64_t column,
                   int64_t page_tokens) {
  int64_t page = step.page_table[sequence * step.page_table_stride + position / page_tokens];
  return page * 8 * page_tokens + column * page_tokens + position % page_tokens;
}

void store(void **p, Thread thread) {
  const auto *step = pointer<const PlatenStep>(p, 0);
  auto element = static_cast<int64_t>(thread.global()), token = element / 4;
  if (token < step->tokens)
    pointer<int32_t>(p, 3)[cacheIndex(*step, step->sequence_of_token[token], step->positions[token],
                                      element % 4, pointer<const int32_t>(p, 1)[1])] =
        pointer<const int32_t>(p, 2)[element];
}

void sum(void **p, Thread thread) {
  const auto *step = pointer<const PlatenStep>(p, 0);
  auto element = static_cast<int64_t>(thread.global());
  if (element / 4 >= step->rows)
    return;
  int64_t token = step->row_tokens[element / 4];
  uint32_t total = 0;
  for (int64_t position = 0; position <= step->positions[token]; ++position)
    total += static_cast<uint32_t>(
        pointer<const int32_t>(p, 2)[cacheIndex(*step, step->sequence_of_token[token], position,
                                                element % 4, pointer<const int32_t>(p, 1)[1])]);
  pointer<uint32_t>(p, 3)[element] = total;
}

void next(void **p, Thread thread) {
  const auto *step = pointer<const PlatenStep>(p, 0);
  auto row = static_cast<int64_t>(thread.global());
  if (row >= step->rows)
    return;
  const uint32_t *hidden = pointer<const uint32_t>(p, 2) + row * 4;
  pointer<uint32_t>(p, 4)[row] = (hidden[0] + hidden[1] * 3 + hidden[2] * 5 + hidden[3] * 7) %
                                 pointer<const uint32_t>(p, 1)[0];
}

void logits(void **p, Thread thread) {
  const auto *step = pointer<const PlatenStep>(p, 0);
  auto row = static_cast<int64_t>(thread.block);
  if (row >= step->rows)
    return;
  uint32_t vocabulary = pointer<const uint32_t>(p, 1)[0],
           token = pointer<const uint32_t>(p, 4)[row];
  for (auto v = static_cast<uint32_t>(thread.index); v < vocabulary;
       v += static_cast<uint32_t>(thread.threads))
    pointer<float>(p, 3)[row * vocabulary + v] = v != token                                  ? 0.0F
                                                 : token == pointer<const uint32_t>(p, 1)[2] ? NAN
                                                                                             : 1.0F;
}

uint64_t vocabulary = 0; // that the sampler of the module loaded last was made for

void sample(void **p, Thread thread) {
  const auto *step = pointer<const PlatenStep>(p, 0);
  auto row = thread.global();
  if (static_cast<int64_t>(row) >= step->rows)
    return;
  const float *first = pointer<const float>(p, 1) + row * vocabulary;
  bool broken = std::any_of(first, first + vocabulary, [](float x) { return std::isnan(x); });
  pointer<int32_t>(p, 3)[row] =
      broken ? -1 : static_cast<int32_t>(std::max_element(first, first + vocabulary) - first);
}

void outer(void **p, Thread thread) {
  const auto *step = pointer<const PlatenGraphStep>(p, 0);
  const int64_t *symbols = step->symbols;
  auto row = static_cast<int64_t>(thread.global());
  if (row >= step->step.tokens)
    return;
  uint32_t sum = 0;
  for (int64_t j = 0; j < 4; ++j) {
    uint32_t product = pointer<const uint32_t>(p, 1)[row / symbols[1] * 4 + j] *
                       pointer<const uint32_t>(p, 2)[row % symbols[1] * 4 + j];
    pointer<uint32_t>(p, 3)[row * 4 + j] = product;
    sum += product;
  }
  pointer<uint32_t>(p, 4)[row] = sum;
}

void total(void **p, Thread thread) {
  const auto *step = pointer<const PlatenGraphStep>(p, 0);
  const int64_t *symbols = step->symbols;
  auto row = static_cast<int64_t>(thread.global());
  if (row >= step->step.rows)
    return;
  int64_t n = symbols[0], m = symbols[1];
  auto sum = static_cast<uint32_t>(n + 1000 * m);
  for (int64_t i = 0; i < m * 4; ++i)
    sum += pointer<const uint32_t>(p, 2)[row * m * 4 + i] * pointer<const uint32_t>(p, 1)[i % 4];
  pointer<uint32_t>(p, 3)[row] = sum;
}

/// An entry: what it does and how many parameters it takes.
struct Entry {
  void (*run)(void **, Thread);
  size_t parameters;
};
const std::map<std::string, Entry> &entries() {
  static const std::map<std::string, Entry> all = {
      {"platen_tiny_embed", {embed, 3}},   {"platen_tiny_store", {store, 4}},
      {"platen_tiny_sum", {sum, 4}},       {"platen_tiny_next", {next, 5}},
      {"platen_tiny_logits", {logits, 5}}, {"platen_tiny_sample", {sample, 4}},
      {"platen_tiny_outer", {outer, 5}},   {"platen_tiny_total", {total, 4}}};
  return all;
}

} // namespace

namespace platen::device::cuda {
struct CUfunc_st {
  std::string name;
  void (*run)(void **, Thread);
  size_t parameters;
  int dynamic_shared = 48 << 10;
  bool large_clusters = false;
};
} // namespace platen::device::cuda

namespace {

struct State {
  CudaDouble control;
  bool initialized = false;
  CUresult stuck = 0;
  CUctx_st context;
  std::map<CUdeviceptr, size_t> blocks; // live device memory
  std::vector<std::unique_ptr<CUfunc_st>> functions;
};
State &state() {
  static State state;
  return state;
}
thread_local std::vector<CUcontext> current;

/// What each call begins with: an injected failure, or a context that is missing.
CUresult enter(const char *function, bool needs_context = true) {
  State &self = state();
  CudaDouble &control = self.control;
  if (control.fail_call != 0 && control.fail_function == function && --control.fail_call == 0) {
    if (control.fail_sticks)
      self.stuck = control.fail_result;
    return control.fail_result;
  }
  if (!self.initialized)
    return kNotInitialized;
  if (needs_context && (current.empty() || current.back() != &self.context))
    return kInvalidContext;
  return needs_context ? self.stuck : 0;
}

bool isLive(CUdeviceptr address, size_t bytes) {
  const auto &blocks = state().blocks;
  auto after = blocks.upper_bound(address);
  if (after == blocks.begin())
    return false;
  auto block = std::prev(after);
  return address - block->first <= block->second &&
         bytes <= block->second - (address - block->first);
}

std::byte *host(CUdeviceptr address) { return reinterpret_cast<std::byte *>(address); }

/// Runs work, or records it.
CUresult enqueue(CUstream stream, std::function<CUresult()> work) {
  if (stream == nullptr)
    return kInvalidValue;
  if (!stream->recording)
    return work();
  stream->recorded.push_back(std::move(work));
  return 0;
}

CUresult launch(CUfunction function, CUlaunchConfig config, void **parameters,
                const unsigned (&cluster)[3]) {
  if (config.gridDimX == 0 || config.gridDimY == 0 || config.gridDimZ == 0 ||
      config.blockDimX == 0 || config.blockDimX > 1024 ||
      config.sharedMemBytes > static_cast<unsigned>(function->dynamic_shared) ||
      config.gridDimX % cluster[0] != 0 || config.gridDimY % cluster[1] != 0 ||
      config.gridDimZ % cluster[2] != 0 ||
      (cluster[0] * cluster[1] * cluster[2] > 8 && !function->large_clusters))
    return kInvalidValue;
  std::vector<CUdeviceptr> values; // copied at the call, as the driver does
  for (size_t i = 0; i < function->parameters; ++i) {
    values.push_back(0);
    std::memcpy(&values.back(), parameters[i], sizeof values.back());
    if (!isLive(values.back(), 0))
      return CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  CudaDouble::Launched launched{function->name,
                                {config.gridDimX, config.gridDimY, config.gridDimZ},
                                config.blockDimX,
                                config.sharedMemBytes,
                                {cluster[0], cluster[1], cluster[2]},
                                values.size()};
  return enqueue(config.hStream, [=]() mutable {
    state().control.launched.push_back(launched);
    std::vector<void *> pointers;
    for (CUdeviceptr &value : values)
      pointers.push_back(&value);
    for (unsigned block = 0; block < config.gridDimX; ++block)
      for (unsigned thread = 0; thread < config.blockDimX; ++thread)
        function->run(pointers.data(), {block, config.blockDimX, thread});
    return 0;
  });
}

} // namespace

extern "C" {

CudaDouble *platenCudaDouble() {
  state().stuck = 0; // whoever takes the controls gives back the device
  return &state().control;
}

CUresult cuInit(unsigned) {
  state().initialized = true;
  if (CUresult result = enter("cuInit", false); result != 0)
    return result;
  return state().control.devices == 0 ? CUDA_ERROR_NO_DEVICE : 0;
}
CUresult cuDriverGetVersion(int *version) {
  *version = 12040;
  return 0;
}
CUresult cuGetErrorName(CUresult error, const char **text) {
  static const std::map<CUresult, const char *> names = {
      {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
      {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX"},
      {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"}};
  auto found = names.find(error);
  *text = found == names.end() ? nullptr : found->second;
  return found == names.end() ? kInvalidValue : 0;
}
CUresult cuGetErrorString(CUresult, const char **text) {
  *text = "as the test asked";
  return 0;
}
CUresult cuDeviceGetCount(int *count) {
  *count = state().control.devices;
  return enter("cuDeviceGetCount", false);
}
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  *device = ordinal;
  return ordinal < state().control.devices ? enter("cuDeviceGet", false) : kInvalidDevice;
}
CUresult cuDeviceGetName(char *name, int bytes, CUdevice) {
  std::strncpy(name, "Driver double", static_cast<size_t>(bytes));
  return enter("cuDeviceGetName", false);
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
  const CudaDouble &control = state().control;
  *value =
      attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? control.major : control.minor;
  return enter("cuDeviceGetAttribute", false);
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice) {
  *bytes = state().control.total_bytes;
  return enter("cuDeviceTotalMem", false);
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) {
  if (CUresult result = enter("cuDevicePrimaryCtxRetain", false); result != 0)
    return result;
  *context = &state().context;
  ++state().control.live_contexts;
  return 0;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) {
  --state().control.live_contexts;
  return 0;
}
CUresult cuCtxPushCurrent_v2(CUcontext context) {
  current.push_back(context);
  return 0;
}
CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  if (current.empty())
    return kInvalidContext;
  *context = current.back();
  current.pop_back();
  return 0;
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  *total = state().control.total_bytes;
  *free = *total - state().control.used_bytes;
  return enter("cuMemGetInfo");
}
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  if (CUresult result = enter("cuMemAlloc"); result != 0)
    return result;
  CudaDouble &control = state().control;
  if (bytes > control.total_bytes - control.used_bytes)
    return CUDA_ERROR_OUT_OF_MEMORY;
  void *block = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(block, 0xcd, bytes); // nobody promised zeros
  *address = reinterpret_cast<CUdeviceptr>(block);
  state().blocks[*address] = bytes;
  control.used_bytes += bytes;
  ++control.allocations;
  ++control.live_allocations;
  return 0;
}
CUresult cuMemFree_v2(CUdeviceptr address) {
  CUresult result = enter("cuMemFree");
  auto block = state().blocks.find(address);
  if (block == state().blocks.end())
    return kInvalidValue;
  state().control.used_bytes -= block->second;
  --state().control.live_allocations;
  state().blocks.erase(block);
  std::free(host(address));
  return result;
}
CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  if (CUresult result = enter("cuMemHostAlloc"); result != 0)
    return result;
  *address = std::malloc(bytes);
  ++state().control.pinned_allocations;
  ++state().control.live_pinned;
  return 0;
}
CUresult cuMemFreeHost(void *address) {
  std::free(address);
  --state().control.live_pinned;
  return enter("cuMemFreeHost");
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  if (CUresult result = enter("cuMemsetD8Async"); result != 0)
    return result;
  if (!isLive(to, bytes))
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  return enqueue(stream, [=] {
    std::memset(host(to), value, bytes);
    return 0;
  });
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  if (CUresult result = enter("cuMemcpyHtoDAsync"); result != 0)
    return result;
  if (!isLive(to, bytes))
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  ++state().control.uploads;
  return enqueue(stream, [=] {
    std::memcpy(host(to), from, bytes);
    return 0;
  });
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  if (CUresult result = enter("cuMemcpyDtoHAsync"); result != 0)
    return result;
  if (!isLive(from, bytes))
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  ++state().control.downloads;
  return enqueue(stream, [=] {
    std::memcpy(to, host(from), bytes);
    return 0;
  });
}

CUresult cuStreamCreate(CUstream *stream, unsigned) {
  if (CUresult result = enter("cuStreamCreate"); result != 0)
    return result;
  *stream = new CUstream_st;
  ++state().control.live_streams;
  return 0;
}
CUresult cuStreamDestroy_v2(CUstream stream) {
  delete stream;
  --state().control.live_streams;
  return enter("cuStreamDestroy");
}
CUresult cuStreamSynchronize(CUstream stream) {
  if (CUresult result = enter("cuStreamSynchronize"); result != 0)
    return result;
  ++state().control.synchronizations;
  stream->spoiled = stream->recording;
  return stream->recording ? kStreamCaptureUnsupported : 0;
}
CUresult cuEventCreate(CUevent *event, unsigned) {
  if (CUresult result = enter("cuEventCreate"); result != 0)
    return result;
  *event = new CUevent_st;
  ++state().control.live_events;
  return 0;
}
CUresult cuEventDestroy_v2(CUevent event) {
  delete event;
  --state().control.live_events;
  return enter("cuEventDestroy");
}
CUresult cuEventRecord(CUevent event, CUstream) {
  event->launches = state().control.launched.size();
  return enter("cuEventRecord");
}
/// As many microseconds as threads of one block were launched in between.
CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  const CudaDouble &control = state().control;
  double threads = 0;
  for (size_t i = start->launches; i < end->launches; ++i) {
    threads += control.launched[i].threads;
  }
  *milliseconds = static_cast<float>(threads * 1e-3);
  return enter("cuEventElapsedTime");
}
CUresult cuEventSynchronize(CUevent) { return enter("cuEventSynchronize"); }

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count,
                            CUjit_option *options, void **values) {
  CUresult result = enter("cuModuleLoadDataEx");
  if (result != 0) {
    for (unsigned i = 0; i < count; ++i)
      if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
        std::strcpy(static_cast<char *>(values[i]), state().control.jit_log.c_str());
    return result;
  }
  auto loaded = std::make_unique<CUmod_st>();
  std::string text = static_cast<const char *>(image), mark = ".entry ";
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    size_t begin = at + mark.size();
    loaded->entries.insert(text.substr(begin, text.find('(', begin) - begin));
  }
  if (size_t at = text.find("// vocabulary "); at != std::string::npos)
    vocabulary = std::stoull(text.substr(at + 14));
  *module = loaded.release();
  ++state().control.modules;
  ++state().control.live_modules;
  return 0;
}
CUresult cuModuleUnload(CUmodule module) {
  delete module;
  --state().control.live_modules;
  return enter("cuModuleUnload");
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  if (CUresult result = enter("cuModuleGetFunction"); result != 0)
    return result;
  auto entry = entries().find(name);
  if (!module->entries.contains(name) || entry == entries().end())
    return CUDA_ERROR_NOT_FOUND;
  state().functions.push_back(std::make_unique<CUfunc_st>(
      CUfunc_st{.name = name, .run = entry->second.run, .parameters = entry->second.parameters}));
  *function = state().functions.back().get();
  return 0;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute, CUfunction) {
  *value = 512;
  return enter("cuFuncGetAttribute");
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    function->dynamic_shared = value;
  else
    function->large_clusters = value != 0;
  return enter("cuFuncSetAttribute");
}
CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                        unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                        CUstream stream, void **parameters, void **) {
  if (CUresult result = enter("cuLaunchKernel"); result != 0)
    return result;
  return launch(function,
                {gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, stream, nullptr, 0},
                parameters, {1, 1, 1});
}

CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  if (CUresult result = enter("cuStreamBeginCapture"); result != 0)
    return result;
  if (stream->recording || mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    return kInvalidValue;
  stream->recording = true;
  return 0;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
  CUresult result = enter("cuStreamEndCapture");
  if (!stream->recording)
    return kInvalidValue;
  stream->recording = false;
  auto recorded = std::exchange(stream->recorded, {});
  if (result != 0 || std::exchange(stream->spoiled, false))
    return result != 0 ? result : kStreamCaptureUnsupported;
  *graph = new CUgraph_st{std::move(recorded)};
  return 0;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long) {
  if (CUresult result = enter("cuGraphInstantiate"); result != 0)
    return result;
  *exec = new CUgraphExec_st{graph->nodes};
  ++state().control.graphs;
  ++state().control.live_graphs;
  return 0;
}
CUresult cuGraphDestroy(CUgraph graph) {
  delete graph;
  return enter("cuGraphDestroy");
}
CUresult cuGraphExecDestroy(CUgraphExec exec) {
  delete exec;
  --state().control.live_graphs;
  return enter("cuGraphExecDestroy");
}
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  if (CUresult result = enter("cuGraphLaunch"); result != 0)
    return result;
  ++state().control.graph_launches;
  for (const auto &node : exec->nodes)
    if (CUresult result = enqueue(stream, node); result != 0)
      return result;
  return 0;
}

#ifndef PLATEN_DOUBLE_OF_AN_OLD_DRIVER
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters,
                          void **) {
  if (CUresult result = enter("cuLaunchKernelEx"); result != 0)
    return result;
  if (config->numAttrs != 1 || config->attrs[0].id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
    return kInvalidValue;
  auto cluster = config->attrs[0].value.clusterDim;
  return launch(function, *config, parameters, {cluster.x, cluster.y, cluster.z});
}
CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, uint32_t rank,
                                void *address, const uint64_t *sizes, const uint64_t *strides,
                                const uint32_t *box, const uint32_t *elementStrides, int interleave,
                                int swizzle, int, int) {
  for (uint32_t i = 0; i < rank; ++i)
    if (elementStrides[i] != 1)
      return kInvalidValue;
  if (interleave != 0 || reinterpret_cast<uintptr_t>(address) % 16 != 0 ||
      reinterpret_cast<uintptr_t>(map) % 64 != 0)
    return kInvalidValue;
  state().control.maps.push_back({type,
                                  address,
                                  {sizes, sizes + rank},
                                  {strides, strides + rank - 1},
                                  {box, box + rank},
                                  swizzle});
  map->opaque[0] = state().control.maps.size();
  return enter("cuTensorMapEncodeTiled", false);
}
#endif

} // extern "C"
