// Builders of host kernels: a request (specs.h) and a target become one function of MLIR.
#pragma once

#include "kernels/host/specs.h"
#include "kernels/host/target.h"

namespace mlir {
class ModuleOp;
}

namespace platen::kernels {

/// Appends `func @<name>` for the request to `module`; the dialects func, arith, math, scf, vector
/// and llvm must be loaded in its context. Fails as describeHostKernel does. Safe on different
/// contexts at once.
base::Status buildHostKernel(mlir::ModuleOp module, const HostKernelSpec &spec,
                             const HostTarget &target);

} // namespace platen::kernels
