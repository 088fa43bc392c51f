// For tests of tensor instructions: runs one kernel of a PTX text over buffers.
#pragma once

#include "tools/ptxsim/core/simulator.h"

#include <cstring>
#include <gtest/gtest.h>

namespace platen::ptxsim {

inline constexpr const char *kTestHeader = ".version 8.8\n.target sm_100a\n.address_size 64\n";

class KernelRun {
public:
  explicit KernelRun(const std::string &ptx) {
    auto module = Module::parse(ptx);
    if (!module) {
      ADD_FAILURE() << module.status().toString();
      return;
    }
    module_ = *module;
    for (const KernelInfo &kernel : module_->kernels())
      for (const Refusal &refusal : kernel.refusals)
        refusals += refusal.toString() + "\n";
    auto loaded = LoadedModule::load(module_, memory_, 0);
    if (!loaded)
      ADD_FAILURE() << loaded.status().toString();
    else
      loaded_ = std::move(*loaded);
  }
  template <class T> uint64_t upload(const std::vector<T> &values) {
    uint64_t address = *memory_.allocate(values.size() * sizeof(T), 0);
    EXPECT_TRUE(memory_.write(address, values.data(), values.size() * sizeof(T)).ok());
    return address;
  }
  uint64_t allocate(size_t bytes) { return *memory_.allocate(bytes, 0); }
  template <class T> std::vector<T> download(uint64_t address, size_t count) {
    std::vector<T> values(count);
    EXPECT_TRUE(memory_.read(address, values.data(), count * sizeof(T)).ok());
    return values;
  }
  /// Runs the only kernel; every parameter is 8 bytes.
  Report run(Dim3 grid, Dim3 block, const std::vector<uint64_t> &parameters,
             size_t dynamicSharedBytes = 0, Dim3 cluster = {1, 1, 1}) {
    EXPECT_EQ(refusals, "");
    if (!loaded_ || !refusals.empty())
      return {};
    Launch launch;
    launch.kernel = module_->kernels()[0].name;
    launch.grid = grid;
    launch.block = block;
    launch.cluster = cluster;
    launch.dynamicSharedBytes = dynamicSharedBytes;
    launch.parameters = std::as_bytes(std::span(parameters));
    options.threads = 1;
    auto report = ptxsim::run(*loaded_, memory_, launch, options);
    if (!report) {
      ADD_FAILURE() << report.status().toString();
      return {};
    }
    return *report;
  }
  /// The same; anything but a clean end is a failure.
  void runCleanly(Dim3 grid, Dim3 block, const std::vector<uint64_t> &parameters,
                  size_t dynamicSharedBytes = 0, Dim3 cluster = {1, 1, 1}) {
    Report report = run(grid, block, parameters, dynamicSharedBytes, cluster);
    EXPECT_FALSE(report.violation.has_value()) << report.violation->toString();
  }

  Options options;
  std::string refusals;

private:
  Memory memory_;
  std::shared_ptr<const Module> module_;
  std::unique_ptr<LoadedModule> loaded_;
};

/// "{%r0, %r1, …}"
inline std::string registerVector(const std::string &prefix, int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i)
    text += (i ? ", %" : "%") + prefix + std::to_string(i);
  return text + "}";
}

} // namespace platen::ptxsim
