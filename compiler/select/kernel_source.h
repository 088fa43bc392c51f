// Whose kernels execute a program: what separates a request (kernels/specs.h), the same for every
// device, from the kernels of one kind of target that fulfil it.
//
// Selection asks choose() for every launch; the source adds kernels to the program as it meets new
// requests and says how the launch takes them. Another kind of device is another source.
#pragma once

#include "compiler/plan_extent.h"
#include "kernels/specs.h"
#include "runtime/base/status.h"
#include "runtime/plan/plan.h"

#include <map>
#include <string>
#include <vector>

namespace platen::compiler {

/// How a launch takes the kernels of one request.
struct KernelChoice {
  plan::Extent extent = plan::Extent::kTokens;
  size_t operands = 0;                 ///< that every kernel of the request takes
  std::vector<plan::Variant> variants; ///< ascending, the last takes every size
};

class KernelSource {
public:
  virtual ~KernelSource() = default;
  /// DeviceProgram::device.
  virtual std::string device() const = 0;
  /// Kernels for the request, added to program.kernels unless they stand there. kUnsupported names
  /// what of the request no kernel of this source takes.
  virtual base::Result<KernelChoice> choose(const kernels::KernelSpec &spec,
                                            plan::DeviceProgram &program) = 0;
};

/// CPUs: one kernel a request and register tile, the same for all targets of the host.
class HostKernels : public KernelSource {
public:
  std::string device() const override { return plan::kHostDevice; }
  base::Result<KernelChoice> choose(const kernels::KernelSpec &spec,
                                    plan::DeviceProgram &program) override;
  /// specs()[i] is what kernel i of the program executes.
  const std::vector<kernels::KernelSpec> &specs() const { return specs_; }

private:
  base::Status addVariant(const kernels::KernelSpec &spec, uint64_t maxExtent,
                          plan::DeviceProgram &program, KernelChoice &choice);
  std::map<std::string, uint32_t> index_; ///< by the request's key
  std::vector<kernels::KernelSpec> specs_;
};

} // namespace platen::compiler
