// Fat binaries: NVIDIA's container of cubins and PTX texts, as nvcc, fatbinary and nvFatbin write
// it.
//
// The bytes are hostile: every offset is checked. Entries may be compressed (LZ4, zstd); a text is
// decompressed when it is asked for.
#pragma once

#include "tools/ptxsim/driver/architecture.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace platen::ptxsim::driver {

inline constexpr uint32_t kFatbinMagic = 0xBA55ED50, kFatbinWrapperMagic = 0x466243B1;

struct FatbinEntry {
  enum class Kind { kPtx, kCubin } kind{};
  Architecture architecture;
  std::span<const std::byte> stored; // in the container
  enum class Packing { kNone, kLz4, kZstd } packing{};
  size_t size = 0; // once unpacked
};

/// Bytes of the container that starts at `header` (16 readable bytes), from its own header.
base::Result<size_t> fatbinBytes(const void *header);
/// Entries of other kinds (LTO IR, relocatable code) are left out.
base::Result<std::vector<FatbinEntry>> parseFatbin(std::span<const std::byte> container);
/// The bytes of an entry; a PTX text ends before its first NUL.
base::Result<std::string> unpack(const FatbinEntry &entry);

} // namespace platen::ptxsim::driver
