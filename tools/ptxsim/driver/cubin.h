// Cubins: what the driver must know of machine code that it does not execute: the architecture, the
// kernels, their registers and shared memory. The bytes are hostile: every offset is checked.
#pragma once

#include "tools/ptxsim/driver/architecture.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace platen::ptxsim::driver {

struct CubinKernel {
  std::string name;
  int registers = 0;
  size_t sharedBytes = 0, codeBytes = 0;
};

struct Cubin {
  Architecture architecture;
  std::vector<CubinKernel> kernels;
  const CubinKernel *kernel(std::string_view name) const;
};

/// Bytes of the ELF file that starts at `header` (64 readable bytes), from its own header.
base::Result<size_t> elfBytes(const void *header);
base::Result<Cubin> parseCubin(std::span<const std::byte> file);
/// 64-bit FNV-1a of the file in 16 hexadecimal digits: the name of its PTX in
/// PLATEN_PTXSIM_PTX_PATH.
std::string cubinHash(std::span<const std::byte> file);

} // namespace platen::ptxsim::driver
