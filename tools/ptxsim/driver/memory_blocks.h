// Memory of the API: what was allocated, by whom, of which kind.
#pragma once

#include "tools/ptxsim/driver/streams.h"

namespace platen::ptxsim::driver {

enum class Place { kPageable, kPinned, kDevice };
Place placeOf(const Driver &driver, uint64_t address);

/// Device memory of the context's device; CUDA_ERROR_OUT_OF_MEMORY beyond what the device claims.
CUresult allocateDevice(Driver &driver, const std::shared_ptr<Context> &context, size_t bytes,
                        Block::Kind kind, uint64_t &address);
/// Page-locked host memory (kHost), or memory that both sides touch (kManaged).
CUresult allocateHost(Driver &driver, const std::shared_ptr<Context> &context, size_t bytes,
                      Block::Kind kind, unsigned flags, uint64_t &address);
/// The block that begins at `address`, if it is of one of these kinds.
Block *findBlock(Driver &driver, uint64_t address, std::initializer_list<Block::Kind> kinds);
/// Waits for all work that might use host memory: that of every device.
void drainAll(Driver &driver, Lock &lock);

} // namespace platen::ptxsim::driver
