// What the descriptions of all matmul families share. Internal to this room.
#pragma once

#include "kernels/cuda/describe_detail.h"

namespace platen::kernels::cuda {

/// The members that Matmul (matmul.cuh) reads; a family adds its own.
ConfigPrinter matmulConfig(const MatmulSpec &spec, uint64_t slices, uint64_t sliceK);
/// An entry with the request's parameters that fills `MatmulOperands<Config> o` and then calls
/// Kernel::`call`. `furtherParameters`: of workspace and tensor maps, ", void *workspace".
std::string matmulEntry(const MatmulSpec &spec, const std::string &name, uint64_t threads,
                        const std::string &call, const std::string &furtherParameters = "");
CudaWork matmulWork(const MatmulSpec &spec);
/// Panels of y's columns.
uint64_t matmulPanels(const MatmulSpec &spec);
/// That the epilogue sees.
uint64_t matmulAccumulators(const MatmulSpec &spec);

/// What matmul_round.cuh leaves in the workspace for blocks of `tokens`.
struct MatmulWorkspace {
  uint64_t stepK = 0, rows = 0, pitch = 0, bytes = 0; ///< pitch: bytes of a row's codes
};
MatmulWorkspace matmulWorkspace(const MatmulSpec &spec, const CudaLimits &limits, uint64_t tokens);
/// The phase that rounds x, whose entry it adds to the source; `parameters` as of matmulEntry.
CudaPhase addRounding(CudaKernelInfo &info, const MatmulSpec &spec, uint64_t tokens,
                      const std::string &parameters);

// Candidates of the families; none where a family does not take the request's packing.
/// sm_89 and newer: f8 panels; sm_120f: f4 panels.
base::Result<Candidates> narrowMatmul(const MatmulSpec &spec, const Context &context);
/// sm_90a: bf16, f16 and f8 panels; sm_100f: f4 panels, too.
base::Result<Candidates> stagedMatmul(const MatmulSpec &spec, const Context &context);

} // namespace platen::kernels::cuda
