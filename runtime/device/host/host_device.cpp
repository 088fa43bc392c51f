// Puts the parts together: pool, memory, weights, code. Every call is done when it returns.
#include "runtime/device/host/host_device.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/checked.h"
#include "runtime/device/host/cpu_features.h"
#include "runtime/device/host/host_code.h"
#include "runtime/device/host/host_weights.h"
#include "runtime/device/host/topology.h"
#include "runtime/device/host/worker_pool.h"

namespace platen::device {
namespace {

using base::Result;
using base::Status;

constexpr unsigned kMaxThreads = 1024;
constexpr int64_t kMaxUnits = int64_t{1} << 48;

class HostMemory : public Memory {
public:
  explicit HostMemory(base::AlignedBuffer buffer)
      : Memory(buffer.data(), buffer.size()), buffer_(std::move(buffer)) {}

private:
  base::AlignedBuffer buffer_;
};

class HostProgram : public Program {
public:
  HostProgram(HostCode code, const plan::CodeTarget &target,
              const std::vector<plan::Kernel> &kernels)
      : code_(std::move(code)), target_(target.name) {
    for (size_t i = 0; i < kernels.size(); ++i)
      kernels_.push_back({.entry = code_.data() + target.entry_offsets[i],
                          .scratch_bytes = kernels[i].scratch_bytes});
  }
  std::string_view target() const override { return target_; }
  Kernel kernel(uint32_t index) const override { return kernels_[index]; }

private:
  HostCode code_;
  std::string target_;
  std::vector<Kernel> kernels_;
};

class HostBoundKernel : public BoundKernel {
public:
  HostBoundKernel(const Kernel &kernel, std::span<const Operand> operands)
      : entry(reinterpret_cast<PlatenHostKernel>(const_cast<void *>(kernel.entry))),
        scratch(kernel.scratch_bytes != 0) {
    for (const Operand &operand : operands)
      table.push_back(operand.address);
  }
  const PlatenHostKernel entry;
  const bool scratch;
  std::vector<void *> table; // the kernel ABI's, without the scratch
};

class HostDeviceImpl : public HostDevice {
public:
  HostDeviceImpl(std::unique_ptr<WorkerPool> pool, HostReport report, const HostOptions &options,
                 int caller_cpu)
      : pool_(std::move(pool)), report_(std::move(report)), weight_pages_(options.weight_pages),
        caller_cpu_(caller_cpu) {}

  std::string description() const override;
  const HostReport &report() const override { return report_; }
  Result<std::unique_ptr<Memory>> allocate(uint64_t bytes, std::string_view purpose) override;
  Result<std::unique_ptr<Memory>> placeWeights(const plan::Plan &plan) override;
  Result<uint32_t> chooseTarget(const plan::Plan &plan) const override;
  Result<std::unique_ptr<Program>> loadCode(const plan::Plan &plan, uint32_t target) override;
  Result<Kernel> registerFunction(PlatenHostKernel function, uint64_t scratch_bytes) override;
  Status upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) override;
  Result<std::span<const std::byte>> read(const Memory &memory, uint64_t offset,
                                          uint64_t bytes) override;
  Result<std::unique_ptr<BoundKernel>> bind(const Kernel &kernel,
                                            std::span<const Operand> operands) override;
  Status launch(const Launch &launch) override;
  Status synchronize() override { return Status::ok(); }

private:
  std::unique_ptr<WorkerPool> pool_;
  HostReport report_;
  WeightPages weight_pages_;
  int caller_cpu_; // -1: callers are not pinned
};

std::string HostDeviceImpl::description() const {
  std::string text = "host, " + std::to_string(report_.threads) + " thread(s)";
  for (size_t i = 0; i < report_.cpus.size(); ++i)
    text.append(i == 0 ? " on CPU " : ", ").append(std::to_string(report_.cpus[i]));
  return text;
}

Result<std::unique_ptr<Memory>> HostDeviceImpl::allocate(uint64_t bytes, std::string_view purpose) {
  PLATEN_ASSIGN_OR_RETURN(auto buffer, base::AlignedBuffer::create(bytes, purpose));
  return std::unique_ptr<Memory>(std::make_unique<HostMemory>(std::move(buffer)));
}

Result<std::unique_ptr<Memory>> HostDeviceImpl::placeWeights(const plan::Plan &plan) {
  PLATEN_ASSIGN_OR_RETURN(auto placement, placeHostWeights(plan.weights(), weight_pages_, *pool_));
  report_.weight_pages = placement.pages;
  report_.mapped_gb_per_s = placement.mapped_gb_per_s;
  report_.huge_gb_per_s = placement.huge_gb_per_s;
  report_.weight_reason = std::move(placement.reason);
  return std::move(placement.memory);
}

Result<uint32_t> HostDeviceImpl::chooseTarget(const plan::Plan &plan) const {
  auto index = device::chooseTarget(plan.manifest(), cpuFeatures());
  return index.isOk() ? index : index.status().at(plan.path());
}

Result<std::unique_ptr<Program>> HostDeviceImpl::loadCode(const plan::Plan &plan, uint32_t index) {
  const plan::CodeTarget &target = plan.manifest().targets[index];
  const std::vector<plan::Kernel> &kernels = plan.manifest().programs[target.program].kernels;
  for (const plan::Kernel &kernel : kernels)
    PLATEN_RETURN_IF_ERROR(pool_->reserveScratch(kernel.scratch_bytes));
  PLATEN_ASSIGN_OR_RETURN(HostCode code, HostCode::load(plan.section(target.section), true));
  report_.target = target.name;
  report_.code_in_place = code.inPlace();
  return std::unique_ptr<Program>(std::make_unique<HostProgram>(std::move(code), target, kernels));
}

Result<Kernel> HostDeviceImpl::registerFunction(PlatenHostKernel function, uint64_t scratch_bytes) {
  PLATEN_RETURN_IF_ERROR(pool_->reserveScratch(scratch_bytes));
  return Kernel{.entry = reinterpret_cast<const void *>(function), .scratch_bytes = scratch_bytes};
}

Status HostDeviceImpl::upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) {
  if (!base::fitsInside(offset, bytes.size(), memory.bytes()))
    return base::invalidArgument("upload() beyond the end of the memory");
  if (!bytes.empty())
    std::memcpy(memory.at(offset), bytes.data(), bytes.size());
  return Status::ok();
}

Result<std::span<const std::byte>> HostDeviceImpl::read(const Memory &memory, uint64_t offset,
                                                        uint64_t bytes) {
  if (!base::fitsInside(offset, bytes, memory.bytes()))
    return base::invalidArgument("read() beyond the end of the memory");
  return std::span<const std::byte>(static_cast<const std::byte *>(memory.at(offset)), bytes);
}

Result<std::unique_ptr<BoundKernel>> HostDeviceImpl::bind(const Kernel &kernel,
                                                          std::span<const Operand> operands) {
  if (operands.size() > WorkerPool::kMaxTableOperands)
    return base::invalidArgument("bind() with " + std::to_string(operands.size()) +
                                 " operands, more than 65");
  return std::unique_ptr<BoundKernel>(std::make_unique<HostBoundKernel>(kernel, operands));
}

Status HostDeviceImpl::launch(const Launch &launch) {
  const auto &kernel = static_cast<const HostBoundKernel &>(*launch.kernel);
  if (launch.units < 0 || launch.units > kMaxUnits)
    return base::invalidArgument("launch() with " + std::to_string(launch.units) + " units");
  if (caller_cpu_ >= 0)
    pinCallingThread(caller_cpu_);
  if (launch.units == 0)
    return Status::ok();
  pool_->run({.function = kernel.entry,
              .operands = kernel.table.data(),
              .operand_count = kernel.table.size(),
              .scratch = kernel.scratch},
             launch.units);
  return Status::ok();
}

} // namespace

base::Result<std::unique_ptr<HostDevice>> HostDevice::create(const HostOptions &options) {
  Topology topology = readTopology();
  unsigned threads = options.threads != 0 ? options.threads : topology.cores;
  if (threads > kMaxThreads)
    return base::invalidArgument(std::to_string(threads) + " threads, at most 1024");
  bool crowded = threads > topology.cpus.size();
  HostReport report;
  report.threads = threads;
  int caller_cpu = !crowded && options.pin_caller ? topology.cpus[0] : -1;
  if (!crowded && (options.pin_workers || options.pin_caller))
    report.cpus.assign(topology.cpus.begin(), topology.cpus.begin() + threads);
  PLATEN_ASSIGN_OR_RETURN(
      auto pool, WorkerPool::create(threads, options.pin_workers ? report.cpus : std::vector<int>(),
                                    crowded ? 0 : options.spin_us));
  return std::unique_ptr<HostDevice>(
      std::make_unique<HostDeviceImpl>(std::move(pool), std::move(report), options, caller_cpu));
}

} // namespace platen::device
