// Countdown, then failure.
#include "runtime/device/fault/fault_device.h"

namespace platen::device {

using base::Result;
using base::Status;

void FaultDevice::failAt(FaultKind kind, uint64_t call) {
  kind_ = kind;
  remaining_ = call;
}

void FaultDevice::heal() {
  remaining_ = 0;
  lost_ = Status::ok();
}

bool FaultDevice::strikes(FaultKind kind) {
  return remaining_ != 0 && kind == kind_ && --remaining_ == 0;
}

Status FaultDevice::enter(FaultKind kind, const char *call) {
  if (lost_.isOk() && strikes(kind))
    lost_ = {base::StatusCode::kDeviceLost, std::string("injected failure of ") + call};
  return lost_;
}

Result<std::unique_ptr<Memory>> FaultDevice::allocate(uint64_t bytes, std::string_view purpose) {
  if (strikes(FaultKind::kAllocate))
    return base::resourceExhausted("injected failure of an allocation of " + std::to_string(bytes) +
                                       " bytes",
                                   std::string(purpose));
  return device_->allocate(bytes, purpose);
}

Result<std::unique_ptr<Memory>> FaultDevice::placeWeights(const plan::Plan &plan) {
  if (strikes(FaultKind::kPlaceWeights))
    return base::resourceExhausted("injected failure of placeWeights()");
  return device_->placeWeights(plan);
}

Result<uint32_t> FaultDevice::chooseTarget(const plan::Plan &plan) const {
  return device_->chooseTarget(plan);
}

Result<std::unique_ptr<Program>> FaultDevice::loadCode(const plan::Plan &plan, uint32_t target) {
  if (strikes(FaultKind::kLoadCode))
    return base::unsupported("injected failure of loadCode()");
  return device_->loadCode(plan, target);
}

Status FaultDevice::upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) {
  PLATEN_RETURN_IF_ERROR(enter(FaultKind::kUpload, "upload()"));
  return device_->upload(memory, offset, bytes);
}

Result<std::span<const std::byte>> FaultDevice::read(const Memory &memory, uint64_t offset,
                                                     uint64_t bytes) {
  PLATEN_RETURN_IF_ERROR(enter(FaultKind::kRead, "read()"));
  return device_->read(memory, offset, bytes);
}

Result<std::unique_ptr<BoundKernel>> FaultDevice::bind(const Kernel &kernel,
                                                       std::span<const Operand> operands) {
  if (strikes(FaultKind::kBind))
    return base::unsupported("injected failure of bind()");
  return device_->bind(kernel, operands);
}

Status FaultDevice::launch(const Launch &launch) {
  PLATEN_RETURN_IF_ERROR(enter(FaultKind::kLaunch, "launch()"));
  return device_->launch(launch);
}

Result<std::unique_ptr<Recording>> FaultDevice::record(std::span<const Launch> launches) {
  if (strikes(FaultKind::kRecord))
    return base::resourceExhausted("injected failure of record()");
  return device_->record(launches);
}

Status FaultDevice::replay(const Recording &recording) {
  PLATEN_RETURN_IF_ERROR(enter(FaultKind::kReplay, "replay()"));
  return device_->replay(recording);
}

Status FaultDevice::synchronize() {
  PLATEN_RETURN_IF_ERROR(enter(FaultKind::kSynchronize, "synchronize()"));
  return device_->synchronize();
}

} // namespace platen::device
