// Which CPUs worker threads should use: distinct cores first, and no more than the process is
// allowed.
#pragma once

#include <pthread.h>
#include <string_view>
#include <vector>

namespace platen::device {

struct Topology {
  std::vector<int> cpus; ///< the affinity mask, one CPU of each core first, then their siblings
  unsigned cores = 1;    ///< distinct cores among them, at most the CPU quota of the control group
};

/// For the calling thread's affinity mask, as it was before pinCallingThread().
Topology readTopology();

/// Returns whether the system obeyed.
bool pinThread(pthread_t thread, int cpu);
/// Pins the calling thread, for good; later calls with the same CPU cost one comparison.
void pinCallingThread(int cpu);

/// Orders `cpus` so that CPUs with equal `core_of` entries follow their first one at the end, and
/// counts cores.
Topology orderByCore(const std::vector<int> &cpus, const std::vector<int> &core_of);
/// CPUs that the text of a cgroup's cpu.max grants, rounded up; 0: no limit or not understood.
unsigned parseCpuQuota(std::string_view text);

} // namespace platen::device
