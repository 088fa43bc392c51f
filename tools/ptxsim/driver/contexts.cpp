#include "tools/ptxsim/driver/contexts.h"

#include "tools/ptxsim/driver/memory_blocks.h"

namespace platen::ptxsim::driver {
namespace {

/// Handles of the objects that belong to `context`.
template <class T> std::vector<uint64_t> owned(const Handles<T> &handles, const Context *context) {
  std::vector<uint64_t> result;
  for (const auto &[handle, object] : handles.all())
    if (object->context.lock().get() == context)
      result.push_back(handle);
  return result;
}

} // namespace

std::shared_ptr<Context> createContext(Driver &driver, int device, unsigned flags, bool isPrimary) {
  auto context = std::make_shared<Context>();
  context->device = device;
  context->flags = flags;
  context->isPrimary = isPrimary;
  context->id = driver.nextId++;
  context->limits = {{CU_LIMIT_STACK_SIZE, 1024},
                     {CU_LIMIT_PRINTF_FIFO_SIZE, 1 << 20},
                     {CU_LIMIT_MALLOC_HEAP_SIZE, 8 << 20},
                     {CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 64},
                     {CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 0}};
  context->legacy = std::make_shared<Stream>();
  context->legacy->context = context;
  context->legacy->isLegacy = true;
  context->legacy->handle = reinterpret_cast<uint64_t>(CU_STREAM_LEGACY);
  context->legacy->id = driver.nextId++;
  driver.contexts.add(context);
  return context;
}

void destroyContext(Driver &driver, const std::shared_ptr<Context> &context) {
  for (uint64_t handle : owned(driver.streams, context.get()))
    driver.streams.remove(handle);
  for (uint64_t handle : owned(driver.events, context.get()))
    driver.events.remove(handle);
  for (uint64_t handle : owned(driver.functions, context.get()))
    driver.functions.remove(handle);
  for (uint64_t handle : owned(driver.modules, context.get()))
    driver.modules.remove(handle);
  for (const auto &[handle, library] : driver.libraries.all())
    library->modules.erase(context->handle);
  std::vector<uint64_t> addresses;
  for (const auto &[address, block] : driver.blocks)
    if (block.context == context->handle)
      addresses.push_back(address);
  for (uint64_t address : addresses)
    (void)releaseBlock(driver, address);
  // Work holds its context: what these streams did last would keep it for ever.
  context->legacy->tail.reset();
  for (const auto &[thread, stream] : context->perThread)
    stream->tail.reset();
  context->orphans.clear();
  context->isDestroyed = true;
  driver.contexts.remove(context->handle);
}

std::vector<std::shared_ptr<Stream>> streamsOf(Driver &driver, const Context &context) {
  std::vector<std::shared_ptr<Stream>> streams{context.legacy};
  for (const auto &[thread, stream] : context.perThread)
    streams.push_back(stream);
  for (uint64_t handle : context.streams)
    if (auto stream = driver.streams.find(reinterpret_cast<void *>(handle)))
      streams.push_back(stream);
  return streams;
}

} // namespace platen::ptxsim::driver
