// Where conformance tests execute kernels.
#pragma once

#include "compiler/emit/cuda/emit.h"
#include "tests/conformance/kernel_set.h"

#include <memory>
#include <string>
#include <vector>

namespace platen::conformance {

class Runner {
public:
  virtual ~Runner() = default;
  /// What the compiler is asked for, to run kernels of this architecture.
  virtual std::string compiledFor(const kernels::CudaArchitecture &architecture) const = 0;
  /// Takes compiled kernels; code[i] is of kernels[i], whose name is new. "" or the error.
  virtual std::string load(const std::vector<const kernels::CudaKernelInfo *> &kernels,
                           const std::vector<compiler::CudaCode> &code) = 0;
  virtual bool has(const std::string &kernel) const = 0;
  /// KernelSet::run() for a loaded kernel.
  virtual std::string run(const kernels::CudaKernelInfo &kernel, const kernels::harness::Step &step,
                          const std::vector<BufferPtr> &operands, const KernelSet::Run &how) = 0;
};

std::unique_ptr<Runner> makeSimulatorRunner();
std::unique_ptr<Runner> makeDriverRunner();

/// The extent of a launch over `step`, and that of its grid, which may be larger (Order::surplus).
struct LaunchExtent {
  uint64_t actual = 0, grid = 0;
};
LaunchExtent extentOf(const kernels::CudaKernelInfo &kernel, const kernels::harness::Step &step,
                      const Order &order);

} // namespace platen::conformance
