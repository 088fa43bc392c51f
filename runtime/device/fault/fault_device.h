// A device that fails when told to: wraps another one and makes the n-th call of a kind fail, as
// real devices do.
//
// For tests of how the runtime bears failure. Until the fault strikes it is the wrapped device. A
// failed launch(), replay(), upload(), read() or synchronize() is kDeviceLost and sticks, as
// device.h says; a failed allocation or recording is kResourceExhausted and does not.
#pragma once

#include <memory>

#include "runtime/device/device.h"

namespace platen::device {

enum class FaultKind {
  kAllocate,
  kPlaceWeights,
  kLoadCode,
  kBind,
  kRecord,
  kUpload,
  kRead,
  kLaunch,
  kReplay,
  kSynchronize
};

class FaultDevice : public Device {
public:
  explicit FaultDevice(std::unique_ptr<Device> device) : device_(std::move(device)) {}

  /// The `call`-th call of that kind from now on (1: the next) fails.
  void failAt(FaultKind kind, uint64_t call);
  /// Nothing fails any more, and a lost device is back.
  void heal();
  Device &wrapped() { return *device_; }

  std::string description() const override { return "fault(" + device_->description() + ")"; }
  bool isSimulated() const override { return device_->isSimulated(); }
  std::optional<uint64_t> freeBytes() const override { return device_->freeBytes(); }
  base::Result<std::unique_ptr<Memory>> allocate(uint64_t bytes, std::string_view purpose) override;
  base::Result<std::unique_ptr<Memory>> placeWeights(const plan::Plan &plan) override;
  base::Result<uint32_t> chooseTarget(const plan::Plan &plan) const override;
  base::Result<std::unique_ptr<Program>> loadCode(const plan::Plan &plan, uint32_t target) override;
  base::Status upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) override;
  base::Result<std::span<const std::byte>> read(const Memory &memory, uint64_t offset,
                                                uint64_t bytes) override;
  base::Result<std::unique_ptr<BoundKernel>> bind(const Kernel &kernel,
                                                  std::span<const Operand> operands) override;
  base::Status reserveReads(uint64_t bytes) override { return device_->reserveReads(bytes); }
  base::Status launch(const Launch &launch) override;
  base::Status synchronize() override;
  bool recordsLaunches() const override { return device_->recordsLaunches(); }
  base::Result<std::unique_ptr<Recording>> record(std::span<const Launch> launches) override;
  base::Status replay(const Recording &recording) override;

private:
  /// Counts one call; true if it is the one to fail.
  bool strikes(FaultKind kind);
  /// For calls whose failure loses the device: Ok, or the sticky failure.
  base::Status enter(FaultKind kind, const char *call);

  std::unique_ptr<Device> device_;
  FaultKind kind_ = FaultKind::kLaunch;
  uint64_t remaining_ = 0; // calls of kind_ until the failure, it included; 0: none will fail
  base::Status lost_;
};

} // namespace platen::device
