#include "compiler/emit/cuda/libraries.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace platen::compiler {

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> foldersIn(const fs::path &folder) {
  std::vector<fs::path> all;
  std::error_code ignored;
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end;
       at.increment(ignored))
    all.push_back(at->path());
  std::sort(all.begin(), all.end());
  return all;
}

/// <environment>/lib/python3*/site-packages/nvidia/*/<folder>/<file>: one folder for each package,
/// or one for all of them, as NVIDIA's releases differ.
void addPythonPackages(std::vector<std::string> &to, const fs::path &environment,
                       std::string_view folder, std::string_view file) {
  std::error_code ignored;
  for (const fs::path &python : foldersIn(environment / "lib"))
    for (const fs::path &package : foldersIn(python / "site-packages" / "nvidia"))
      if (const fs::path path = package / folder / file; fs::exists(path, ignored))
        to.push_back(path.string());
}

const char *variableOr(const char *name, const char *otherwise) {
  const char *value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

} // namespace

std::vector<std::string> cudaToolkitFiles(std::string_view folder, std::string_view file) {
  std::vector<std::string> all;
#ifdef PLATEN_PYTHON_ENVIRONMENT
  addPythonPackages(all, PLATEN_PYTHON_ENVIRONMENT, folder, file);
#endif
  if (const char *environment = variableOr("VIRTUAL_ENV", nullptr))
    addPythonPackages(all, environment, folder, file);
  const fs::path toolkit = variableOr("CUDA_HOME", "/usr/local/cuda");
  std::error_code ignored;
  for (const fs::path &place : {toolkit / folder, toolkit / (std::string(folder) + "64")})
    if (fs::exists(place / file, ignored))
      all.push_back((place / file).string());
  return all;
}

std::vector<std::string> cudaLibraryCandidates(std::string_view file, const char *variable,
                                               const std::string &preferred) {
  if (!preferred.empty())
    return {preferred};
  if (const char *path = variableOr(variable, nullptr))
    return {path};
  std::vector<std::string> all;
  for (std::string &path : cudaToolkitFiles("lib", file))
    all.push_back(std::move(path));
  all.emplace_back(file);
  return all;
}

base::Result<CudaLibrary> CudaLibrary::open(std::string_view what,
                                            const std::vector<std::string> &candidates) {
  std::string tried;
  for (const std::string &candidate : candidates) {
    CudaLibrary library;
    library.handle_ = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library.handle_ != nullptr) {
      library.path_ = candidate;
      return library;
    }
    const char *why = dlerror();
    tried += "\n  " + candidate + ": " + (why == nullptr ? "does not open" : why);
  }
  return base::notFound("no " + std::string(what) +
                            " library opens, which code for NVIDIA GPUs needs; install it with "
                            "tools/setup --cuda. Tried:" +
                            tried,
                        "cuda");
}

} // namespace platen::compiler
