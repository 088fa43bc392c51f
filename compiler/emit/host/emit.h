// Emission of host kernels: requests become one blob of machine code for one target.
//
// Kernels are independent, so threads each lower their share in contexts of their own; the linked
// bytes depend neither on the number of threads nor on timing. About 30 ms of CPU time a kernel; a
// plan has 30 to 60 different ones a target.
#pragma once

#include "compiler/emit/host/flat_link.h"
#include "kernels/host/specs.h"
#include "kernels/host/target.h"

#include <functional>

namespace mlir {
class ModuleOp;
}

namespace platen::compiler {

struct EmitOptions {
  unsigned threads = 1;
  /// Called after each kernel, one call at a time, from any of the threads.
  std::function<void(size_t done, size_t total)> progress;
};

/// Builds, lowers and links the kernels; equal requests are built once. Entries are the names that
/// kernels::describeHostKernel gives. Errors: what describeHostKernel and flatLink report, with the
/// kernel's name as origin.
base::Result<CodeBlob> emitHostKernels(std::span<const kernels::HostKernelSpec> specs,
                                       const kernels::HostTarget &target,
                                       const EmitOptions &options = {});

/// Lowers and links the functions of one module of MLIR, each as an entry. Consumes the module's
/// content; its context must have LLVM translations registered (Lowerer::context does).
base::Result<CodeBlob> emitHostModule(mlir::ModuleOp kernels, const kernels::HostTarget &target);

/// Assembly text of one kernel, for reading and for tests.
base::Result<std::string> hostKernelAssembly(const kernels::HostKernelSpec &spec,
                                             const kernels::HostTarget &target);

} // namespace platen::compiler
