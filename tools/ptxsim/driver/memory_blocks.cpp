#include "tools/ptxsim/driver/memory_blocks.h"

#include <algorithm>
#include <cstdlib>
#include <sys/mman.h>

namespace platen::ptxsim::driver {
namespace {

constexpr size_t kPage = 4096;

size_t wholePages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

} // namespace

Place placeOf(const Driver &driver, uint64_t address) {
  auto allocation = driver.memory.find(address);
  if (!allocation)
    return Place::kPageable;
  return allocation->owner == kHostOwner ? Place::kPinned : Place::kDevice;
}

CUresult allocateDevice(Driver &driver, const std::shared_ptr<Context> &context, size_t bytes,
                        Block::Kind kind, uint64_t &address) {
  if (bytes == 0)
    return CUDA_ERROR_INVALID_VALUE;
  const Device &device = driver.devices[static_cast<size_t>(context->device)];
  size_t used = driver.memory.allocatedBytes(context->device);
  if (bytes > device.memoryBytes || used > device.memoryBytes - bytes)
    return CUDA_ERROR_OUT_OF_MEMORY;
  auto allocated = driver.memory.allocate(bytes, context->device);
  if (!allocated)
    return CUDA_ERROR_OUT_OF_MEMORY;
  address = *allocated;
  driver.blocks[address] = {kind,
                            kind == Block::Kind::kPooled ? 0 : context->handle,
                            context->device,
                            bytes,
                            0,
                            0,
                            driver.nextId++,
                            0,
                            false};
  return CUDA_SUCCESS;
}

CUresult allocateHost(Driver &driver, const std::shared_ptr<Context> &context, size_t bytes,
                      Block::Kind kind, unsigned flags, uint64_t &address) {
  if (bytes == 0)
    return CUDA_ERROR_INVALID_VALUE;
  size_t mapped = wholePages(bytes);
  void *memory = mapped < bytes ? MAP_FAILED
                                : mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return CUDA_ERROR_OUT_OF_MEMORY;
  if (!driver.memory.registerHost(memory, bytes).isOk()) {
    munmap(memory, mapped);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  address = reinterpret_cast<uint64_t>(memory);
  driver.blocks[address] = {
      kind, context->handle, context->device, bytes, mapped, flags, driver.nextId++, 0, false};
  return CUDA_SUCCESS;
}

Block *findBlock(Driver &driver, uint64_t address, std::initializer_list<Block::Kind> kinds) {
  auto it = driver.blocks.find(address);
  if (it == driver.blocks.end() ||
      std::find(kinds.begin(), kinds.end(), it->second.kind) == kinds.end())
    return nullptr;
  return &it->second;
}

CUresult releaseBlock(Driver &driver, uint64_t address) {
  auto it = driver.blocks.find(address);
  if (it == driver.blocks.end())
    return CUDA_ERROR_INVALID_VALUE;
  Block block = it->second;
  driver.blocks.erase(it);
  auto *pointer = reinterpret_cast<void *>(address);
  if (block.kind == Block::Kind::kDevice || block.kind == Block::Kind::kPooled) {
    if (block.pool)
      if (auto pool = driver.pools.find(reinterpret_cast<void *>(block.pool)))
        pool->used -= std::min<uint64_t>(pool->used, block.bytes);
    return driver.memory.free(address).isOk() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  bool isOk = driver.memory.unregisterHost(pointer).isOk();
  if (block.mappedBytes)
    munmap(pointer, block.mappedBytes);
  return isOk ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void drainAll(Driver &driver, Lock &lock) {
  for (const Device &device : driver.devices)
    drainDevice(driver, lock, device.ordinal);
}

} // namespace platen::ptxsim::driver
