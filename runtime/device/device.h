// What the runtime needs of a device: memory, weights, code, launches.
//
// A device is one queue. upload() and launch() are enqueued and run in order; read() and
// synchronize() wait for everything enqueued before. A device may fail late: the first failure
// sticks and later calls return it. The host device runs everything at once, on its own threads.
// Addresses are opaque: only kernels dereference them.
//
// Thread-safety: one thread at a time uses a device and what it made. Lifetime: the device outlives
// its Memory and Program objects; a Plan outlives everything made from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "runtime/base/status.h"
#include "runtime/plan/reader.h"

namespace platen::device {

/// Device memory; freed by its destructor.
class Memory {
public:
  Memory(void *address, uint64_t bytes) : address_(address), bytes_(bytes) {}
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  virtual ~Memory() = default;

  /// Aligned to 64 bytes. Only the device's kernels may dereference it.
  void *address() const { return address_; }
  uint64_t bytes() const { return bytes_; }
  /// The device address `offset` bytes in.
  void *at(uint64_t offset) const { return static_cast<std::byte *>(address_) + offset; }

private:
  void *address_;
  uint64_t bytes_;
};

/// A loaded kernel; a value that its Program owns.
struct Kernel {
  const void *entry = nullptr; ///< opaque; on the host the PlatenHostKernel
  uint64_t scratch_bytes = 0;  ///< a thread
};

/// The code of one target of a plan, loaded.
class Program {
public:
  virtual ~Program() = default;
  /// The chosen target's name, e.g. "x86-64-avx2".
  virtual std::string_view target() const = 0;
  /// The kernel of that index in the target's program. Requires index < number of kernels.
  virtual Kernel kernel(uint32_t index) const = 0;
};

class Device {
public:
  virtual ~Device() = default;
  /// What it is, for reports: "host, 2 threads on CPUs 0-1".
  virtual std::string description() const = 0;

  /// Zeroed memory. Errors: kResourceExhausted; kInvalidArgument for 0 bytes. `purpose` goes into
  /// messages.
  virtual base::Result<std::unique_ptr<Memory>> allocate(uint64_t bytes,
                                                         std::string_view purpose) = 0;
  /// Makes the plan's weights section usable by kernels: in place where the device can read the
  /// mapping, otherwise as a copy. `at(weight.offset)` is a weight's address.
  virtual base::Result<std::unique_ptr<Memory>> placeWeights(const plan::Plan &plan) = 0;
  /// Index of the first target of the plan that this device can run. Errors: kUnsupported naming,
  /// for each target, what the device lacks.
  virtual base::Result<uint32_t> chooseTarget(const plan::Plan &plan) const = 0;
  /// Loads a target that chooseTarget() gave for this plan.
  virtual base::Result<std::unique_ptr<Program>> loadCode(const plan::Plan &plan,
                                                          uint32_t target) = 0;

  /// Copies host bytes to `memory` at `offset`; `bytes` may be reused when the call returns.
  virtual base::Status upload(Memory &memory, uint64_t offset,
                              std::span<const std::byte> bytes) = 0;
  /// The host's view of `memory`[offset, offset + bytes) after all work enqueued so far: valid
  /// until the next launch or upload on this device, or the end of `memory`.
  virtual base::Result<std::span<const std::byte>> read(const Memory &memory, uint64_t offset,
                                                        uint64_t bytes) = 0;
  /// Enqueues `kernel` over the work units [0, units). `operands` is the kernel ABI's table,
  /// without the scratch: the device appends that. It must stay unchanged until the next read() or
  /// synchronize(). units == 0 does nothing.
  virtual base::Status launch(const Kernel &kernel, std::span<void *const> operands,
                              int64_t units) = 0;
  /// Waits for everything enqueued.
  virtual base::Status synchronize() = 0;
};

} // namespace platen::device
