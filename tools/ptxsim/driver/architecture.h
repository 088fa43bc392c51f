// Architecture: sm_80, sm_90a, sm_100f … and who runs whose code.
//
// Rules of the CUDA driver: a cubin runs on its own major version and the same or a later minor
// one; PTX is compiled for its own or a later architecture; 'a' code runs on exactly its
// architecture, 'f' code on its own and later members of the family (the same major version).
#pragma once

#include "runtime/base/status.h"

#include <string>
#include <string_view>

namespace platen::ptxsim::driver {

struct Architecture {
  int number = 0;  // major * 10 + minor, e.g. 103
  char suffix = 0; // 0, 'a' or 'f'
  int major() const { return number / 10; }
  int minor() const { return number % 10; }
  std::string name() const; // "sm_90a"
  bool operator==(const Architecture &) const = default;
};

/// "sm_90a", "compute_90a" or "90a".
base::Result<Architecture> parseArchitecture(std::string_view text);
/// Whether machine code for `code` runs on a device (whose suffix does not matter).
bool cubinRunsOn(Architecture code, Architecture device);
/// Whether PTX for `target` can be compiled for a device.
bool ptxCompilesFor(Architecture target, Architecture device);

} // namespace platen::ptxsim::driver
