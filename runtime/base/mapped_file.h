// A whole file mapped read-only. Cost: address space; pages come from the page cache when touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/base/status.h"

namespace platen::base {

/// Movable owner of the mapping. const methods are safe from several threads. The file must not
/// shrink while it is mapped: touching pages beyond its end raises SIGBUS.
class MappedFile {
public:
  /// Errors: kNotFound, kIo (also for folders, pipes and devices). An empty file maps to an empty
  /// span.
  static Result<MappedFile> open(const std::string &path);
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, bytes_}; }
  const std::string &path() const { return path_; }

  enum class Advice { kSequential, kRandom, kWillNeed, kDontNeed };
  /// Tells the kernel how [offset, offset + bytes) will be read; out-of-range parts and failures
  /// are ignored.
  void advise(Advice advice, uint64_t offset, uint64_t bytes) const;

private:
  const std::byte *data_ = nullptr;
  size_t bytes_ = 0;
  std::string path_;
};

} // namespace platen::base
