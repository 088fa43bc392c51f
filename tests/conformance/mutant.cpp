#include "tests/conformance/mutant.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace platen::conformance {

namespace {

std::string contentOf(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

} // namespace

const Mutant *Mutant::requested() {
  static const std::unique_ptr<const Mutant> mutant = [] {
    const char *folder = std::getenv("PLATEN_CUDA_MUTANT");
    return std::unique_ptr<const Mutant>(folder == nullptr || *folder == '\0' ? nullptr
                                                                              : new Mutant(folder));
  }();
  return mutant.get();
}

Mutant::Mutant(std::string folder)
    : folder_(std::move(folder)), all_(std::filesystem::exists(folder_ + "/all")),
      counts_(std::filesystem::exists(folder_ + "/count")) {
  for (size_t i = 0; std::filesystem::exists(folder_ + "/find" + std::to_string(i)); ++i)
    edits_.emplace_back(contentOf(folder_ + "/find" + std::to_string(i)),
                        contentOf(folder_ + "/replace" + std::to_string(i)));
}

size_t Mutant::edit(std::string &source) const {
  size_t times = 0;
  for (const auto &[find, replace] : edits_)
    for (size_t at = source.find(find); at != std::string::npos;
         at = source.find(find, at + replace.size())) {
      source.replace(at, find.size(), replace);
      ++times;
    }
  return times;
}

void Mutant::apply(std::vector<kernels::CudaKernelInfo> &candidates) const {
  std::vector<bool> edited;
  for (kernels::CudaKernelInfo &info : candidates) {
    const size_t times = edit(info.source);
    edited.push_back(times != 0);
    if (times != 0)
      log("edited", info.name, std::to_string(times));
  }
  if (all_ || std::find(edited.begin(), edited.end(), true) == edited.end())
    return;
  size_t kept = 0;
  for (size_t i = 0; i < candidates.size(); ++i)
    if (edited[i])
      std::swap(candidates[kept++], candidates[i]);
  candidates.resize(kept);
}

void Mutant::log(const std::string &what, const std::string &kernel,
                 const std::string &more) const {
  std::ofstream(folder_ + "/log", std::ios::app)
      << what << ' ' << kernel << (more.empty() ? "" : " ") << more << '\n';
}

void Mutant::logCounters(const std::string &kernel, const ptxsim::Counters &counters) const {
  log("counted", kernel,
      std::to_string(counters.sharedLoadRequests + counters.sharedStoreRequests) + ' ' +
          std::to_string(counters.sharedLoadWaves + counters.sharedStoreWaves) + ' ' +
          std::to_string(counters.matrixInstructions) + ' ' +
          std::to_string(counters.globalLoadSectors));
}

} // namespace platen::conformance
