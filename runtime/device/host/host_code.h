// Machine code of a plan made executable: in place where the plan is mapped, else as a copy.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/base/status.h"

namespace platen::device {

/// Executable bytes; never writable and executable at the same time.
class HostCode {
public:
  /// `code` is a mapped, verified section at the start of a page; it must outlive the result. In
  /// place, the whole pages become readable and executable; where the system forbids that (a noexec
  /// mount), or `allow_in_place` is false, the bytes are copied to anonymous memory. Errors:
  /// kUnsupported when the system allows neither.
  static base::Result<HostCode> load(std::span<const std::byte> code, bool allow_in_place);
  HostCode(HostCode &&other) noexcept;
  HostCode &operator=(HostCode &&other) noexcept;
  ~HostCode();

  const std::byte *data() const { return data_; }
  bool inPlace() const { return copy_bytes_ == 0; }

private:
  HostCode() = default;
  const std::byte *data_ = nullptr;
  size_t copy_bytes_ = 0; // of the anonymous copy; 0 when in place
};

} // namespace platen::device
