// See arena.h.
#include "compiler/select/arena.h"

#include <algorithm>
#include <numeric>

namespace platen::compiler {

namespace {

constexpr uint64_t kPadding = 64; // kernels may read that far behind the last row

uint64_t bytesOf(const plan::Limits &limits, const plan::Buffer &buffer) {
  uint64_t bytes = plan::extentLimit(limits, buffer.extent) * buffer.row_bytes + kPadding;
  return (bytes + plan::kDataAlignment - 1) / plan::kDataAlignment * plan::kDataAlignment;
}

} // namespace

void planArena(const plan::Limits &limits, const std::vector<Lifetime> &lifetimes,
               plan::DeviceProgram &program) {
  std::vector<plan::Buffer> &buffers = program.buffers;
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return bytesOf(limits, buffers[a]) > bytesOf(limits, buffers[b]);
  });
  std::vector<size_t> placed;
  program.arena_bytes = 0;
  for (size_t index : order) {
    std::vector<size_t> rivals;
    for (size_t other : placed)
      if (lifetimes[other].first <= lifetimes[index].last &&
          lifetimes[index].first <= lifetimes[other].last)
        rivals.push_back(other);
    std::sort(rivals.begin(), rivals.end(), [&](size_t a, size_t b) {
      return buffers[a].arena_offset < buffers[b].arena_offset;
    });
    uint64_t offset = 0, bytes = bytesOf(limits, buffers[index]);
    for (size_t rival : rivals)
      if (offset + bytes > buffers[rival].arena_offset)
        offset = std::max(offset, buffers[rival].arena_offset + bytesOf(limits, buffers[rival]));
      else
        break;
    buffers[index].arena_offset = offset;
    program.arena_bytes = std::max(program.arena_bytes, offset + bytes);
    placed.push_back(index);
  }
}

} // namespace platen::compiler
