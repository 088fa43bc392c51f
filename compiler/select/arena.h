// Places of activation buffers in one arena: buffers alive at the same time never overlap.
#pragma once

#include "runtime/plan/plan.h"

#include <vector>

namespace platen::compiler {

/// First and last launch (inclusive) that touch a buffer.
struct Lifetime {
  size_t first = 0, last = 0;
};

/// Sets arena_offset of every buffer and arena_bytes. Largest first, each at the lowest free place:
/// at most a small factor above the peak of live bytes in practice. O(buffers²). `lifetimes` goes
/// with program.buffers.
void planArena(const plan::Limits &limits, const std::vector<Lifetime> &lifetimes,
               plan::DeviceProgram &program);

} // namespace platen::compiler
