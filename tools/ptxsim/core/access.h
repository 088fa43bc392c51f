// Fast ways through the checks of machine.h's resolve(), for the handlers of loads and stores.
#pragma once

#include "tools/ptxsim/core/machine.h"

namespace platen::ptxsim {

/// For all 32 lanes at base + lane * bytes in one space: the host address of the first, after every
/// check of resolve(). Null: the lanes are not laid out so, or something is wrong; resolve() says.
uint8_t *resolveBlock(Warp &warp, const Op &op, const uint64_t (&address)[32], uint32_t bytes,
                      int access);
/// The parameter buffer's bytes that every lane reads.
const uint8_t *parameterBytes(Warp &warp, uint64_t offset, uint32_t bytes, uint32_t lane);

} // namespace platen::ptxsim
