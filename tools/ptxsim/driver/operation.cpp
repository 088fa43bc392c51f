#include "tools/ptxsim/driver/operation.h"

#include "tools/ptxsim/driver/call.h"
#include "tools/ptxsim/driver/objects.h"

#include <cstring>

namespace platen::ptxsim::driver {
namespace {

/// From the first byte of the first row to the last byte of the last.
size_t extentOf(const CopyEnd &end, const CopyOperation &copy) {
  return (copy.depth - 1) * end.slice + (copy.height - 1) * end.pitch + copy.width;
}

base::Status copyRow(Memory &memory, const CopyEnd &to, uint64_t target, const CopyEnd &from,
                     uint64_t source, size_t bytes) {
  auto *host = reinterpret_cast<void *>(target);
  const void *hostSource =
      from.staged ? from.staged->data() + source : reinterpret_cast<const void *>(source);
  bool toDevice = memory.find(target).isOk();
  bool fromDevice = !from.staged && memory.find(source).isOk();
  (void)to;
  if (toDevice && fromDevice)
    return memory.copy(target, source, bytes);
  if (toDevice)
    return memory.write(target, hostSource, bytes);
  if (fromDevice)
    return memory.read(source, host, bytes);
  std::memmove(host, hostSource, bytes);
  return {};
}

CUresult resultOf(const Violation &violation) {
  switch (violation.kind) {
  case ViolationKind::kOutOfBounds:
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  case ViolationKind::kMisaligned:
    return CUDA_ERROR_MISALIGNED_ADDRESS;
  case ViolationKind::kIllegalInstruction:
    return CUDA_ERROR_ILLEGAL_INSTRUCTION;
  case ViolationKind::kDeadlock:
  case ViolationKind::kHang:
    return CUDA_ERROR_LAUNCH_TIMEOUT;
  case ViolationKind::kTrap:
    return violation.message.find("assert") != std::string::npos ? CUDA_ERROR_ASSERT
                                                                 : CUDA_ERROR_LAUNCH_FAILED;
  case ViolationKind::kUninitialisedRead:
  case ViolationKind::kSharedRace:
  case ViolationKind::kGlobalRace:
    break;
  }
  return CUDA_ERROR_LAUNCH_FAILED;
}

CUresult perform(const KernelOperation &kernel, int device, const std::set<int> &reachable) {
  Driver &driver = Driver::get();
  const Settings &settings = driver.settings;
  Launch launch;
  launch.kernel = kernel.function->info->name;
  launch.grid = kernel.grid;
  launch.block = kernel.block;
  launch.cluster = kernel.cluster;
  launch.dynamicSharedBytes = kernel.dynamicSharedBytes;
  launch.parameters = std::as_bytes(std::span(kernel.parameters.data(), kernel.parameters.size()));
  launch.cooperative = kernel.cooperative;
  launch.device = device;
  launch.mayAccess = [&](int owner) {
    return owner == device || owner == kHostOwner || reachable.contains(owner);
  };
  Options options;
  options.asyncOrder = settings.order;
  options.seed = settings.seed;
  options.checkRaces = settings.checks.races;
  options.checkInitialised = settings.checks.initialised;
  options.checkTensorFences = settings.checks.tensorFences;
  options.checkLaneRaces = settings.checks.laneRaces;
  options.checkGlobalRaces = settings.checks.globalRaces;
  options.counters = settings.counters != CounterFormat::kNone;
  options.sharedBytesLimit =
      driver.devices[static_cast<size_t>(device)].traits->sharedPerBlockOptin;
  options.threads = settings.threads;
  auto report = run(*kernel.function->image->loaded, driver.memory, launch, options);
  if (!report) {
    logLine("kernel " + std::string(launch.kernel) + ": " + report.status().toString());
    return report.status().code() == base::StatusCode::kUnsupported ? CUDA_ERROR_NOT_SUPPORTED
                                                                    : CUDA_ERROR_LAUNCH_FAILED;
  }
  driver.report->launched(std::string(launch.kernel), device, *report);
  return report->violation ? resultOf(*report->violation) : CUDA_SUCCESS;
}

/// On the thread of host functions; calls of the driver inside are refused.
void perform(const HostOperation &host, const std::shared_ptr<Context> &context) {
  CUresult status = CUDA_SUCCESS;
  {
    Lock lock(Driver::get().mutex);
    status = context->error;
  }
  CallbackScope scope;
  if (host.callback)
    host.callback(host.stream, status, host.data);
  else
    host.function(host.data);
}

/// Devices whose memory a kernel of `context` may touch, beside its own.
std::set<int> reachableFrom(const Context &context) {
  std::set<int> reachable = context.peers;
  for (const auto &[handle, pool] : Driver::get().pools.all())
    if (pool->access.contains(context.device))
      reachable.insert(pool->device);
  return reachable;
}

bool isInside(const Memory &memory, const CopyEnd &end, const CopyOperation &copy) {
  if (end.staged || !memory.find(end.address).isOk())
    return true; // pageable memory: the process's own business
  return memory.find(end.address, extentOf(end, copy)).isOk();
}

} // namespace

CUresult checkRanges(const CopyOperation &copy) {
  const Memory &memory = Driver::get().memory;
  if (copy.width == 0 || copy.height == 0 || copy.depth == 0)
    return CUDA_SUCCESS;
  return isInside(memory, copy.to, copy) && isInside(memory, copy.from, copy)
             ? CUDA_SUCCESS
             : CUDA_ERROR_INVALID_VALUE;
}

CUresult checkRanges(const FillOperation &fill) {
  if (fill.width == 0 || fill.height == 0)
    return CUDA_SUCCESS;
  size_t extent = (fill.height - 1) * fill.pitch + fill.width * fill.elementBytes;
  return Driver::get().memory.find(fill.address, extent).isOk() ? CUDA_SUCCESS
                                                                : CUDA_ERROR_INVALID_VALUE;
}

CUresult perform(const CopyOperation &copy) {
  Memory &memory = Driver::get().memory;
  size_t width = copy.width, height = copy.height, depth = copy.depth;
  if (width == 0 || height == 0 || depth == 0)
    return CUDA_SUCCESS;
  if (copy.to.pitch == width && copy.from.pitch == width) { // rows touch: one piece
    bool whole =
        depth == 1 || (copy.to.slice == width * height && copy.from.slice == copy.to.slice);
    width *= whole ? height * depth : height;
    depth = whole ? 1 : depth;
    height = 1;
  }
  for (size_t z = 0; z < depth; ++z)
    for (size_t y = 0; y < height; ++y) {
      uint64_t to = copy.to.address + z * copy.to.slice + y * copy.to.pitch;
      uint64_t from = copy.from.address + z * copy.from.slice + y * copy.from.pitch;
      if (auto status = copyRow(memory, copy.to, to, copy.from, from, width); !status.isOk()) {
        logLine("a queued copy: " + status.toString());
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      }
    }
  return CUDA_SUCCESS;
}

CUresult perform(const FillOperation &fill) {
  Memory &memory = Driver::get().memory;
  size_t bytes = fill.width * fill.elementBytes;
  std::string row;
  if (fill.elementBytes > 1) {
    row.resize(bytes);
    for (size_t i = 0; i < fill.width; ++i)
      std::memcpy(row.data() + i * fill.elementBytes, &fill.value, fill.elementBytes);
  }
  for (size_t y = 0; bytes && y < fill.height; ++y) {
    uint64_t to = fill.address + y * fill.pitch;
    auto status = fill.elementBytes > 1 ? memory.write(to, row.data(), bytes)
                                        : memory.fill(to, static_cast<uint8_t>(fill.value), bytes);
    if (!status.isOk()) {
      logLine("a queued memset: " + status.toString());
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
  }
  return CUDA_SUCCESS;
}

WorkPointer makeWork(const std::shared_ptr<Context> &context, const Operation &operation) {
  auto work = std::make_shared<Work>();
  work->context = context;
  work->executor = context->device;
  if (auto *kernel = std::get_if<KernelOperation>(&operation)) {
    work->perform = [kernel = *kernel, device = context->device,
                     reachable = reachableFrom(*context)] {
      return perform(kernel, device, reachable);
    };
  } else if (auto *copy = std::get_if<CopyOperation>(&operation)) {
    work->perform = [copy = *copy] { return perform(copy); };
  } else if (auto *fill = std::get_if<FillOperation>(&operation)) {
    work->perform = [fill = *fill] { return perform(fill); };
  } else if (auto *host = std::get_if<HostOperation>(&operation)) {
    work->executor = kHostExecutor;
    work->evenIfFailed = host->callback != nullptr;
    work->perform = [host = *host, context] {
      perform(host, context);
      return CUDA_SUCCESS;
    };
  } else if (auto *free = std::get_if<FreeOperation>(&operation)) {
    work->evenIfFailed = true;
    work->perform = [address = free->address] {
      Driver &driver = Driver::get();
      Lock lock(driver.mutex);
      return releaseBlock(driver, address);
    };
  }
  return work;
}

} // namespace platen::ptxsim::driver
