// The images of a CUDA target, loaded as they are needed, and kernels bound to their operands.
//
// An image is loaded when a kernel of it is first bound, so that alternatives which nobody asked
// for cost nothing. A bound kernel holds its parameters ready: launching is one driver call a
// phase.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/device/cuda/context.h"
#include "runtime/device/cuda/staging.h"

namespace platen::device::cuda {

class CudaProgram;

/// A kernel of the target; Kernel::entry points to one.
struct CudaEntry {
  CudaProgram *program = nullptr;
  uint32_t index = 0;
  std::vector<CUfunction> functions{}; ///< [phases]; empty until the image is loaded
};

class CudaBoundKernel : public BoundKernel {
public:
  /// `parameters` as cuda_kernel.h orders them; `program` takes the tensor maps among them back.
  CudaBoundKernel(Context &context, const plan::CudaKernel &kernel,
                  const std::vector<CUfunction> &functions, std::vector<CUdeviceptr> parameters,
                  CudaProgram &program);
  ~CudaBoundKernel() override;
  /// Enqueues every phase, with grids for a step of these extents. Needs a Context::Scope.
  base::Status launch(const plan::Extents &extents) const;

private:
  base::Status launchPhase(size_t index, const plan::Extents &extents) const;

  Context &context_;
  const plan::CudaKernel &kernel_;
  const std::vector<CUfunction> &functions_;
  CudaProgram &program_;
  const size_t maps_; // the last parameters
  std::vector<CUdeviceptr> parameters_;
  mutable std::vector<void *> pointers_; // to each parameter, as the driver wants them
};

class CudaProgram : public Program {
public:
  /// Needs a Context::Scope. The plan and the ring outlive the program.
  static base::Result<std::unique_ptr<CudaProgram>> create(Context &context, UploadRing &uploads,
                                                           const plan::Plan &plan, uint32_t target);
  ~CudaProgram() override;

  std::string_view target() const override { return target_.name; }
  Kernel kernel(uint32_t index) const override;
  /// Needs a Context::Scope.
  base::Result<std::unique_ptr<BoundKernel>> bind(const CudaEntry &entry,
                                                  std::span<const Operand> operands);
  /// Places of tensor maps that are no longer used by anything enqueued from now on.
  void takeBack(std::span<const CUdeviceptr> maps);
  size_t loadedImages() const { return modules_.size(); }

private:
  CudaProgram(Context &context, UploadRing &uploads, const plan::Plan &plan, uint32_t target);
  base::Status load(CudaEntry &entry);
  base::Result<CUmodule> module(uint32_t index);
  base::Result<CUfunction> function(CUmodule module, const plan::Phase &phase);
  base::Result<CUdeviceptr> placeTensorMap(const plan::TensorMap &map, Operand operand);

  Context &context_;
  UploadRing &uploads_;
  const plan::CodeTarget &target_;
  const std::vector<plan::Kernel> &kernels_;
  std::span<const std::byte> code_;
  std::vector<CudaEntry> entries_;       // [kernels]
  std::map<uint64_t, CUmodule> modules_; // by the image's offset
  std::unique_ptr<Memory> workspace_;    // of the kernel that needs most; null if none does
  std::vector<std::unique_ptr<Memory>> map_chunks_;
  std::vector<CUdeviceptr> free_maps_; // in the chunks, the next one last
};

} // namespace platen::device::cuda
