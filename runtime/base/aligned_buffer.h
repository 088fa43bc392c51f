// Zeroed memory straight from the operating system: page-aligned, in 2 MiB pages where it is large
// enough to gain from them, committed only when touched. Cost: one mmap each way, so not for small
// or short-lived things.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/base/status.h"

namespace platen::base {

class AlignedBuffer {
public:
  /// Errors: kResourceExhausted naming `purpose` and the size; kInvalidArgument for 0 bytes.
  static Result<AlignedBuffer> create(uint64_t bytes, std::string_view purpose);
  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer &&other) noexcept;
  AlignedBuffer &operator=(AlignedBuffer &&other) noexcept;
  ~AlignedBuffer();

  std::byte *data() const { return data_; }
  uint64_t size() const { return bytes_; }
  std::span<std::byte> bytes() const { return {data_, bytes_}; }

private:
  std::byte *data_ = nullptr; // aligned to 2 MiB if bytes_ >= 2 MiB, else to a page
  uint64_t bytes_ = 0;
  std::byte *mapping_ = nullptr;
  uint64_t mapping_bytes_ = 0;
};

} // namespace platen::base
