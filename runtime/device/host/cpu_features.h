// What this CPU and its operating system can execute, and which of a plan's code targets that
// allows.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "runtime/plan/plan.h"

namespace platen::device {

/// LLVM names of the features ("avx2", "avx512vnni", ...) that may be used here. A feature whose
/// registers the operating system does not save is absent. Empty on CPUs other than x86-64.
const std::set<std::string> &cpuFeatures();

/// Index of the first target of a host program all of whose features are in `features`. Errors:
/// kUnsupported, naming for each target the features that are missing.
base::Result<uint32_t> chooseTarget(const plan::Manifest &manifest,
                                    const std::set<std::string> &features);

} // namespace platen::device
