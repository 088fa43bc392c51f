// Memory: the device memory of every simulated GPU of a process, one unified address space.
//
// A device address is the host address of the bytes (aligned to 256), so pinned host memory that
// was registered is reached by the same pointer. Every access of a kernel is checked against the
// table of allocations; each byte has an initialised bit (kept as a byte), so that a read of what
// nobody wrote is a violation and not a number. Between allocations lie guard zones of kGuardBytes.
// Costs: two host bytes for each device byte (the second is touched only when written).
// Thread-safety: every method may be called from any thread. A running launch works on a snapshot
// of the table: what is freed meanwhile stays mapped until the launch ends.
#pragma once

#include "runtime/base/status.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace platen::ptxsim {

inline constexpr size_t kGuardBytes = 4096;

/// One allocation; `[begin, end)` are device addresses. Copies share the bytes.
struct Allocation {
  uint64_t begin = 0, end = 0;
  /// Which device owns it (the driver's ordinal), or kHostOwner for registered host memory.
  int owner = 0;
  /// Byte `initialised[a - begin]` is 1 once address `a` was written; null: all is initialised.
  uint8_t *initialised = nullptr;
  std::shared_ptr<void> bytes, shadow;
};

inline constexpr int kHostOwner = -1;

/// The table as a launch sees it: sorted by address.
using AllocationTable = std::vector<Allocation>;

class Memory {
public:
  Memory();
  ~Memory();
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  /// `bytes` (0 is refused) uninitialised bytes owned by `owner`, aligned to 256.
  base::Result<uint64_t> allocate(size_t bytes, int owner);
  /// Frees an address that allocate() returned. kInvalidArgument names a double or foreign free.
  base::Status free(uint64_t address);
  /// Makes host bytes reachable by kernels (pinned memory). They count as initialised.
  base::Status registerHost(void *bytes, size_t size);
  base::Status unregisterHost(void *bytes);

  /// Host copies; the range must lie in one allocation. write() and fill() initialise; read()
  /// refuses nothing but a bad range: copying uninitialised bytes is legal, computing with them is
  /// not.
  base::Status write(uint64_t address, const void *source, size_t size);
  base::Status read(uint64_t address, void *target, size_t size) const;
  base::Status fill(uint64_t address, uint8_t value, size_t size);
  /// Device to device; initialised bits travel with the bytes.
  base::Status copy(uint64_t target, uint64_t source, size_t size);
  /// Whether every byte of the range was written.
  base::Result<bool> isInitialised(uint64_t address, size_t size) const;
  /// Forgets what was written (the bytes become poison), for tests and mutation.
  base::Status poison(uint64_t address, size_t size);

  /// The allocation that holds `[address, address + size)`.
  base::Result<Allocation> find(uint64_t address, size_t size = 1) const;
  /// Bytes allocated now by `owner`.
  size_t allocatedBytes(int owner) const;
  std::shared_ptr<const AllocationTable> table() const;

private:
  base::Result<Allocation> locate(uint64_t address, size_t size, const char *what) const;
  mutable std::mutex mutex_;
  std::map<uint64_t, Allocation> allocations_; // by begin
  mutable std::shared_ptr<const AllocationTable> snapshot_;
};

} // namespace platen::ptxsim
