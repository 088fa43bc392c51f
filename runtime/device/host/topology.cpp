// Reads sysfs and the control group once; whatever is missing there means one thread a core and no
// quota.
#include "runtime/device/host/topology.h"

#include <algorithm>
#include <charconv>
#include <fstream>
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

} // namespace

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
  std::vector<int> cpus = base::allowedCpus(), core_of;
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
