#include "tests/conformance/mutant.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <type_traits>

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
  std::ifstream(folder_ + "/launch") >> launch_.field >> launch_.index >> launch_.times >>
      launch_.over;
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

bool Mutant::editLaunch(kernels::CudaKernelInfo &info) const {
  auto scale = [&](auto &value) {
    value = static_cast<std::remove_reference_t<decltype(value)>>(static_cast<uint64_t>(value) *
                                                                  launch_.times / launch_.over);
  };
  const std::string &field = launch_.field;
  if (field == "workspace" && info.workspaceBytes != 0)
    return scale(info.workspaceBytes), true;
  bool edited = false;
  for (kernels::CudaPhase &phase : info.phases)
    if (field == "shared" && phase.dynamicSharedBytes != 0)
      scale(phase.dynamicSharedBytes), edited = true;
    else if (field == "grid-y" && phase.gridY.extent != kernels::Extent::kOne)
      scale(phase.gridY.per), edited = true; // blocks that each do as much as before
  for (kernels::CudaTensorMap &map : info.tensorMaps) {
    kernels::CudaTensorMap::Dimension &dimension = map.dimensions.at(launch_.index);
    edited = true;
    if (field == "box")
      scale(dimension.box);
    else if (field == "size")
      scale(dimension.size);
    else if (field == "stride")
      scale(dimension.strideBytes);
    else if (field == "swizzle")
      scale(map.swizzle);
  }
  return edited;
}

void Mutant::apply(std::vector<kernels::CudaKernelInfo> &candidates) const {
  std::vector<bool> edited;
  for (kernels::CudaKernelInfo &info : candidates) {
    const size_t times = launch_.field.empty() ? edit(info.source) : editLaunch(info) ? 1 : 0;
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
