// The programs of one plan: a program for the host, whose targets share kernels and differ in
// machine code, and one for each CUDA architecture, whose kernels are its own. The phases select,
// emit and write go through here, so that they need not know kinds of devices.
#pragma once

#include "compiler/select/draft.h"
#include "compiler/select/kernel_source.h"
#include "runtime/plan/writer.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace platen::compiler {

struct ProgramEmitOptions {
  unsigned threads = 1; ///< and worker processes
  /// Kernels so far and in all; one call at a time, from any thread.
  std::function<void(size_t done, size_t total)> progress;
  std::function<bool()> cancelled;
};

class Programs {
public:
  virtual ~Programs() = default;
  /// Programs for these targets (CompileOptions::targets). kInvalidArgument names an unknown one.
  /// CUDA code is ordered as devices shall prefer it, whatever the order of the names: machine code
  /// before PTX, newer architectures first.
  static base::Result<std::unique_ptr<Programs>> forTargets(const std::vector<std::string> &names);
  /// kNotFound, saying what to install, if a target needs a compiler that is not there.
  virtual base::Status findTools() const = 0;
  /// Adds every program to the draft, in order: `select` makes one with kernels of the source that
  /// it is given.
  using Select = std::function<base::Status(KernelSource &source, PlanDraft &draft)>;
  virtual base::Status select(const Select &select, PlanDraft &draft) = 0;
  /// Kernels → machine code.
  virtual base::Status emit(const ProgramEmitOptions &options) = 0;
  /// Writes a section of code for each target, and the target into the manifest.
  virtual base::Status write(plan::PlanWriter &writer, plan::Manifest &manifest) const = 0;
};

} // namespace platen::compiler
