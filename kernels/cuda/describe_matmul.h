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

/// sm_90a and sm_100f: bf16 panels.
base::Result<Candidates> stagedMatmul(const MatmulSpec &spec, const Context &context);

} // namespace platen::kernels::cuda
