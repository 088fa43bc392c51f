// A lock on the temporary file keeps a second writer out; a stale one of a killed process has no
// lock and is simply taken over.
#include "runtime/base/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace platen::base {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

std::string temporaryPath(const std::string &path) { return path + ".tmp"; }

/// Whether `descriptor` is still the file at `path`: another writer may have renamed it in between.
bool isFileAt(int descriptor, const std::string &path) {
  struct stat opened{}, named{};
  return fstat(descriptor, &opened) == 0 && stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/// Opens and locks, without touching the contents. Returns -1 with errno set.
int openLocked(const std::string &path) {
  for (;;) {
    int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0)
      return -1;
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      int error = errno;
      ::close(descriptor);
      errno = error;
      return -1;
    }
    if (isFileAt(descriptor, path))
      return descriptor;
    ::close(descriptor);
  }
}

} // namespace

Result<AtomicFile> AtomicFile::create(const std::string &path) {
  std::string temporary = temporaryPath(path);
  int descriptor = openLocked(temporary);
  if (descriptor < 0 && errno == EWOULDBLOCK)
    return resourceExhausted("another process is writing this file; wait for it to finish",
                             temporary);
  if (descriptor < 0)
    return ioError(std::string("cannot create the file: ") + std::strerror(errno), temporary);
  AtomicFile file;
  file.path_ = path;
  file.descriptor_ = descriptor;
  if (ftruncate(descriptor, 0) != 0)
    return file.fail("empty");
  file.buffer_.reserve(kBufferBytes);
  return file;
}

AtomicFile::AtomicFile(AtomicFile &&other) noexcept { *this = std::move(other); }

AtomicFile &AtomicFile::operator=(AtomicFile &&other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  std::swap(buffer_, other.buffer_);
  std::swap(failure_, other.failure_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0)
    return;
  (void)unlink(
      temporaryPath(path_).c_str()); // while still locked, so that it cannot be another writer's
  ::close(descriptor_);
}

Status AtomicFile::fail(const char *action) {
  failure_ = ioError(std::string("cannot ") + action + " the file: " + std::strerror(errno),
                     temporaryPath(path_));
  return failure_;
}

Status AtomicFile::flush() {
  PLATEN_RETURN_IF_ERROR(failure_);
  for (size_t done = 0; done < buffer_.size();) {
    ssize_t written = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return fail("write");
    done += static_cast<size_t>(written);
  }
  buffer_.clear();
  return Status::ok();
}

Status AtomicFile::append(std::span<const std::byte> bytes) {
  PLATEN_RETURN_IF_ERROR(failure_);
  while (!bytes.empty()) {
    size_t count = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count));
    bytes = bytes.subspan(count);
    size_ += count;
    if (buffer_.size() == kBufferBytes)
      PLATEN_RETURN_IF_ERROR(flush());
  }
  return Status::ok();
}

Status AtomicFile::append(std::string_view text) {
  return append(std::as_bytes(std::span(text.data(), text.size())));
}

Status AtomicFile::appendZeros(uint64_t bytes) {
  static constexpr std::byte kZeros[4096] = {};
  for (; bytes > sizeof kZeros; bytes -= sizeof kZeros)
    PLATEN_RETURN_IF_ERROR(append(kZeros));
  return append(std::span(kZeros, bytes));
}

Status AtomicFile::overwrite(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size_ || bytes.size() > size_ - offset)
    return internalError("bytes are overwritten that were never written", path_);
  PLATEN_RETURN_IF_ERROR(flush());
  for (size_t done = 0; done < bytes.size();) {
    ssize_t written = pwrite(descriptor_, bytes.data() + done, bytes.size() - done,
                             static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return fail("write");
    done += static_cast<size_t>(written);
  }
  return Status::ok();
}

Status AtomicFile::commit() {
  PLATEN_RETURN_IF_ERROR(flush());
  if (std::rename(temporaryPath(path_).c_str(), path_.c_str()) != 0)
    return fail("rename");
  int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) !=
      0) // where the disk is remote, this is where it may turn out to be full
    return fail("close");
  return Status::ok();
}

} // namespace platen::base
