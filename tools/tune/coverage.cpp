// See coverage.h. Layers share kernels: launches with equal variants are tested in the first and
// the last of them.
#include "tools/tune/coverage.h"

#include <algorithm>

namespace platen::tune {

namespace {

Wanted &entryFor(std::vector<Wanted> &list, uint32_t kernel, uint64_t first, uint64_t last) {
  auto found = std::find_if(list.begin(), list.end(),
                            [&](const Wanted &one) { return one.kernel == kernel; });
  if (found == list.end())
    return list.emplace_back(Wanted{.kernel = kernel, .first = first, .last = last});
  found->first = std::min(found->first, first);
  found->last = std::max(found->last, last);
  return *found;
}

/// 1, the ends of the range and an odd extent between them.
void addExtents(Wanted &wanted, uint64_t first, uint64_t last) {
  wanted.extents.insert(1);
  wanted.extents.insert({first, last});
  const uint64_t middle = first + (last - first) / 2;
  wanted.extents.insert(middle % 2 == 1 || middle == first ? middle : middle - 1);
}

/// Kernels of a launch with the extents that the budget reaches.
std::vector<Wanted> wantedOf(const plan::Launch &launch, const plan::Limits &limits,
                             uint64_t step_tokens, bool is_timed) {
  const uint64_t most = std::min(plan::extentLimit(limits, launch.extent), step_tokens);
  std::vector<Wanted> list;
  uint64_t first = 1;
  for (const plan::Variant &variant : launch.variants) {
    const uint64_t last = std::min(variant.max_extent, most);
    const uint64_t timed = representativeExtent(launch, variant, limits);
    for (size_t i = 0; i <= variant.alternatives.size(); ++i) {
      Wanted &wanted = entryFor(list, i == 0 ? variant.kernel : variant.alternatives[i - 1], first,
                                variant.max_extent);
      if (first <= last)
        addExtents(wanted, first, last);
      if (is_timed && timed <= most && first <= timed) {
        wanted.extents.insert(timed);
        wanted.timed_at.insert(timed);
      }
    }
    first = variant.max_extent == UINT64_MAX ? UINT64_MAX : variant.max_extent + 1;
  }
  return list;
}

} // namespace

Coverage planCoverage(const plan::DeviceProgram &program, const plan::Limits &limits,
                      uint64_t step_tokens, bool is_timed, std::vector<Verdict> &verdicts) {
  Coverage coverage;
  for (size_t i = 0; i < program.launches.size(); ++i) {
    const plan::Launch &launch = program.launches[i];
    auto isEqual = [&](const plan::Launch &other) {
      return other.extent == launch.extent && other.variants == launch.variants;
    };
    const bool has_earlier =
        std::any_of(program.launches.begin(),
                    program.launches.begin() + static_cast<std::ptrdiff_t>(i), isEqual);
    const bool has_later =
        std::any_of(program.launches.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                    program.launches.end(), isEqual);
    if (has_earlier && has_later)
      continue;
    std::vector<Wanted> list = wantedOf(launch, limits, step_tokens, is_timed);
    for (const Wanted &wanted : list) {
      Verdict &verdict = verdicts[wanted.kernel];
      verdict.is_used = true;
      if (wanted.extents.empty())
        verdict.untested = "it is for steps from " + std::to_string(wanted.first) + " on, " +
                           (wanted.first > plan::extentLimit(limits, launch.extent)
                                ? "which the plan does not allow"
                                : "larger than those that were run");
      coverage.steps.insert(wanted.extents.begin(), wanted.extents.end());
      coverage.tests += wanted.extents.size();
    }
    coverage.launches.emplace(i, std::move(list));
  }
  for (Verdict &verdict : verdicts)
    if (!verdict.is_used)
      verdict.untested = "no launch takes it";
  if (program.sampler)
    verdicts[*program.sampler].untested = "it draws tokens, which the host does without a kernel";
  return coverage;
}

} // namespace platen::tune
