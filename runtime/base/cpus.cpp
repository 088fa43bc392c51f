// Asks the kernel for the calling thread's mask; on failure one CPU is assumed.
#include "runtime/base/cpus.h"

#include <sched.h>

namespace platen::base {

std::vector<int> allowedCpus() {
  std::vector<int> cpus;
  // The kernel refuses masks smaller than its own, so grow until it fits.
  for (int capacity = CPU_SETSIZE; capacity <= (1 << 20) && cpus.empty(); capacity *= 2) {
    cpu_set_t *mask = CPU_ALLOC(static_cast<size_t>(capacity));
    if (mask == nullptr)
      break;
    size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(capacity));
    CPU_ZERO_S(bytes, mask);
    if (sched_getaffinity(0, bytes, mask) == 0) {
      for (int cpu = 0; cpu < capacity; ++cpu) {
        if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, mask))
          cpus.push_back(cpu);
      }
    }
    CPU_FREE(mask);
  }
  if (cpus.empty())
    cpus.push_back(0);
  return cpus;
}

} // namespace platen::base
