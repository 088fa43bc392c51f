#include "tools/ptxsim/driver/call.h"

#include <cstdlib>

#include <utility>

namespace platen::ptxsim::driver {
namespace {

thread_local int callbackDepth = 0, perThreadDepth = 0;

void atExit() {
  Driver &driver = Driver::get();
  Lock lock(driver.mutex);
  size_t lost = driver.engine ? driver.engine->shutDown(lock) : 0;
  if (lost)
    driver.report->note(std::to_string(lost) +
                        " queued operations were never waited for; the process ended before them");
  lock.unlock();
  driver.report->write();
}

/// Destructors of a program's statics may call the driver when the main thread's thread-local
/// objects are gone already: they find a new stack, which nobody frees.
thread_local std::vector<uint64_t> *stack = nullptr;
thread_local struct StackOwner {
  ~StackOwner() { delete std::exchange(stack, nullptr); }
} owner;

} // namespace

CallbackScope::CallbackScope() { ++callbackDepth; }
CallbackScope::~CallbackScope() { --callbackDepth; }
PerThreadScope::PerThreadScope() { ++perThreadDepth; }
PerThreadScope::~PerThreadScope() { --perThreadDepth; }
bool isInsideCallback() { return callbackDepth != 0; }
bool isPerThreadDefault() { return perThreadDepth != 0; }

std::vector<uint64_t> &contextStack() {
  if (stack == nullptr) {
    stack = new std::vector<uint64_t>;
    static_cast<void>(&owner); // which otherwise would not be made
  }
  return *stack;
}

Driver &Driver::get() {
  static Driver *driver = new Driver;
  return *driver;
}

CUresult Driver::initialise() {
  if (isInitialised)
    return CUDA_SUCCESS;
  auto read = Settings::read([](const char *name) { return std::getenv(name); });
  if (!read) {
    logLine(read.status().message());
    return CUDA_ERROR_INVALID_VALUE;
  }
  settings = std::move(*read);
  if (settings.devices.empty())
    return CUDA_ERROR_NO_DEVICE;
  engine = std::make_unique<Engine>(settings, mutex);
  report = std::make_unique<ReportBook>(settings);
  for (Architecture architecture : settings.devices) {
    Device device;
    device.architecture = architecture;
    device.ordinal = static_cast<int>(devices.size());
    device.traits = &traitsOf(architecture);
    device.memoryBytes = settings.memoryBytes;
    device.defaultPool = std::make_shared<Pool>();
    device.defaultPool->device = device.ordinal;
    device.defaultPool->isDefault = true;
    device.pool = device.defaultPool;
    pools.add(device.defaultPool);
    devices.push_back(std::move(device));
  }
  std::atexit(atExit);
  isInitialised = true;
  return CUDA_SUCCESS;
}

std::shared_ptr<Context> currentContext(Driver &driver, CUresult &result) {
  std::vector<uint64_t> &stack = contextStack();
  if (stack.empty() || stack.back() == 0) {
    result = CUDA_ERROR_INVALID_CONTEXT;
    return nullptr;
  }
  auto context = driver.contexts.find(reinterpret_cast<void *>(stack.back()));
  if (!context)
    result = CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return context;
}

CUresult drain(Driver &driver, Lock &lock, const std::shared_ptr<Context> &context) {
  std::vector<WorkPointer> tails{context->legacy->tail};
  for (const Context::Orphan &orphan : context->orphans)
    tails.push_back(orphan.tail);
  for (auto &[thread, stream] : context->perThread)
    tails.push_back(stream->tail);
  for (uint64_t handle : context->streams)
    if (auto stream = driver.streams.find(reinterpret_cast<void *>(handle)))
      tails.push_back(stream->tail);
  for (const WorkPointer &tail : tails)
    if (tail)
      driver.engine->force(tail);
  for (const WorkPointer &tail : tails)
    driver.engine->wait(lock, tail);
  return context->error;
}

void drainDevice(Driver &driver, Lock &lock, int device) {
  std::vector<std::shared_ptr<Context>> contexts;
  for (const auto &[handle, context] : driver.contexts.all())
    if (context->device == device)
      contexts.push_back(context);
  for (const auto &context : contexts)
    (void)drain(driver, lock, context);
}

CUresult notSupported(const char *name, const char *why) {
  std::string text = std::string(name) + " is not supported by the simulated driver";
  if (why)
    text += std::string(": ") + why;
  static std::mutex mutex;
  static std::set<std::string> said;
  std::lock_guard lock(mutex);
  if (said.insert(text).second)
    logLine(text);
  return CUDA_ERROR_NOT_SUPPORTED;
}

} // namespace platen::ptxsim::driver

/// The generated refusals of everything that no other file defines end here.
extern "C" CUresult ptxsimNotSupported(const char *name) {
  return platen::ptxsim::driver::notSupported(name);
}
