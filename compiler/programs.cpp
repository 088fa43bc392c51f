#include "compiler/programs.h"
#include "compiler/emit/cuda/emit.h"
#include "compiler/emit/cuda/plan_code.h"
#include "compiler/emit/host/emit.h"
#include "compiler/select/cuda_kernels.h"
#include "compiler/select/select.h"

#include <algorithm>
#include <optional>

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

Result<uint32_t> writeCode(plan::PlanWriter &writer, const std::string &target,
                           std::span<const std::byte> bytes) {
  PLATEN_ASSIGN_OR_RETURN(const uint32_t section,
                          writer.beginSection(plan::SectionKind::kCode, "code." + target));
  PLATEN_RETURN_IF_ERROR(writer.append(bytes));
  PLATEN_RETURN_IF_ERROR(writer.endSection());
  return section;
}

/// The host's program.
class HostProgram : public Programs {
public:
  explicit HostProgram(std::vector<const kernels::HostTarget *> targets)
      : targets_(std::move(targets)) {}

  Status findTools() const override { return Status::ok(); }
  Status select(mlir::ModuleOp module, PlanDraft &draft) override {
    program_ = static_cast<uint32_t>(draft.manifest.programs.size());
    return selectProgram(module, kernels_, draft);
  }
  Status emit(const ProgramEmitOptions &options) override {
    for (size_t i = 0; i < targets_.size(); ++i) {
      EmitOptions emitOptions;
      emitOptions.threads = options.threads;
      emitOptions.progress = [&](size_t done, size_t total) {
        options.progress(i * total + done, targets_.size() * total);
      };
      PLATEN_ASSIGN_OR_RETURN(code_.emplace_back(),
                              emitHostKernels(kernels_.specs(), *targets_[i], emitOptions));
    }
    return Status::ok();
  }
  Status write(plan::PlanWriter &writer, plan::Manifest &manifest) const override {
    for (size_t i = 0; i < targets_.size(); ++i) {
      plan::CodeTarget code;
      code.name = targets_[i]->name;
      code.features.assign(targets_[i]->features.begin(), targets_[i]->features.end());
      code.program = program_;
      PLATEN_ASSIGN_OR_RETURN(
          code.section, writeCode(writer, code.name, std::as_bytes(std::span(code_[i].bytes))));
      for (const plan::Kernel &kernel : manifest.programs[program_].kernels) {
        auto entry = code_[i].entries.find(kernel.name);
        if (entry == code_[i].entries.end())
          return base::internalError("no code was emitted for kernel " + kernel.name);
        code.entry_offsets.push_back(entry->second);
      }
      manifest.targets.push_back(std::move(code));
    }
    return Status::ok();
  }

private:
  std::vector<const kernels::HostTarget *> targets_;
  HostKernels kernels_;
  std::vector<CodeBlob> code_; ///< of targets_
  uint32_t program_ = 0;
};

/// One program for each architecture.
class CudaPrograms : public Programs {
public:
  explicit CudaPrograms(const std::vector<const kernels::CudaArchitecture *> &architectures) {
    for (const kernels::CudaArchitecture *architecture : architectures)
      targets_.push_back({.architecture = architecture});
  }

  Status findTools() const override {
    Status found = findCudaCompiler();
    return found.at("target " + std::string(targets_.front().architecture->name));
  }
  Status select(mlir::ModuleOp module, PlanDraft &draft) override {
    for (Target &target : targets_) {
      target.kernels.emplace(*target.architecture, draft.manifest.limits);
      target.program = static_cast<uint32_t>(draft.manifest.programs.size());
      Status status = selectProgram(module, *target.kernels, draft);
      if (status.isOk())
        status = target.kernels->addSampler(draft.manifest.model.vocabulary,
                                            draft.manifest.programs.back());
      if (!status.isOk())
        return status.at("target " + std::string(target.architecture->name));
    }
    return Status::ok();
  }
  Status emit(const ProgramEmitOptions &options) override {
    std::vector<CudaJob> jobs;
    for (const Target &target : targets_)
      for (const kernels::CudaKernelInfo &kernel : target.kernels->kernels())
        jobs.push_back({kernel.name, kernel.source, std::string(target.architecture->name)});
    CudaEmitOptions emitOptions;
    emitOptions.processes = options.threads;
    emitOptions.progress = options.progress;
    emitOptions.cancelled = options.cancelled;
    PLATEN_ASSIGN_OR_RETURN(std::vector<CudaCode> code, emitCuda(jobs, emitOptions));
    size_t next = 0;
    for (Target &target : targets_)
      for (size_t i = 0; i < target.kernels->kernels().size(); ++i)
        target.images.push_back(std::move(code[next++].image));
    return Status::ok();
  }
  Status write(plan::PlanWriter &writer, plan::Manifest &manifest) const override {
    for (const Target &target : targets_) {
      PLATEN_ASSIGN_OR_RETURN(
          plan::CodeTarget code,
          writeCudaCode(writer, std::string(target.architecture->name), target.images));
      code.program = target.program;
      manifest.targets.push_back(std::move(code));
    }
    return Status::ok();
  }

private:
  struct Target {
    const kernels::CudaArchitecture *architecture;
    std::optional<CudaKernels> kernels{};
    std::vector<std::string> images{}; ///< fat binaries, of kernels
    uint32_t program = 0;
  };
  std::vector<Target> targets_;
};

/// Several kinds of devices.
class AllPrograms : public Programs {
public:
  explicit AllPrograms(std::vector<std::unique_ptr<Programs>> all) : all_(std::move(all)) {}

  Status findTools() const override {
    for (const auto &one : all_)
      PLATEN_RETURN_IF_ERROR(one->findTools());
    return Status::ok();
  }
  Status select(mlir::ModuleOp module, PlanDraft &draft) override {
    for (const auto &one : all_)
      PLATEN_RETURN_IF_ERROR(one->select(module, draft));
    return Status::ok();
  }
  Status emit(const ProgramEmitOptions &options) override {
    for (const auto &one : all_)
      PLATEN_RETURN_IF_ERROR(one->emit(options));
    return Status::ok();
  }
  Status write(plan::PlanWriter &writer, plan::Manifest &manifest) const override {
    for (const auto &one : all_)
      PLATEN_RETURN_IF_ERROR(one->write(writer, manifest));
    return Status::ok();
  }

private:
  std::vector<std::unique_ptr<Programs>> all_;
};

std::string knownTargets() {
  std::string known = "host";
  for (const kernels::HostTarget &target : kernels::kHostTargets)
    known += ", " + std::string(target.name);
  for (const kernels::CudaArchitecture &architecture : kernels::kCudaArchitectures)
    known += ", " + std::string(architecture.name);
  return known;
}

bool isPreferred(const kernels::CudaArchitecture *a, const kernels::CudaArchitecture *b) {
  if (a->isPtx != b->isPtx)
    return b->isPtx;
  return std::pair(a->major, a->minor) > std::pair(b->major, b->minor);
}

template <typename T> void addOnce(std::vector<const T *> &list, const T *item) {
  if (std::find(list.begin(), list.end(), item) == list.end())
    list.push_back(item);
}

} // namespace

Result<std::unique_ptr<Programs>> Programs::forTargets(const std::vector<std::string> &names) {
  std::vector<const kernels::HostTarget *> host;
  std::vector<const kernels::CudaArchitecture *> cuda;
  std::vector<std::string> wanted = names;
  if (wanted.empty())
    wanted.emplace_back("host");
  for (const std::string &name : wanted) {
    bool isKnown = false;
    if (const kernels::CudaArchitecture *architecture = kernels::findCudaArchitecture(name)) {
      addOnce(cuda, architecture);
      isKnown = true;
    }
    for (const kernels::HostTarget &target : kernels::kHostTargets)
      if (name == "host" || target.name == name) {
        addOnce(host, &target);
        isKnown = true;
      }
    if (!isKnown)
      return base::invalidArgument("target '" + name + "' is unknown; there are " + knownTargets());
  }
  std::stable_sort(cuda.begin(), cuda.end(), isPreferred);
  std::vector<std::unique_ptr<Programs>> all;
  if (!host.empty())
    all.push_back(std::make_unique<HostProgram>(std::move(host)));
  if (!cuda.empty())
    all.push_back(std::make_unique<CudaPrograms>(cuda));
  return std::unique_ptr<Programs>(std::make_unique<AllPrograms>(std::move(all)));
}

} // namespace platen::compiler
