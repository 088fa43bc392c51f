// Fast ways through the checks of machine.h's resolve(), for the handlers of loads and stores.
#pragma once

#include "tools/ptxsim/core/machine.h"

#include <cstring>

namespace platen::ptxsim {

/// Whether `bytes` bytes of a shadow (one byte each, 0 or 1) are all 1; the usual sizes as words.
inline bool allInitialised(const uint8_t *shadow, uint32_t bytes) {
  uint64_t low = 0, high = 0;
  switch (bytes) {
  case 1:
    return *shadow != 0;
  case 2:
    std::memcpy(&low, shadow, 2);
    return low == 0x0101;
  case 4:
    std::memcpy(&low, shadow, 4);
    return low == 0x01010101;
  case 8:
    std::memcpy(&low, shadow, 8);
    return low == 0x0101010101010101;
  case 16:
    std::memcpy(&low, shadow, 8);
    std::memcpy(&high, shadow + 8, 8);
    return (low & high) == 0x0101010101010101;
  default:
    return !std::memchr(shadow, 0, bytes);
  }
}
inline void setInitialised(uint8_t *shadow, uint32_t bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  switch (bytes) {
  case 1:
    *shadow = 1;
    return;
  case 2:
    std::memcpy(shadow, &kOnes, 2);
    return;
  case 4:
    std::memcpy(shadow, &kOnes, 4);
    return;
  case 8:
    std::memcpy(shadow, &kOnes, 8);
    return;
  case 16:
    std::memcpy(shadow, &kOnes, 8);
    std::memcpy(shadow + 8, &kOnes, 8);
    return;
  default:
    std::memset(shadow, 1, bytes);
  }
}

/// The same where other host threads may be at the same bytes: strong accesses of several blocks.
inline bool allInitialisedShared(const uint8_t *shadow, uint32_t bytes) {
  bool all = true;
  for (uint32_t n = 0; n < bytes; ++n)
    all &= __atomic_load_n(shadow + n, __ATOMIC_RELAXED) != 0;
  return all;
}
inline void setInitialisedShared(uint8_t *shadow, uint32_t bytes) {
  for (uint32_t n = 0; n < bytes; ++n)
    __atomic_store_n(shadow + n, uint8_t{1}, __ATOMIC_RELAXED);
}

/// For all 32 lanes at base + lane * bytes in one space: the host address of the first, after every
/// check of resolve(). Null: the lanes are not laid out so, or something is wrong; resolve() says.
uint8_t *resolveBlock(Warp &warp, const Op &op, const uint64_t (&address)[32], uint32_t bytes,
                      int access);
/// The slow way: one lane, any space, every check.
uint8_t *resolveOne(Warp &warp, ptx::Space space, uint64_t address, uint32_t bytes, int access,
                    uint32_t lane);
/// The space of a lane's address, which loses its window.
ptx::Space spaceOf(const Op &op, uint64_t &address);
/// The allocation that holds the bytes, or null.
const Allocation *findAllocation(Warp &warp, uint64_t address, uint32_t bytes);
void countGlobal(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                 int access);
/// Passes over 32 banks of 4 bytes: wide accesses go by halves and quarters of a warp.
void countShared(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                 int access);
/// The parameter buffer's bytes that every lane reads.
const uint8_t *parameterBytes(Warp &warp, uint64_t offset, uint32_t bytes, uint32_t lane);

} // namespace platen::ptxsim
