// Bytes: magic[8], u32 version, u32 0, u64 manifest offset, bytes, XXH3, u64 file bytes, u64 0, u64
// XXH3 of the first 56.
#include "runtime/plan/header.h"

#include <cstring>

#include "runtime/base/checked.h"
#include "runtime/plan/hash.h"

namespace platen::plan {
namespace {

constexpr char kMagic[8] = {'P', 'L', 'A', 'T', 'E', 'N', '\0', '\x1a'};
constexpr size_t kVersionAt = 8, kManifestAt = 16, kFileBytesAt = 40, kHashAt = 56;

template <typename T> T load(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <typename T> void store(std::span<std::byte> bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

} // namespace

std::array<std::byte, kHeaderBytes> encodeHeader(const Header &header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  std::memcpy(bytes.data(), kMagic, sizeof kMagic);
  store(bytes, kVersionAt, header.version);
  store(bytes, kManifestAt, header.manifest_offset);
  store(bytes, kManifestAt + 8, header.manifest_bytes);
  store(bytes, kManifestAt + 16, header.manifest_xxh3);
  store(bytes, kFileBytesAt, header.file_bytes);
  store(bytes, kHashAt, hashBytes(std::span(bytes).first(kHashAt)));
  return bytes;
}

base::Result<Header> decodeHeader(std::span<const std::byte> file) {
  if (file.size() < kHeaderBytes)
    return base::corrupt(
        "the file has " + std::to_string(file.size()) +
            " bytes, fewer than the 64 of a plan's header; it is truncated or no plan",
        "header");
  if (std::memcmp(file.data(), kMagic, sizeof kMagic) != 0)
    return base::corrupt("the file does not begin as a platen plan does", "header");
  // The version comes before everything whose meaning it decides.
  auto version = load<uint32_t>(file, kVersionAt);
  if (version != kFormatVersion && version != kGraphFormatVersion)
    return base::unsupported("the plan has format version " + std::to_string(version) +
                                 ", this runtime reads versions " + std::to_string(kFormatVersion) +
                                 " and " + std::to_string(kGraphFormatVersion) +
                                 "; compile the model again with the platen that matches",
                             "header");
  if (load<uint64_t>(file, kHashAt) != hashBytes(file.first(kHashAt)))
    return base::corrupt("the header's hash does not match its bytes; the file is damaged",
                         "header");
  Header header{.manifest_offset = load<uint64_t>(file, kManifestAt),
                .manifest_bytes = load<uint64_t>(file, kManifestAt + 8),
                .manifest_xxh3 = load<uint64_t>(file, kManifestAt + 16),
                .file_bytes = load<uint64_t>(file, kFileBytesAt),
                .version = version};
  if (header.file_bytes != file.size())
    return base::corrupt("the plan was written with " + std::to_string(header.file_bytes) +
                             " bytes, the file has " + std::to_string(file.size()) +
                             "; it was truncated or appended to",
                         "header");
  if (header.manifest_offset < kHeaderBytes ||
      !base::fitsInside(header.manifest_offset, header.manifest_bytes, header.file_bytes) ||
      header.manifest_bytes > kMaxManifestBytes)
    return base::corrupt("the manifest is said to be " + std::to_string(header.manifest_bytes) +
                             " bytes at offset " + std::to_string(header.manifest_offset) +
                             ", which does not fit the file or the limit of 16 MiB",
                         "header");
  return header;
}

} // namespace platen::plan
