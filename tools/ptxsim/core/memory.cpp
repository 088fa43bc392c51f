#include "tools/ptxsim/core/memory.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

namespace platen::ptxsim {
namespace {

constexpr uint8_t kPoison = 0xFF; // a NaN in every float format, a far address as a pointer

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

/// Zero pages, not backed before they are touched.
std::shared_ptr<void> reserve(size_t bytes) {
  void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return nullptr;
  return {p, [bytes](void *q) { munmap(q, bytes); }};
}

} // namespace

Memory::Memory() = default;
Memory::~Memory() = default;

base::Result<uint64_t> Memory::allocate(size_t bytes, int owner) {
  if (bytes == 0 || bytes > (size_t{1} << 46))
    return base::invalidArgument("an allocation of " + std::to_string(bytes) + " bytes");
  Allocation a;
  a.owner = owner;
  a.bytes = reserve(bytes + 2 * kGuardBytes);
  a.shadow = reserve(bytes);
  if (!a.bytes || !a.shadow)
    return base::resourceExhausted("the host has no " + std::to_string(bytes) + " bytes left");
  a.begin = reinterpret_cast<uint64_t>(a.bytes.get()) + kGuardBytes;
  a.end = a.begin + bytes;
  a.initialised = static_cast<uint8_t *>(a.shadow.get());
  // Poison only what is small: a large allocation's reads are refused by its shadow anyway.
  std::memset(reinterpret_cast<void *>(a.begin), kPoison, std::min<size_t>(bytes, 1 << 20));
  std::lock_guard lock(mutex_);
  allocations_[a.begin] = a;
  snapshot_.reset();
  return a.begin;
}

base::Status Memory::free(uint64_t address) {
  std::lock_guard lock(mutex_);
  auto it = allocations_.find(address);
  if (it == allocations_.end() || !it->second.initialised)
    return base::invalidArgument(hex(address) + " is no live allocation (freed twice?)");
  allocations_.erase(it);
  snapshot_.reset();
  return {};
}

base::Status Memory::registerHost(void *bytes, size_t size) {
  auto begin = reinterpret_cast<uint64_t>(bytes);
  std::lock_guard lock(mutex_);
  auto next = allocations_.lower_bound(begin);
  if (size == 0 || (next != allocations_.end() && next->first < begin + size) ||
      (next != allocations_.begin() && std::prev(next)->second.end > begin))
    return base::invalidArgument("host range " + hex(begin) + " is empty or registered already");
  allocations_[begin] = Allocation{begin, begin + size, kHostOwner, nullptr, nullptr, nullptr};
  snapshot_.reset();
  return {};
}

base::Status Memory::unregisterHost(void *bytes) {
  std::lock_guard lock(mutex_);
  auto it = allocations_.find(reinterpret_cast<uint64_t>(bytes));
  if (it == allocations_.end() || it->second.owner != kHostOwner)
    return base::invalidArgument("the host range was not registered");
  allocations_.erase(it);
  snapshot_.reset();
  return {};
}

base::Result<Allocation> Memory::locate(uint64_t address, size_t size, const char *what) const {
  std::lock_guard lock(mutex_);
  auto it = allocations_.upper_bound(address);
  if (it != allocations_.begin()) {
    const Allocation &a = std::prev(it)->second;
    if (address < a.end && size <= a.end - address)
      return a;
  }
  return base::invalidArgument(std::string(what) + " of " + std::to_string(size) + " bytes at " +
                               hex(address) + " lies in no allocation");
}

base::Status Memory::write(uint64_t address, const void *source, size_t size) {
  PLATEN_ASSIGN_OR_RETURN(Allocation a, locate(address, size, "write"));
  std::memcpy(reinterpret_cast<void *>(address), source, size);
  if (a.initialised)
    std::memset(a.initialised + (address - a.begin), 1, size);
  return {};
}

base::Status Memory::fill(uint64_t address, uint8_t value, size_t size) {
  PLATEN_ASSIGN_OR_RETURN(Allocation a, locate(address, size, "fill"));
  std::memset(reinterpret_cast<void *>(address), value, size);
  if (a.initialised)
    std::memset(a.initialised + (address - a.begin), 1, size);
  return {};
}

base::Status Memory::read(uint64_t address, void *target, size_t size) const {
  PLATEN_ASSIGN_OR_RETURN(Allocation a, locate(address, size, "read"));
  std::memcpy(target, reinterpret_cast<const void *>(address), size);
  return {};
}

base::Status Memory::copy(uint64_t target, uint64_t source, size_t size) {
  PLATEN_ASSIGN_OR_RETURN(Allocation to, locate(target, size, "copy"));
  PLATEN_ASSIGN_OR_RETURN(Allocation from, locate(source, size, "copy"));
  std::memmove(reinterpret_cast<void *>(target), reinterpret_cast<const void *>(source), size);
  if (to.initialised && from.initialised)
    std::memmove(to.initialised + (target - to.begin), from.initialised + (source - from.begin),
                 size);
  else if (to.initialised)
    std::memset(to.initialised + (target - to.begin), 1, size);
  return {};
}

base::Result<bool> Memory::isInitialised(uint64_t address, size_t size) const {
  PLATEN_ASSIGN_OR_RETURN(Allocation a, locate(address, size, "question"));
  return !a.initialised || !std::memchr(a.initialised + (address - a.begin), 0, size);
}

base::Status Memory::poison(uint64_t address, size_t size) {
  PLATEN_ASSIGN_OR_RETURN(Allocation a, locate(address, size, "poison"));
  std::memset(reinterpret_cast<void *>(address), kPoison, size);
  if (a.initialised)
    std::memset(a.initialised + (address - a.begin), 0, size);
  return {};
}

base::Result<Allocation> Memory::find(uint64_t address, size_t size) const {
  return locate(address, size, "access");
}

size_t Memory::allocatedBytes(int owner) const {
  std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const auto &[begin, a] : allocations_)
    sum += a.owner == owner ? a.end - a.begin : 0;
  return sum;
}

std::shared_ptr<const AllocationTable> Memory::table() const {
  std::lock_guard lock(mutex_);
  if (!snapshot_) {
    auto table = std::make_shared<AllocationTable>();
    for (const auto &[begin, a] : allocations_)
      table->push_back(a);
    snapshot_ = std::move(table);
  }
  return snapshot_;
}

} // namespace platen::ptxsim
