// Counters around plain memory.
#include "runtime/device/null/null_device.h"

#include <cstring>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/checked.h"

namespace platen::device {
namespace {

using base::Result;
using base::Status;

class NullMemory : public Memory {
public:
  explicit NullMemory(base::AlignedBuffer buffer)
      : Memory(buffer.data(), buffer.size()), buffer_(std::move(buffer)) {}

private:
  base::AlignedBuffer buffer_;
};

class NullProgram : public Program {
public:
  NullProgram(const plan::Manifest &manifest, const plan::CodeTarget &target)
      : target_(target.name), kernels_(manifest.programs[target.program].kernels) {}
  std::string_view target() const override { return target_; }
  Kernel kernel(uint32_t index) const override {
    return {.entry = nullptr, .scratch_bytes = kernels_[index].scratch_bytes};
  }

private:
  std::string target_;
  std::vector<plan::Kernel> kernels_;
};

struct NullRecording : Recording {
  explicit NullRecording(std::span<const Launch> recorded)
      : launches(recorded.begin(), recorded.end()) {}
  std::vector<Launch> launches;
};

} // namespace

Result<std::unique_ptr<Memory>> NullDevice::allocate(uint64_t bytes, std::string_view purpose) {
  PLATEN_ASSIGN_OR_RETURN(auto buffer, base::AlignedBuffer::create(bytes, purpose));
  ++counts_.allocations;
  counts_.allocated_bytes += bytes;
  return std::unique_ptr<Memory>(std::make_unique<NullMemory>(std::move(buffer)));
}

Result<std::unique_ptr<Memory>> NullDevice::placeWeights(const plan::Plan &plan) {
  auto weights = plan.weights();
  return std::make_unique<Memory>(const_cast<std::byte *>(weights.data()), weights.size());
}

Result<uint32_t> NullDevice::chooseTarget(const plan::Plan &plan) const {
  if (plan.manifest().targets.empty())
    return base::unsupported("the plan holds no code at all; compile the model again", plan.path());
  return 0U;
}

Result<std::unique_ptr<Program>> NullDevice::loadCode(const plan::Plan &plan, uint32_t target) {
  return std::unique_ptr<Program>(
      std::make_unique<NullProgram>(plan.manifest(), plan.manifest().targets[target]));
}

Status NullDevice::upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) {
  if (!base::fitsInside(offset, bytes.size(), memory.bytes()))
    return base::invalidArgument("upload() beyond the end of the memory");
  if (!bytes.empty())
    std::memcpy(memory.at(offset), bytes.data(), bytes.size());
  ++counts_.uploads;
  counts_.uploaded_bytes += bytes.size();
  return Status::ok();
}

Result<std::span<const std::byte>> NullDevice::read(const Memory &memory, uint64_t offset,
                                                    uint64_t bytes) {
  if (!base::fitsInside(offset, bytes, memory.bytes()))
    return base::invalidArgument("read() beyond the end of the memory");
  ++counts_.reads;
  return std::span<const std::byte>(static_cast<const std::byte *>(memory.at(offset)), bytes);
}

Result<std::unique_ptr<BoundKernel>> NullDevice::bind(const Kernel &,
                                                      std::span<const Operand> operands) {
  if (operands.size() > plan::kMaxOperands + 1)
    return base::invalidArgument("bind() with " + std::to_string(operands.size()) +
                                 " operands, more than 65");
  ++counts_.binds;
  return std::make_unique<BoundKernel>();
}

Status NullDevice::launch(const Launch &launch) {
  if (launch.units < 0)
    return base::invalidArgument("launch() with " + std::to_string(launch.units) + " units");
  counts_.launches += launch.units > 0;
  counts_.units += static_cast<uint64_t>(launch.units);
  return Status::ok();
}

Result<std::unique_ptr<Recording>> NullDevice::record(std::span<const Launch> launches) {
  if (!records_)
    return Device::record(launches);
  ++counts_.recordings;
  return std::unique_ptr<Recording>(std::make_unique<NullRecording>(launches));
}

Status NullDevice::replay(const Recording &recording) {
  ++counts_.replays;
  for (const Launch &each : static_cast<const NullRecording &>(recording).launches)
    PLATEN_RETURN_IF_ERROR(launch(each));
  return Status::ok();
}

Status NullDevice::synchronize() {
  ++counts_.synchronizations;
  return Status::ok();
}

} // namespace platen::device
