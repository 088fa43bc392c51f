// The Device interface over Context, staging and CudaProgram. Each call first makes the context
// current, then sees whether the device is lost.
#include "runtime/device/cuda/cuda_device.h"

#include <chrono>
#include <cstdio>

#include "runtime/base/checked.h"
#include "runtime/device/cuda/context.h"
#include "runtime/device/cuda/program.h"
#include "runtime/device/cuda/staging.h"

namespace platen::device {
namespace cuda {
namespace {

using base::Result;
using base::Status;

constexpr size_t kUploadSlots = 4, kWeightSlots = 2;
constexpr uint64_t kUploadSlotBytes = 256 << 10, kWeightSlotBytes = 8 << 20;
constexpr size_t kMaxOperands = plan::kMaxOperands + 1; // and the step

class CudaRecording : public Recording {
public:
  CudaRecording(Context &context, CUgraphExec exec) : context_(context), exec_(exec) {}
  ~CudaRecording() override {
    Context::Scope scope(context_);
    (void)context_.api().cuGraphExecDestroy(exec_);
  }
  CUgraphExec exec() const { return exec_; }

private:
  Context &context_;
  CUgraphExec exec_;
};

class CudaDeviceImpl : public CudaDevice {
public:
  static Result<std::unique_ptr<CudaDevice>> open(const CudaOptions &options);
  ~CudaDeviceImpl() override;

  std::string description() const override;
  const CudaReport &report() const override { return report_; }
  Result<std::vector<double>> time(const Launch &launch, unsigned repeats, Memory *flush) override;
  std::optional<uint64_t> freeBytes() const override;
  Result<std::unique_ptr<Memory>> allocate(uint64_t bytes, std::string_view purpose) override;
  Result<std::unique_ptr<Memory>> placeWeights(const plan::Plan &plan) override;
  Result<uint32_t> chooseTarget(const plan::Plan &plan) const override;
  Result<std::unique_ptr<Program>> loadCode(const plan::Plan &plan, uint32_t target) override;
  Result<std::unique_ptr<BoundKernel>> bind(const Kernel &kernel,
                                            std::span<const Operand> operands) override;
  Status upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) override;
  Result<std::span<const std::byte>> read(const Memory &memory, uint64_t offset,
                                          uint64_t bytes) override;
  Status reserveReads(uint64_t bytes) override;
  Status launch(const Launch &launch) override;
  Status synchronize() override;
  bool recordsLaunches() const override { return true; }
  Result<std::unique_ptr<Recording>> record(std::span<const Launch> launches) override;
  Status replay(const Recording &recording) override;

private:
  explicit CudaDeviceImpl(std::unique_ptr<Context> context)
      : context_(std::move(context)), reads_(*context_) {}
  Status enqueue(const Launch &launch);

  std::unique_ptr<Context> context_; // outlives all that is below
  std::unique_ptr<UploadRing> uploads_;
  ReadStaging reads_;
  CudaReport report_;
};

Result<std::unique_ptr<CudaDevice>> CudaDeviceImpl::open(const CudaOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(auto driver, Driver::load(options.driver));
  std::string version = driver->version();
  PLATEN_ASSIGN_OR_RETURN(auto context, Context::open(std::move(driver), options.ordinal));
  std::unique_ptr<CudaDeviceImpl> device(new CudaDeviceImpl(std::move(context)));
  Context &opened = *device->context_;
  Context::Scope scope(opened);
  PLATEN_ASSIGN_OR_RETURN(device->uploads_,
                          UploadRing::create(opened, kUploadSlots, kUploadSlotBytes));
  device->report_.name = opened.name();
  device->report_.driver_version = std::move(version);
  device->report_.capability = opened.capability();
  device->report_.is_simulated = opened.driver().isSimulated();
  device->report_.total_bytes = opened.totalBytes();
  device->report_.cache_bytes = opened.cacheBytes();
  return std::unique_ptr<CudaDevice>(std::move(device));
}

CudaDeviceImpl::~CudaDeviceImpl() {
  Context::Scope scope(*context_);
  (void)context_->api().cuStreamSynchronize(context_->stream());
}

std::string CudaDeviceImpl::description() const {
  char text[400];
  std::snprintf(text, sizeof text, "cuda:%d, %s, compute capability %u.%u, %.1f GiB",
                context_->ordinal(), context_->name().c_str(), context_->capability() / 10,
                context_->capability() % 10,
                static_cast<double>(context_->totalBytes()) / (1 << 30));
  return text;
}

std::optional<uint64_t> CudaDeviceImpl::freeBytes() const {
  Context::Scope scope(*context_);
  return context_->freeBytes();
}

Result<std::unique_ptr<Memory>> CudaDeviceImpl::allocate(uint64_t bytes, std::string_view purpose) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  Context::Scope scope(*context_);
  PLATEN_ASSIGN_OR_RETURN(auto memory, context_->allocate(bytes, purpose));
  PLATEN_RETURN_IF_ERROR(context_->check(
      context_->api().cuMemsetD8Async(addressOf(memory->address()), 0, bytes, context_->stream()),
      "zeroing memory"));
  return memory;
}

Result<std::unique_ptr<Memory>> CudaDeviceImpl::placeWeights(const plan::Plan &plan) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  auto weights = plan.weights();
  if (weights.empty())
    return std::make_unique<Memory>(nullptr, 0);
  auto begin = std::chrono::steady_clock::now();
  Context::Scope scope(*context_);
  PLATEN_ASSIGN_OR_RETURN(auto memory, context_->allocate(weights.size(), "weights"));
  PLATEN_ASSIGN_OR_RETURN(auto ring, UploadRing::create(*context_, kWeightSlots, kWeightSlotBytes));
  PLATEN_RETURN_IF_ERROR(ring->copy(addressOf(memory->address()), weights).at("weights"));
  PLATEN_RETURN_IF_ERROR(context_->check(context_->api().cuStreamSynchronize(context_->stream()),
                                         "uploading the weights"));
  report_.weight_bytes = weights.size();
  report_.weight_upload_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return memory;
}

std::string capabilityRange(const plan::CudaArchitecture &architecture) {
  uint32_t capability = architecture.capability;
  std::string text = "compute capability " + std::to_string(capability / 10) + "." +
                     std::to_string(capability % 10);
  if (architecture.suffix == 'a')
    return text + " exactly";
  bool later_majors = architecture.is_ptx && architecture.suffix == 0;
  return text +
         (later_majors ? " or later" : " or later " + std::to_string(capability / 10) + ".x");
}

Result<uint32_t> CudaDeviceImpl::chooseTarget(const plan::Plan &plan) const {
  const plan::Manifest &manifest = plan.manifest();
  if (manifest.targets.empty())
    return base::unsupported("the plan holds no code at all; compile the model again", plan.path());
  std::string lacking;
  for (uint32_t i = 0; i < manifest.targets.size(); ++i) {
    const plan::CodeTarget &target = manifest.targets[i];
    const std::string &device = manifest.programs[target.program].device;
    std::string missing = "a device of kind " + device;
    if (device == plan::kCudaDevice) {
      auto architecture = plan::parseCudaArchitecture(target.features[0]);
      if (architecture->runsOn(context_->capability()))
        return i;
      missing = capabilityRange(*architecture);
    }
    lacking.append(lacking.empty() ? "" : "; ")
        .append(target.name)
        .append(" needs ")
        .append(missing);
  }
  return base::unsupported("the plan has no code for " + description() + ": " + lacking +
                               "; compile the model for a target that this device can run",
                           plan.path());
}

Result<std::unique_ptr<Program>> CudaDeviceImpl::loadCode(const plan::Plan &plan, uint32_t target) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  Context::Scope scope(*context_);
  PLATEN_ASSIGN_OR_RETURN(auto program, CudaProgram::create(*context_, *uploads_, plan, target));
  return std::unique_ptr<Program>(std::move(program));
}

Result<std::unique_ptr<BoundKernel>> CudaDeviceImpl::bind(const Kernel &kernel,
                                                          std::span<const Operand> operands) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  if (operands.empty() || operands.size() > kMaxOperands)
    return base::invalidArgument("bind() with " + std::to_string(operands.size()) +
                                 " operands; the step and at most 64 are due");
  Context::Scope scope(*context_);
  const auto &entry = *static_cast<const CudaEntry *>(kernel.entry);
  return entry.program->bind(entry, operands);
}

Status CudaDeviceImpl::upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  if (!base::fitsInside(offset, bytes.size(), memory.bytes()))
    return base::invalidArgument("upload() beyond the end of the memory");
  reads_.reset();
  if (bytes.empty())
    return Status::ok();
  Context::Scope scope(*context_);
  return uploads_->copy(addressOf(memory.at(offset)), bytes);
}

Status CudaDeviceImpl::reserveReads(uint64_t bytes) {
  Context::Scope scope(*context_);
  return reads_.reserve(bytes);
}

Result<std::span<const std::byte>> CudaDeviceImpl::read(const Memory &memory, uint64_t offset,
                                                        uint64_t bytes) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  if (!base::fitsInside(offset, bytes, memory.bytes()))
    return base::invalidArgument("read() beyond the end of the memory");
  if (bytes == 0)
    return std::span<const std::byte>();
  Context::Scope scope(*context_);
  PLATEN_ASSIGN_OR_RETURN(auto view, reads_.take(bytes));
  PLATEN_RETURN_IF_ERROR(
      context_->check(context_->api().cuMemcpyDtoHAsync(view.data(), addressOf(memory.at(offset)),
                                                        bytes, context_->stream()),
                      "a read"));
  PLATEN_RETURN_IF_ERROR(
      context_->check(context_->api().cuStreamSynchronize(context_->stream()), "a read"));
  return std::span<const std::byte>(view);
}

Status CudaDeviceImpl::enqueue(const Launch &launch) {
  if (launch.units < 0)
    return base::invalidArgument("launch() with " + std::to_string(launch.units) + " units");
  if (launch.units == 0)
    return Status::ok();
  return static_cast<const CudaBoundKernel &>(*launch.kernel).launch(launch.extents);
}

Status CudaDeviceImpl::launch(const Launch &launch) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  reads_.reset();
  Context::Scope scope(*context_);
  return enqueue(launch);
}

/// An event of the stream's own, destroyed with the object.
class TimingEvent {
public:
  explicit TimingEvent(Context &context) : context_(context) {}
  TimingEvent(const TimingEvent &) = delete;
  TimingEvent &operator=(const TimingEvent &) = delete;
  ~TimingEvent() {
    if (event_ != nullptr)
      (void)context_.api().cuEventDestroy(event_);
  }
  Status record() {
    if (event_ == nullptr)
      PLATEN_RETURN_IF_ERROR(
          context_.check(context_.api().cuEventCreate(&event_, 0), "making an event"));
    return context_.check(context_.api().cuEventRecord(event_, context_.stream()),
                          "recording an event");
  }
  CUevent get() const { return event_; }

private:
  Context &context_;
  CUevent event_ = nullptr;
};

Result<std::vector<double>> CudaDeviceImpl::time(const Launch &launch, unsigned repeats,
                                                 Memory *flush) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  if (report_.is_simulated)
    return base::unsupported("a simulated device has no times", description());
  reads_.reset();
  Context::Scope scope(*context_);
  const DriverApi &api = context_->api();
  TimingEvent begin(*context_), end(*context_);
  PLATEN_RETURN_IF_ERROR(enqueue(launch)); // loads what is loaded late
  std::vector<double> times;
  for (unsigned i = 0; i < repeats; ++i) {
    if (flush != nullptr)
      PLATEN_RETURN_IF_ERROR(
          context_->check(api.cuMemsetD8Async(addressOf(flush->address()), static_cast<uint8_t>(i),
                                              flush->bytes(), context_->stream()),
                          "flushing the cache"));
    PLATEN_RETURN_IF_ERROR(begin.record());
    PLATEN_RETURN_IF_ERROR(enqueue(launch));
    PLATEN_RETURN_IF_ERROR(end.record());
    PLATEN_RETURN_IF_ERROR(
        context_->check(api.cuStreamSynchronize(context_->stream()), "waiting for a timed launch"));
    float milliseconds = 0;
    PLATEN_RETURN_IF_ERROR(context_->check(
        api.cuEventElapsedTime(&milliseconds, begin.get(), end.get()), "reading a launch's time"));
    times.push_back(static_cast<double>(milliseconds) * 1e6);
  }
  return times;
}

Status CudaDeviceImpl::synchronize() {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  Context::Scope scope(*context_);
  return context_->check(context_->api().cuStreamSynchronize(context_->stream()),
                         "waiting for the device");
}

Result<std::unique_ptr<Recording>> CudaDeviceImpl::record(std::span<const Launch> launches) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  Context::Scope scope(*context_);
  const DriverApi &api = context_->api();
  PLATEN_RETURN_IF_ERROR(context_->check(
      api.cuStreamBeginCapture(context_->stream(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
      "recording a step"));
  Status status;
  for (size_t i = 0; i < launches.size() && status.isOk(); ++i)
    status = enqueue(launches[i]);
  // Whatever happened, the stream is to leave its recording.
  CUgraph graph = nullptr;
  Status ended =
      context_->check(api.cuStreamEndCapture(context_->stream(), &graph), "recording a step");
  if (status.isOk())
    status = ended;
  CUgraphExec exec = nullptr;
  if (status.isOk())
    status = context_->check(api.cuGraphInstantiate(&exec, graph, 0), "making a CUDA graph");
  if (graph != nullptr)
    (void)api.cuGraphDestroy(graph);
  PLATEN_RETURN_IF_ERROR(status);
  return std::unique_ptr<Recording>(std::make_unique<CudaRecording>(*context_, exec));
}

Status CudaDeviceImpl::replay(const Recording &recording) {
  PLATEN_RETURN_IF_ERROR(context_->lost());
  reads_.reset();
  Context::Scope scope(*context_);
  return context_->check(
      context_->api().cuGraphLaunch(static_cast<const CudaRecording &>(recording).exec(),
                                    context_->stream()),
      "replaying a step");
}

} // namespace
} // namespace cuda

base::Result<std::unique_ptr<CudaDevice>> CudaDevice::open(const CudaOptions &options) {
  return cuda::CudaDeviceImpl::open(options);
}

} // namespace platen::device
