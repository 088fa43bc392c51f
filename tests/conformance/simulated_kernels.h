// CUDA kernels compiled as a plan carries them and executed by the PTX simulator, for tests that
// compare them with references.
//
// A set compiles all candidates of the requests added to it for one architecture (NVRTC in worker
// processes, PTX alone: the machine code's sibling, see emit_cuda_test), takes the PTX out of the
// fat binaries, and runs launches with the simulator's checks on: accesses outside an operand,
// reads of what nobody wrote, races, deadlocks and hangs are failures. Outputs begin uninitialised.
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

/// Whether PLATEN_CUDA_ALL asks for the whole product of requests, architectures and orders.
bool wholeProduct();
/// Names of the architectures to test: one of each generation of PTX; PLATEN_CUDA_ARCHITECTURES
/// (separated by commas) replaces them.
std::vector<std::string> testedArchitectures();
/// Empty if NVRTC and its companions are there; else why not.
std::string missingTools();

class KernelSet {
public:
  explicit KernelSet(const std::string &architecture, kernels::CudaLimits limits = {});

  /// The candidates of a request; an error fails the test.
  const std::vector<kernels::CudaKernelInfo> &add(const kernels::CudaKernelSpec &spec);
  /// A broken twin of a kernel, its source changed in one place, for tests of the tests. Fails the
  /// test unless `from` stands in the source exactly once.
  kernels::CudaKernelInfo addMutant(const kernels::CudaKernelInfo &kernel, const std::string &from,
                                    const std::string &to);
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
  std::map<std::string, std::shared_ptr<const ptxsim::Module>> modules_;   // by kernel's name
};

} // namespace platen::conformance
