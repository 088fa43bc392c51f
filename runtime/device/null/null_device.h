// A device that computes nothing and counts what it is asked: for tests of who calls what, and of
// everything but kernels.
//
// Memory is real (zeroed, kept as uploaded), so addresses and reads work; launches leave it
// unchanged. It accepts every code target. Differences from other devices: launch() has no effect.
#pragma once

#include <memory>

#include "runtime/device/device.h"

namespace platen::device {

struct NullCounts {
  uint64_t allocations = 0;
  uint64_t allocated_bytes = 0; ///< of all allocations, freed or not
  uint64_t uploads = 0;
  uint64_t uploaded_bytes = 0;
  uint64_t reads = 0;
  uint64_t binds = 0;
  uint64_t launches = 0; ///< those with units, replayed ones included
  uint64_t units = 0;
  uint64_t recordings = 0;
  uint64_t replays = 0;
  uint64_t synchronizations = 0;
};

class NullDevice : public Device {
public:
  /// `records`: what recordsLaunches() says.
  explicit NullDevice(bool records = false) : records_(records) {}
  const NullCounts &counts() const { return counts_; }
  void resetCounts() { counts_ = {}; }

  std::string description() const override { return "null"; }
  base::Result<std::unique_ptr<Memory>> allocate(uint64_t bytes, std::string_view purpose) override;
  base::Result<std::unique_ptr<Memory>> placeWeights(const plan::Plan &plan) override;
  base::Result<uint32_t> chooseTarget(const plan::Plan &plan) const override;
  base::Result<std::unique_ptr<Program>> loadCode(const plan::Plan &plan, uint32_t target) override;
  base::Status upload(Memory &memory, uint64_t offset, std::span<const std::byte> bytes) override;
  base::Result<std::span<const std::byte>> read(const Memory &memory, uint64_t offset,
                                                uint64_t bytes) override;
  base::Result<std::unique_ptr<BoundKernel>> bind(const Kernel &kernel,
                                                  std::span<const Operand> operands) override;
  base::Status launch(const Launch &launch) override;
  base::Status synchronize() override;
  bool recordsLaunches() const override { return records_; }
  base::Result<std::unique_ptr<Recording>> record(std::span<const Launch> launches) override;
  base::Status replay(const Recording &recording) override;

private:
  bool records_;
  NullCounts counts_;
};

} // namespace platen::device
