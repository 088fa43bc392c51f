// One anonymous mapping per buffer. Buffers of 2 MiB and more are placed at a 2 MiB boundary and
// marked MADV_HUGEPAGE: systems that offer huge pages on request only ("madvise") then use them.
#include "runtime/base/aligned_buffer.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <sys/mman.h>

#include "runtime/base/checked.h"

namespace platen::base {
namespace {
constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;
constexpr uint64_t kPageBytes = 4096;
// Kernels may read a little past the last row (kernel_abi.h), so each mapping ends with slack.
constexpr uint64_t kSlackBytes = 256;
} // namespace

Result<AlignedBuffer> AlignedBuffer::create(uint64_t bytes, std::string_view purpose) {
  if (bytes == 0)
    return invalidArgument("a buffer of 0 bytes was asked for", std::string(purpose));
  bool huge = bytes >= kHugePageBytes;
  uint64_t room = huge ? 2 * kHugePageBytes : kPageBytes;
  auto exhausted = [&](const char *reason) {
    return resourceExhausted("cannot get " + std::to_string(bytes) + " bytes of memory: " + reason,
                             std::string(purpose));
  };
  if (bytes > (uint64_t{1} << 47) - room - kSlackBytes)
    return exhausted("more than an address space holds");
  uint64_t mapping_bytes = alignUp(bytes + kSlackBytes, huge ? kHugePageBytes : kPageBytes) +
                           (huge ? kHugePageBytes : 0);
  void *mapping =
      mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED)
    return exhausted(std::strerror(errno));
  AlignedBuffer buffer;
  buffer.mapping_ = static_cast<std::byte *>(mapping);
  buffer.mapping_bytes_ = mapping_bytes;
  buffer.bytes_ = bytes;
  auto address = reinterpret_cast<uintptr_t>(mapping);
  buffer.data_ = buffer.mapping_ + (huge ? alignUp(address, kHugePageBytes) - address : 0);
  if (huge) // only a hint: without huge pages everything works as before
    (void)madvise(buffer.data_, alignUp(bytes + kSlackBytes, kHugePageBytes), MADV_HUGEPAGE);
  return buffer;
}

AlignedBuffer::AlignedBuffer(AlignedBuffer &&other) noexcept { *this = std::move(other); }

AlignedBuffer &AlignedBuffer::operator=(AlignedBuffer &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (mapping_ != nullptr)
    munmap(mapping_, mapping_bytes_);
}

} // namespace platen::base
