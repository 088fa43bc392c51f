// The first 64 bytes of a plan file: what it is, where its manifest stands, how long it is.
// Little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/base/status.h"

namespace platen::plan {

inline constexpr uint64_t kHeaderBytes = 64;
/// Grows when an old runtime must refuse a new file. A plan is written with the least version that
/// its contents need.
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kGraphFormatVersion = 2; ///< of plans that have Manifest::graph
/// Far more than any model needs; bounds what a hostile manifest can make the parser allocate.
inline constexpr uint64_t kMaxManifestBytes = uint64_t{16} << 20;

struct Header {
  uint64_t manifest_offset = 0; // from the start of the file
  uint64_t manifest_bytes = 0;
  uint64_t manifest_xxh3 = 0; // hashBytes() of the manifest
  uint64_t file_bytes = 0;
  uint32_t version = kFormatVersion; // one of the above
};

std::array<std::byte, kHeaderBytes> encodeHeader(const Header &header);
/// Decodes and checks the header of `file`, including that the manifest lies inside it. Errors:
/// kCorrupt, kUnsupported.
base::Result<Header> decodeHeader(std::span<const std::byte> file);

} // namespace platen::plan
