// Shared libraries of the CUDA toolkit, opened at run time: where they may be, and how one is
// opened. Nothing of the toolkit is needed to build platen, and the Python packages that
// tools/setup --cuda installs are enough to use it.
#pragma once

#include "runtime/base/status.h"

#include <dlfcn.h>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace platen::compiler {

/// Where file `file` of the toolkit exists, in folder `lib` or `bin` of the Python environments of
/// the source tree and of VIRTUAL_ENV and of the toolkit itself (CUDA_HOME, else its usual place).
std::vector<std::string> cudaToolkitFiles(std::string_view folder, std::string_view file);

/// Paths and names for the loader under which library `file` ("libnvrtc.so.13") may be: `preferred`
/// alone if not empty, else the environment variable's value, cudaToolkitFiles(), the loader's
/// path.
std::vector<std::string> cudaLibraryCandidates(std::string_view file, const char *variable,
                                               const std::string &preferred);

/// A library that stays open as long as the process lives.
class CudaLibrary {
public:
  /// The first candidate that opens. kNotFound says what was tried and how to get `what`.
  static base::Result<CudaLibrary> open(std::string_view what,
                                        const std::vector<std::string> &candidates);
  /// Fills `function` with the symbol; false if the library lacks it.
  template <typename Function> bool symbol(Function &function, const char *name) const {
    function = reinterpret_cast<std::remove_reference_t<Function>>(dlsym(handle_, name));
    return function != nullptr;
  }
  const std::string &path() const { return path_; }

private:
  void *handle_ = nullptr;
  std::string path_;
};

} // namespace platen::compiler
