// What was found out about the kernels of a CUDA program, and the program that follows from it.
#pragma once

#include "runtime/plan/plan.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace platen::tune {

/// Why a kernel may not stay.
struct Failure {
  std::string kernel, launch;
  plan::Extents extents; ///< of the step
  std::string what;      ///< "buffer 'x', row 3, element 17: …"
  std::string toString() const;
};

struct Verdict {
  bool is_used = false;   ///< by a variant of a launch
  uint64_t tests = 0;     ///< launches that were compared, with steps of the variant's range
  double worst = 0;       ///< largest difference, as a share of its bound
  std::string untested{}; ///< why nothing vouches for it; empty: something does
  std::optional<Failure> failure{};
  std::map<uint64_t, double> times_ns{}; ///< measured, by extent

  bool isProven() const { return tests != 0 && untested.empty() && !failure; }
};

/// The extent at which kernels of a variant are timed, and predicted (kernels/cuda/cost.h).
uint64_t representativeExtent(const plan::Launch &launch, const plan::Variant &variant,
                              const plan::Limits &limits);

/// Writes the verdicts [kernels] into the program. Failed kernels leave every ranking; where a
/// device `is_simulated`, proven kernels become simulated (measured ones stay what they are), else
/// measured, and each ranking whose kernels were all timed is sorted by time. Errors: kInternal
/// naming the launch and the failures when a variant has no kernel left; the program is unspecified
/// then.
base::Status applyVerdicts(plan::DeviceProgram &program, const std::vector<Verdict> &verdicts,
                           const plan::Limits &limits, bool is_simulated);

/// How well predictions met measurements, over the kernels that have both.
struct Prediction {
  size_t kernels = 0;
  double median_ratio = 0;     ///< measured / predicted
  double rank_correlation = 0; ///< Spearman's; 0 for fewer than two kernels
};
Prediction comparePredictions(const plan::DeviceProgram &program);

} // namespace platen::tune
