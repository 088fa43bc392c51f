// Writes a file that appears whole or not at all: the bytes go to "<path>.tmp", commit() renames
// it.
//
// Cost: buffered, one write(2) a MiB. commit() does not fsync: after a power cut the file may be
// damaged (whoever reads it checks hashes), after a crash of the process it may not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace platen::base {

/// Movable; destroyed before commit() it removes the temporary file. Not thread-safe; two writers
/// of one path (in any processes) exclude each other.
class AtomicFile {
public:
  /// Errors: kIo (folder missing, no permission); kResourceExhausted when another writer holds
  /// "<path>.tmp".
  static Result<AtomicFile> create(const std::string &path);
  AtomicFile() = default;
  AtomicFile(AtomicFile &&other) noexcept;
  AtomicFile &operator=(AtomicFile &&other) noexcept;
  ~AtomicFile();

  const std::string &path() const { return path_; }
  /// Bytes appended so far.
  uint64_t size() const { return size_; }
  /// Errors: kIo (e.g. disk full). The first failure sticks: all later calls return it.
  Status append(std::span<const std::byte> bytes);
  Status append(std::string_view text);
  Status appendZeros(uint64_t bytes);
  /// Replaces bytes that were appended before. Requires offset + bytes.size() <= size().
  Status overwrite(uint64_t offset, std::span<const std::byte> bytes);
  /// Flushes, closes and renames to path(). Nothing may be called afterwards.
  Status commit();

private:
  Status flush();
  Status fail(const char *action);

  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::vector<std::byte> buffer_; // the last bytes of the file, not yet written
  Status failure_;
};

} // namespace platen::base
