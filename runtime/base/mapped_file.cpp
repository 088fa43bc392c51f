// mmap of a whole regular file. The descriptor is closed at once: the mapping keeps the file alive.
#include "runtime/base/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace platen::base {
namespace {

Result<std::span<const std::byte>> mapDescriptor(int descriptor, const std::string &path) {
  struct stat info{};
  if (fstat(descriptor, &info) != 0)
    return ioError(std::string("cannot read the file's size: ") + std::strerror(errno), path);
  if (!S_ISREG(info.st_mode))
    return ioError("is not a regular file", path);
  auto bytes = static_cast<size_t>(info.st_size);
  if (bytes == 0)
    return std::span<const std::byte>();
  void *address = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED)
    return ioError(std::string("cannot map the file: ") + std::strerror(errno), path);
  return std::span<const std::byte>(static_cast<const std::byte *>(address), bytes);
}

} // namespace

Result<MappedFile> MappedFile::open(const std::string &path) {
  // O_NONBLOCK: opening a pipe that nobody writes must fail below, not wait.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return notFound("no such file", path);
    return ioError(std::string("cannot open the file: ") + std::strerror(errno), path);
  }
  auto mapped = mapDescriptor(descriptor, path);
  ::close(descriptor);
  if (!mapped.isOk())
    return mapped.status();
  MappedFile file;
  file.data_ = mapped->data();
  file.bytes_ = mapped->size();
  file.path_ = path;
  return file;
}

MappedFile::MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr)
    munmap(const_cast<std::byte *>(data_), bytes_);
}

void MappedFile::advise(Advice advice, uint64_t offset, uint64_t bytes) const {
  if (offset >= bytes_)
    return;
  uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t begin = offset / page * page;
  uint64_t end = std::min<uint64_t>(bytes_, bytes > bytes_ - offset ? bytes_ : offset + bytes);
  int flag = MADV_NORMAL;
  switch (advice) {
  case Advice::kSequential:
    flag = MADV_SEQUENTIAL;
    break;
  case Advice::kRandom:
    flag = MADV_RANDOM;
    break;
  case Advice::kWillNeed:
    flag = MADV_WILLNEED;
    break;
  case Advice::kDontNeed:
    flag = MADV_DONTNEED;
    break;
  }
  (void)madvise(const_cast<std::byte *>(data_) + begin, end - begin, flag);
}

} // namespace platen::base
