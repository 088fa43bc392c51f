// Reads sysfs and the control group once; whatever is missing there means one thread a core and no
// quota.
#include "runtime/device/host/topology.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sched.h>
#include <set>
#include <string>

#include "runtime/base/cpus.h"

namespace platen::device {
namespace {

/// The lowest CPU that shares a core with `cpu`.
int coreOf(int cpu) {
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                     "/topology/thread_siblings_list");
  int first = cpu;
  return file >> first ? first : cpu;
}

/// What pinCallingThread() did to this thread.
struct PinnedThread {
  int cpu = -1; // -1: not pinned
  std::vector<int>
      allowed_before; // a device made later must not take the pin for the process's limit
};
thread_local PinnedThread pinned_thread;

} // namespace

bool pinThread(pthread_t thread, int cpu) {
  size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpu) + 1);
  std::vector<unsigned long> mask(bytes / sizeof(unsigned long) + 1);
  auto *set = reinterpret_cast<cpu_set_t *>(mask.data());
  CPU_SET_S(static_cast<size_t>(cpu), bytes, set);
  return pthread_setaffinity_np(thread, bytes, set) == 0;
}

void pinCallingThread(int cpu) {
  if (pinned_thread.cpu == cpu)
    return;
  if (pinned_thread.cpu < 0)
    pinned_thread.allowed_before = base::allowedCpus();
  pinned_thread.cpu = cpu;
  (void)pinThread(pthread_self(), cpu);
}

Topology orderByCore(const std::vector<int> &cpus, const std::vector<int> &core_of) {
  Topology topology;
  std::vector<int> siblings;
  std::set<int> seen;
  for (size_t i = 0; i < cpus.size(); ++i)
    (seen.insert(core_of[i]).second ? topology.cpus : siblings).push_back(cpus[i]);
  topology.cores = static_cast<unsigned>(topology.cpus.size());
  topology.cpus.insert(topology.cpus.end(), siblings.begin(), siblings.end());
  return topology;
}

unsigned parseCpuQuota(std::string_view text) {
  // "<microseconds> <period>", or "max <period>".
  double quota = 0, period = 0;
  const char *end = text.data() + text.size();
  auto first = std::from_chars(text.data(), end, quota);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ' ')
    return 0;
  auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || !(quota > 0) || !(period > 0) || quota / period > 65536)
    return 0;
  return static_cast<unsigned>((quota + period - 1) / period);
}

Topology readTopology() {
  std::vector<int> core_of;
  std::vector<int> cpus =
      pinned_thread.cpu < 0 ? base::allowedCpus() : pinned_thread.allowed_before;
  for (int cpu : cpus)
    core_of.push_back(coreOf(cpu));
  Topology topology = orderByCore(cpus, core_of);
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string line;
  std::getline(file, line);
  if (unsigned quota = parseCpuQuota(line); quota != 0)
    topology.cores = std::min(topology.cores, quota);
  return topology;
}

} // namespace platen::device
