// The CPUs this process may run on, as its affinity mask says (taskset, cgroup cpusets).
#pragma once

#include <vector>

namespace platen::base {

/// CPU numbers in ascending order; never empty.
std::vector<int> allowedCpus();

} // namespace platen::base
