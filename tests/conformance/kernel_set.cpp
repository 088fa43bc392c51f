// Compiles what tests ask for and hands it to the runner that the environment names.
#include "tests/conformance/kernel_set.h"

#include "compiler/emit/cuda/emit.h"
#include "tests/conformance/mutant.h"
#include "tests/conformance/runner.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <sstream>
#include <string_view>

namespace platen::conformance {

using kernels::CudaKernelInfo;
using kernels::Extent;
using kernels::harness::Step;

bool onDriver() {
  const char *runner = std::getenv("PLATEN_CUDA_CONFORMANCE");
  return runner != nullptr && std::string_view(runner) == "driver";
}

std::vector<Order> orders() {
  using ptxsim::AsyncOrder;
  if (onDriver()) // the device has its own order
    return {{AsyncOrder::kLatest, 0, 0, "own grid"}, {AsyncOrder::kLatest, 0, 40, "larger grid"}};
  std::vector<Order> all = {{AsyncOrder::kEarliest, 0, 0, "earliest"},
                            {AsyncOrder::kLatest, 0, 40, "latest"},
                            {AsyncOrder::kRandom, 1, 0, "random1"}};
  for (uint64_t seed = 2; wholeProduct() && seed <= 4; ++seed)
    all.push_back({AsyncOrder::kRandom, seed, seed, "random" + std::to_string(seed)});
  return all;
}

bool wholeProduct() {
  const char *all = std::getenv("PLATEN_CUDA_ALL");
  return all != nullptr && *all != '\0' && *all != '0';
}

std::vector<std::string> testedArchitectures() {
  std::vector<std::string> names;
  if (const char *chosen = std::getenv("PLATEN_CUDA_ARCHITECTURES");
      chosen != nullptr && *chosen != '\0') {
    std::istringstream list(chosen);
    for (std::string name; std::getline(list, name, ',');)
      names.push_back(name);
    return names;
  }
  if (onDriver())
    return architecturesOfDevice();
  if (!wholeProduct())
    return {"sm_80"};
  for (const kernels::CudaArchitecture &architecture : kernels::kCudaArchitectures)
    names.emplace_back(architecture.name);
  return names;
}

std::string missingTools() {
  const base::Status found = compiler::findCudaCompiler();
  return found.isOk() ? "" : found.toString();
}

KernelSet::KernelSet(const std::string &architecture, kernels::CudaLimits limits)
    : architecture_(*kernels::findCudaArchitecture(architecture)), limits_(limits),
      runner_(onDriver() ? makeDriverRunner() : makeSimulatorRunner()) {}
KernelSet::~KernelSet() = default;

const std::vector<CudaKernelInfo> &KernelSet::add(const kernels::CudaKernelSpec &spec) {
  auto all = kernels::cudaCandidates(spec, architecture_, limits_);
  EXPECT_TRUE(all.isOk()) << all.status().toString();
  if (!all.isOk())
    return candidates_["none"];
  if (const Mutant *mutant = Mutant::requested())
    mutant->apply(all.value());
  const std::string key = all.value().front().key;
  return candidates_[key] = std::move(all).value();
}

std::string KernelSet::compile() {
  if (Mutant::requested() != nullptr)
    return ""; // when they run: most mutants fail their first launch
  std::vector<const CudaKernelInfo *> wanted;
  for (const auto &[key, list] : candidates_)
    for (const CudaKernelInfo &info : list)
      if (!runner_->has(info.name))
        wanted.push_back(&info);
  return compile(wanted);
}

std::string KernelSet::compile(const std::vector<const CudaKernelInfo *> &wanted) {
  std::vector<compiler::CudaJob> jobs;
  for (const CudaKernelInfo *info : wanted)
    jobs.push_back({info->name, info->source, runner_->compiledFor(architecture_)});
  compiler::CudaEmitOptions options;
  options.processes = 2;
  auto code = compiler::emitCuda(jobs, options);
  return code.isOk() ? runner_->load(wanted, code.value()) : code.status().toString();
}

std::string KernelSet::run(const CudaKernelInfo &kernel, const Step &step,
                           const std::vector<BufferPtr> &operands, const Run &how) {
  const Mutant *mutant = Mutant::requested();
  if (mutant != nullptr && !runner_->has(kernel.name)) {
    const std::string why = compile({&kernel});
    mutant->log(why.empty() ? "compiled" : "refused", kernel.name, why);
    if (!why.empty())
      return why;
  }
  if (mutant != nullptr && mutant->counts() && how.counters == nullptr) {
    ptxsim::Counters counters;
    Run counted = how;
    counted.counters = &counters;
    std::string why = run(kernel, step, operands, counted);
    mutant->logCounters(kernel.name, counters);
    return why;
  }
  if (operands.size() != kernel.operands.size())
    return kernel.name + " takes " + std::to_string(kernel.operands.size()) + " operands, not " +
           std::to_string(operands.size());
  return runner_->run(kernel, step, operands, how);
}

LaunchExtent extentOf(const CudaKernelInfo &kernel, const Step &step, const Order &order) {
  const int64_t actual = kernel.extent == Extent::kOne    ? 1
                         : kernel.extent == Extent::kRows ? step.rows
                                                          : step.tokens;
  return {static_cast<uint64_t>(actual),
          std::min<uint64_t>(static_cast<uint64_t>(actual) + order.surplus, kernel.maxExtent)};
}

} // namespace platen::conformance
