// nvFatbin, opened at run time: machine code and PTX of one kernel -> one fat binary, NVIDIA's
// container, of which a driver takes the machine code that fits its device or else compiles the
// PTX. Entries are not compressed: equal inputs give equal bytes, and any reader can walk them.
// Not thread-safe.
#pragma once

#include "runtime/base/status.h"

#include <memory>
#include <string>
#include <vector>

namespace platen::compiler {

class Fatbin {
public:
  /// Opens the first library of `candidates` that loads. kNotFound says what was tried.
  static base::Result<Fatbin> open(const std::vector<std::string> &candidates);
  /// `architecture` is NVRTC's name ("sm_90a", "compute_80"); without cubin the image holds PTX
  /// alone.
  base::Result<std::string> wrap(const std::string &name, const std::string &architecture,
                                 const std::string &cubin, const std::string &ptx) const;

private:
  struct Functions;
  std::shared_ptr<const Functions> functions_;
};

/// Where nvFatbin may be: see cudaLibraryCandidates() with the variable PLATEN_NVFATBIN.
std::vector<std::string> fatbinCandidates(const std::string &preferred = {});

} // namespace platen::compiler
