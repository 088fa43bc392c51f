// mprotect on the plan's own mapping keeps one copy of the code for all processes. It stays
// executable until the plan is unmapped: another device may have loaded the same section.
#include "runtime/device/host/host_code.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace platen::device {

base::Result<HostCode> HostCode::load(std::span<const std::byte> code, bool allow_in_place) {
  HostCode loaded;
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  if (allow_in_place && reinterpret_cast<uintptr_t>(code.data()) % page == 0 &&
      mprotect(const_cast<std::byte *>(code.data()), code.size(), PROT_READ | PROT_EXEC) == 0) {
    loaded.data_ = code.data();
    return loaded;
  }
  void *copy =
      mmap(nullptr, code.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED)
    return base::resourceExhausted("cannot get " + std::to_string(code.size()) +
                                   " bytes of memory for machine code: " + std::strerror(errno));
  loaded.data_ = static_cast<const std::byte *>(copy);
  loaded.copy_bytes_ = code.size();
  std::memcpy(copy, code.data(), code.size());
  if (mprotect(copy, code.size(), PROT_READ | PROT_EXEC) != 0)
    return base::unsupported(std::string("the system lets no memory become executable: ") +
                             std::strerror(errno) +
                             "; platen runs the machine code that the plan carries");
  return loaded;
}

HostCode::HostCode(HostCode &&other) noexcept { *this = std::move(other); }

HostCode &HostCode::operator=(HostCode &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(copy_bytes_, other.copy_bytes_);
  return *this;
}

HostCode::~HostCode() {
  if (copy_bytes_ != 0)
    munmap(const_cast<std::byte *>(data_), copy_bytes_);
}

} // namespace platen::device
