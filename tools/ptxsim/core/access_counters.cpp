// Counters of accesses: sectors of global memory, passes over the banks of shared memory.
#include "tools/ptxsim/core/access.h"

#include <algorithm>

namespace platen::ptxsim {

void countGlobal(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                 int access) {
  uint64_t sectors[32 * 5];
  size_t count = 0;
  for (uint32_t l = 0; l < 32; ++l)
    if (mask & 1u << l)
      for (uint64_t s = address[l] / 32; s <= (address[l] + bytes - 1) / 32; ++s)
        sectors[count++] = s;
  std::sort(sectors, sectors + count);
  count = static_cast<size_t>(std::unique(sectors, sectors + count) - sectors);
  Counters &c = warp.block->cluster->counters;
  (access & kWrite ? c.globalStoreRequests : c.globalLoadRequests) += 1;
  (access & kWrite ? c.globalStoreSectors : c.globalLoadSectors) += count;
}

void countShared(Warp &warp, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
                 int access) {
  uint32_t together = bytes <= 4 ? 32 : std::max(1u, 128 / bytes), waves = 0;
  for (uint32_t first = 0; first < 32; first += together) {
    uint32_t words[32 * 4], count = 0, ofBank[32] = {}, most = 0;
    for (uint32_t l = first; l < first + together; ++l)
      if (mask & 1u << l)
        for (auto w = static_cast<uint32_t>(address[l] & 0xFFFFFF) / 4, n = 0u;
             n < std::max(1u, bytes / 4) && count < 128; ++n)
          words[count++] = w + n;
    std::sort(words, words + count);
    count = static_cast<uint32_t>(std::unique(words, words + count) - words);
    for (uint32_t i = 0; i < count; ++i)
      most = std::max(most, ++ofBank[words[i] % 32]);
    waves += most;
  }
  Counters &c = warp.block->cluster->counters;
  (access & kWrite ? c.sharedStoreRequests : c.sharedLoadRequests) += 1;
  (access & kWrite ? c.sharedStoreWaves : c.sharedLoadWaves) += waves;
}

} // namespace platen::ptxsim
