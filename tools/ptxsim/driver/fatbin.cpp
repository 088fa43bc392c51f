#include "tools/ptxsim/driver/fatbin.h"

#include <cstring>
#include <lz4.h>
#include <zstd.h>

namespace platen::ptxsim::driver {
namespace {

struct Header {
  uint32_t magic;
  uint16_t version, headerBytes;
  uint64_t payloadBytes;
};
static_assert(sizeof(Header) == 16);

struct EntryHeader {
  uint16_t kind, attributes;
  uint32_t headerBytes;
  uint64_t paddedBytes;
  uint32_t compressedBytes, optionsOffset;
  uint16_t minorVersion, majorVersion;
  uint32_t architecture, nameOffset, nameBytes;
  uint64_t flags, reserved, unpackedBytes;
};
static_assert(sizeof(EntryHeader) == 64);

enum : uint64_t {
  kFlagLz4 = 0x2000,
  kFlagZstd = 0x8000,
  kFlagArchitectureSpecific = 0x100000,
  kFlagFamilySpecific = 0x200000,
};
constexpr uint16_t kKindPtx = 1, kKindCubin = 2;
constexpr size_t kLargestUnpacked = size_t{1} << 31; // of one entry; more is a corrupt size
// How many bytes one stored byte can become, so that a size is not believed before memory is taken.
constexpr size_t kLz4Ratio = 256, kZstdRatio = 32768;

base::Status corrupt(size_t offset, const std::string &what) {
  return base::corrupt("fat binary, byte " + std::to_string(offset) + ": " + what);
}

FatbinEntry::Packing packingOf(const EntryHeader &header) {
  if (header.flags & kFlagZstd)
    return FatbinEntry::Packing::kZstd;
  return header.flags & kFlagLz4 ? FatbinEntry::Packing::kLz4 : FatbinEntry::Packing::kNone;
}

} // namespace

base::Result<size_t> fatbinBytes(const void *bytes) {
  Header header;
  std::memcpy(&header, bytes, sizeof header);
  if (header.magic != kFatbinMagic)
    return corrupt(0, "the magic number is not that of a fat binary");
  if (header.headerBytes < sizeof header || header.payloadBytes > (uint64_t{1} << 40))
    return corrupt(0, "impossible sizes in the header");
  return header.headerBytes + header.payloadBytes;
}

base::Result<std::vector<FatbinEntry>> parseFatbin(std::span<const std::byte> container) {
  if (container.size() < sizeof(Header))
    return corrupt(0, "shorter than its header");
  PLATEN_ASSIGN_OR_RETURN(size_t total, fatbinBytes(container.data()));
  if (total > container.size())
    return corrupt(0, "the header promises " + std::to_string(total) + " bytes, there are " +
                          std::to_string(container.size()));
  Header top;
  std::memcpy(&top, container.data(), sizeof top);
  std::vector<FatbinEntry> entries;
  for (size_t at = top.headerBytes; at < total;) {
    EntryHeader header;
    if (total - at < sizeof header)
      return corrupt(at, "an entry's header is cut off");
    std::memcpy(&header, container.data() + at, sizeof header);
    if (header.headerBytes < sizeof header || header.headerBytes > total - at ||
        header.paddedBytes > total - at - header.headerBytes)
      return corrupt(at, "an entry does not fit into the container");
    FatbinEntry entry;
    entry.packing = packingOf(header);
    bool isPacked = entry.packing != FatbinEntry::Packing::kNone;
    if (header.compressedBytes > header.paddedBytes || header.unpackedBytes > kLargestUnpacked)
      return corrupt(at, "impossible sizes in an entry");
    entry.stored = container.subspan(at + header.headerBytes,
                                     isPacked ? header.compressedBytes : header.paddedBytes);
    entry.size = isPacked ? header.unpackedBytes : header.paddedBytes;
    entry.architecture.number = static_cast<int>(header.architecture & 0xFFFF);
    entry.architecture.suffix = header.flags & kFlagArchitectureSpecific ? 'a'
                                : header.flags & kFlagFamilySpecific     ? 'f'
                                                                         : '\0';
    if (header.kind == kKindPtx || header.kind == kKindCubin) {
      entry.kind = header.kind == kKindPtx ? FatbinEntry::Kind::kPtx : FatbinEntry::Kind::kCubin;
      entries.push_back(entry);
    }
    at += header.headerBytes + header.paddedBytes;
  }
  return entries;
}

base::Result<std::string> unpack(const FatbinEntry &entry) {
  const char *source = reinterpret_cast<const char *>(entry.stored.data());
  std::string result;
  if (entry.packing == FatbinEntry::Packing::kNone) {
    result.assign(source, entry.stored.size());
  } else {
    bool isZstd = entry.packing == FatbinEntry::Packing::kZstd;
    if (entry.size / (isZstd ? kZstdRatio : kLz4Ratio) > entry.stored.size())
      return base::corrupt("fat binary: the entry for " + entry.architecture.name() +
                           " cannot unpack to the promised " + std::to_string(entry.size) +
                           " bytes");
    result.resize(entry.size);
    size_t got = 0;
    if (isZstd) {
      got = ZSTD_decompress(result.data(), result.size(), source, entry.stored.size());
      got = ZSTD_isError(got) ? 0 : got;
    } else {
      int n = LZ4_decompress_safe(source, result.data(), static_cast<int>(entry.stored.size()),
                                  static_cast<int>(result.size()));
      got = n < 0 ? 0 : static_cast<size_t>(n);
    }
    if (got != entry.size)
      return base::corrupt("fat binary: the entry for " + entry.architecture.name() +
                           " does not unpack to the promised " + std::to_string(entry.size) +
                           " bytes");
  }
  if (entry.kind == FatbinEntry::Kind::kPtx)
    result.resize(std::min(result.size(), result.find('\0')));
  return result;
}

} // namespace platen::ptxsim::driver
