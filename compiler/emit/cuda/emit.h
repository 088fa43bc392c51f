// Emission of CUDA kernels: source text -> PTX, cubin, the image that a plan carries (a fat binary
// of both), and what ptxas says of registers and memory.
//
// Worker processes each run an NVRTC of their own and take jobs in turn; a worker that crashes or
// does not answer in time fails its job by name and is replaced. Results stand in the order of the
// jobs and depend on neither the number of workers nor time. About 0.1 to 0.5 s of CPU time a
// kernel and architecture. Thread-safe; callbacks come one at a time, from any thread.
#pragma once

#include "compiler/emit/cuda/resources.h"
#include "kernels/cuda/describe.h"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace platen::compiler {

struct CudaJob {
  std::string name, source;
  std::string architecture; ///< "sm_90a", "compute_80"
};

struct CudaCode {
  std::string name, architecture;
  std::string ptx;
  std::string cubin;                       ///< empty for a virtual architecture
  std::string image;                       ///< fat binary: cubin and PTX
  std::vector<CudaEntryResources> entries; ///< empty for a virtual architecture
};

struct CudaEmitOptions {
  std::string nvrtc;    ///< library; empty: nvrtcCandidates()
  std::string nvfatbin; ///< library; empty: fatbinCandidates()
  std::string worker;   ///< program; empty: PLATEN_NVRTC_WORKER, beside this one, as built
  unsigned processes = 1;
  unsigned timeoutSeconds = 300; ///< of one kernel
  /// Whether kernels that spill registers or keep a stack fail (they do not belong in a plan).
  bool refuseSpills = true;
  std::function<void(size_t done, size_t total)> progress;
  std::function<bool()> cancelled; ///< asked before each job
};

/// kNotFound, saying what to install, unless a worker, NVRTC and nvFatbin are there. Opens both
/// libraries in a worker and closes it again.
base::Status findCudaCompiler(const CudaEmitOptions &options = {});

/// Compiles the jobs; one error fails all, naming kernel and architecture, with the compiler's log.
/// kNotFound: no NVRTC or no worker; kResourceExhausted: a job took too long;
/// kCancelled: the callback said so.
base::Result<std::vector<CudaCode>> emitCuda(std::span<const CudaJob> jobs,
                                             const CudaEmitOptions &options = {});

} // namespace platen::compiler
