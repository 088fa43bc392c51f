// Which kernels are tested in which launches, on steps of which sizes.
#pragma once

#include "tools/tune/verdicts.h"

#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace platen::tune {

/// A kernel in a launch.
struct Wanted {
  uint32_t kernel = 0;
  uint64_t first = 1, last = 0;  ///< extents for which the plan takes it
  std::set<uint64_t> extents{};  ///< to test
  std::set<uint64_t> timed_at{}; ///< representativeExtent() of its variants
};

struct Coverage {
  /// Of each launch that is tested its kernels, as they are ranked.
  std::map<size_t, std::vector<Wanted>> launches;
  std::set<uint64_t> steps; ///< tokens of the steps that reach all extents
  uint64_t tests = 0;
};

/// `step_tokens`: the largest step. With `is_timed`, representative extents are tested too. Writes
/// into the verdicts [kernels] who is used, and who is not reached and why.
Coverage planCoverage(const plan::DeviceProgram &program, const plan::Limits &limits,
                      uint64_t step_tokens, bool is_timed, std::vector<Verdict> &verdicts);

} // namespace platen::tune
