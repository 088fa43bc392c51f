// CUDA kernels compiled as a plan carries them and executed, for tests that compare them with
// references.
//
// A set compiles all candidates of the requests added to it for one architecture (NVRTC in worker
// processes) and runs launches, by default on the PTX simulator (PTX alone: the machine code's
// sibling, see emit_cuda_test) with its checks on: accesses outside an operand, reads of what
// nobody wrote, races, deadlocks and hangs are failures. Outputs begin uninitialised.
//
// With PLATEN_CUDA_CONFORMANCE=driver the kernels are written into a plan, for the architecture of
// the first device of the CUDA driver (PLATEN_CUDA_DRIVER, else the system's), and run there by
// platen's own runtime: the same tests on a real GPU.
#pragma once

#include "kernels/cuda/describe.h"
#include "kernels/data_harness.h"
#include "tools/ptxsim/core/simulator.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace platen::conformance {

using kernels::harness::BufferPtr;

/// One of the orders that PTX leaves open, and how much larger than the step the grid is.
struct Order {
  ptxsim::AsyncOrder async = ptxsim::AsyncOrder::kLatest;
  uint64_t seed = 0;
  uint64_t surplus = 0; ///< tokens or rows beyond the step's that the grid is sized for
  std::string name = "latest";
};
/// Earliest, latest and a random order; the whole product of tests takes more seeds.
std::vector<Order> orders();
/// Whether PLATEN_CUDA_CONFORMANCE asks for the driver's device in place of the simulator's core.
bool onDriver();
/// The driver's first device: whose machine code it takes, and PTX. Ends the program, saying why,
/// if there is none: who asks for a device shall not see tests pass without one.
std::vector<std::string> architecturesOfDevice();

/// Whether PLATEN_CUDA_ALL asks for the whole product of requests, architectures and orders.
bool wholeProduct();
/// Names of the architectures to test; PLATEN_CUDA_ARCHITECTURES (separated by commas) replaces
/// them.
std::vector<std::string> testedArchitectures();
/// Empty if NVRTC and its companions are there; else why not.
std::string missingTools();

class Runner;

class KernelSet {
public:
  explicit KernelSet(const std::string &architecture, kernels::CudaLimits limits = {});
  ~KernelSet();

  /// The candidates of a request; an error fails the test.
  const std::vector<kernels::CudaKernelInfo> &add(const kernels::CudaKernelSpec &spec);
  /// Compiles what was added since; "" or the error.
  std::string compile();

  struct Run {
    /// Bytes of an element of cache operands; those that are NaN begin uninitialised.
    unsigned cacheElementBytes = 4;
    Order order;
    ptxsim::Counters *counters = nullptr; ///< summed up over the phases, if wanted
  };
  /// Launches all phases on copies of the operands and copies back what was written; bytes of
  /// outputs and caches that were not written come back as 0xff. Returns "" or the violation.
  std::string run(const kernels::CudaKernelInfo &kernel, const kernels::harness::Step &step,
                  const std::vector<BufferPtr> &operands, const Run &how);

  const kernels::CudaArchitecture &architecture() const { return architecture_; }

private:
  std::string compile(const std::vector<const kernels::CudaKernelInfo *> &wanted);

  const kernels::CudaArchitecture &architecture_;
  kernels::CudaLimits limits_;
  std::map<std::string, std::vector<kernels::CudaKernelInfo>> candidates_; // by their first's key
  std::unique_ptr<Runner> runner_;
};

} // namespace platen::conformance
