// Conformance of kernels with a seeded fault (tests/mutation): edits of the kernels' source text
// that the environment asks for. Without PLATEN_CUDA_MUTANT nothing here has any effect.
//
// PLATEN_CUDA_MUTANT names a folder. Files find0 and replace0 (find1, …) hold the edits; a source
// that holds a text at all is edited wherever it holds it. File `all`: candidates that the edits
// leave as they are run too (they otherwise take no part when another candidate of their request is
// edited). File `count`: launches count shared-memory requests. What happened is appended to file
// `log`, a line each, as "<what> <kernel> …": edited, compiled, refused, ran, counted.
#pragma once

#include "kernels/cuda/describe.h"
#include "tools/ptxsim/core/simulator.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace platen::conformance {

class Mutant {
public:
  /// The mutant that the environment asks for; null in ordinary tests.
  static const Mutant *requested();

  /// Edits the candidates of one request.
  void apply(std::vector<kernels::CudaKernelInfo> &candidates) const;
  bool counts() const { return counts_; }
  void log(const std::string &what, const std::string &kernel, const std::string &more = {}) const;
  void logCounters(const std::string &kernel, const ptxsim::Counters &counters) const;

  /// Warp instructions of one warp after which a launch counts as hung: no kernel of the tests
  /// takes a tenth of them.
  static constexpr uint64_t kHangLimit = uint64_t{1} << 22;

private:
  explicit Mutant(std::string folder);
  size_t edit(std::string &source) const; ///< how often it was edited
  bool editLaunch(kernels::CudaKernelInfo &info) const;

  std::string folder_;
  std::vector<std::pair<std::string, std::string>> edits_; // find, replace
  struct Launch {
    std::string field; // empty: no edit
    size_t index = 0;
    uint64_t times = 1, over = 1;
  } launch_;
  bool all_ = false, counts_ = false;
};

} // namespace platen::conformance
