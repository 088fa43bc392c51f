// NVRTC, opened at run time: CUDA C++ -> PTX and cubin, no toolkit headers and no driver.
//
// The functions are declared here as NVIDIA documents them, so that building platen needs no CUDA.
// The library serialises compilations inside a process (emit.h starts several processes). Not
// thread-safe.
#pragma once

#include "runtime/base/status.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace platen::compiler {

struct NvrtcOutput {
  std::string ptx, cubin; ///< cubin is empty for a virtual architecture
  std::string log;        ///< NVRTC's and ptxas's
};

class Nvrtc {
public:
  /// Opens the first library of `candidates` (paths or names for the loader) that loads. kNotFound
  /// says what was tried and how to get one.
  static base::Result<Nvrtc> open(const std::vector<std::string> &candidates);
  /// Compiles for "sm_90a" and the like, or "compute_80" (PTX alone). kInvalidArgument with the log
  /// if the source is refused.
  base::Result<NvrtcOutput> compile(const std::string &source, const std::string &name,
                                    const std::string &architecture) const;
  /// "13.0"
  std::string version() const;

private:
  struct Functions;
  std::shared_ptr<const Functions> functions_;
};

/// Where an NVRTC may be: see cudaLibraryCandidates() with the variable PLATEN_NVRTC.
std::vector<std::string> nvrtcCandidates(const std::string &preferred = {});

} // namespace platen::compiler
