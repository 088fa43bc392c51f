// What the runtime needs of a device: memory, weights, code, launches.
//
// A device is one queue. upload(), launch() and replay() are enqueued and run in order; read() and
// synchronize() wait for everything enqueued before. A device may fail late: the first failure
// sticks and later calls return it. The host device runs everything at once, on its own threads.
// Addresses are opaque: only kernels dereference them.
//
// Thread-safety: one thread at a time uses a device and what it made. Lifetime: the device outlives
// its Memory and Program objects, a Program its BoundKernels, these their Recordings; a Plan
// outlives everything made from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
  uint64_t scratch_bytes = 0;  ///< host: a thread; CUDA: the workspace
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

/// What a kernel is given: a part of some Memory.
struct Operand {
  void *address = nullptr;
  uint64_t bytes = 0;
};

/// A kernel with its operands, to be launched any number of times.
class BoundKernel {
public:
  virtual ~BoundKernel() = default;
};

/// One launch. The host runs the work units [0, units); CUDA kernels count their grids by the
/// step's extents. A launch without units does nothing.
struct Launch {
  const BoundKernel *kernel = nullptr;
  plan::Extents extents;
  int64_t units = 0;
};

/// Launches that are replayed together.
class Recording {
public:
  virtual ~Recording() = default;
};

class Device {
public:
  virtual ~Device() = default;
  /// What it is, for reports: "host, 2 threads on CPUs 0-1".
  virtual std::string description() const = 0;
  /// Whether it only imitates a device: its results count, its times say nothing and are never
  /// shown or written down.
  virtual bool isSimulated() const { return false; }
  /// Memory that allocate() can still give, where that is a hard limit. The host has none: it
  /// promises memory and gives it when it is touched.
  virtual std::optional<uint64_t> freeBytes() const { return std::nullopt; }

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
  /// `operands` is the kernel ABI's table: the step, then the launch's operands. What the device
  /// adds itself (scratch, tensor maps) is not in it. Errors: kInvalidArgument for more than 65
  /// operands; what loading a kernel's code meets, on devices that do so now.
  virtual base::Result<std::unique_ptr<BoundKernel>> bind(const Kernel &kernel,
                                                          std::span<const Operand> operands) = 0;

  /// Copies host bytes to `memory` at `offset`; `bytes` may be reused when the call returns.
  virtual base::Status upload(Memory &memory, uint64_t offset,
                              std::span<const std::byte> bytes) = 0;
  /// The host's view of `memory`[offset, offset + bytes) after all work enqueued so far: valid
  /// until the next launch or upload on this device, or the end of `memory`.
  virtual base::Result<std::span<const std::byte>> read(const Memory &memory, uint64_t offset,
                                                        uint64_t bytes) = 0;
  /// Prepares for views of so many bytes at a time, which read() then gives without allocating.
  virtual base::Status reserveReads(uint64_t bytes) {
    (void)bytes;
    return base::Status::ok();
  }
  virtual base::Status launch(const Launch &launch) = 0;
  /// Waits for everything enqueued.
  virtual base::Status synchronize() = 0;

  /// Whether replaying is cheaper than launching one by one, and whether kernels bear extents
  /// larger than the step's: then a recording for larger extents serves every smaller step.
  virtual bool recordsLaunches() const { return false; }
  /// Records the launches, in order, without running them. Errors: kUnsupported where
  /// recordsLaunches() is false.
  virtual base::Result<std::unique_ptr<Recording>> record(std::span<const Launch> launches);
  /// Enqueues what was recorded.
  virtual base::Status replay(const Recording &recording);
};

} // namespace platen::device
