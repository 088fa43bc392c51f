// Modules: images loaded into the memory of a device, their functions, and launches of those.
#pragma once

#include "tools/ptxsim/driver/streams.h"

namespace platen::ptxsim::driver {

/// `log` receives what the JIT's error log would say.
CUresult loadModule(Driver &driver, const std::shared_ptr<Context> &context,
                    const std::string &image, std::shared_ptr<ModuleObject> &module,
                    std::string &log);
/// Waits for the work of the device, then forgets the module and its functions.
void unloadModule(Driver &driver, Lock &lock, const std::shared_ptr<ModuleObject> &module);
CUresult getFunction(Driver &driver, ModuleObject &module, std::string_view name,
                     std::shared_ptr<Function> &function);

/// A CUfunction, or a CUkernel (whose module is loaded into `context` when it is first needed).
CUresult resolveFunction(Driver &driver, const std::shared_ptr<Context> &context,
                         const void *handle, std::shared_ptr<Function> &function);
CUresult libraryModule(Driver &driver, const std::shared_ptr<Context> &context, Library &library,
                       std::shared_ptr<ModuleObject> &module);

/// Packs kernelParams, or takes the buffer of `extra`. kUnsupported extras:
/// CUDA_ERROR_INVALID_VALUE.
CUresult packParameters(const KernelInfo &info, void **parameters, void **extra,
                        std::string &packed);
/// Attributes of cuLaunchKernelEx and of kernel nodes, taken into the operation.
CUresult applyAttribute(KernelOperation &kernel, CUlaunchAttributeID id,
                        const CUlaunchAttributeValue &value);

} // namespace platen::ptxsim::driver
