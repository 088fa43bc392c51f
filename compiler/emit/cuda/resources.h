// What ptxas reports with -v of each entry of a cubin.
#pragma once

#include "runtime/base/status.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace platen::compiler {

struct CudaEntryResources {
  std::string entry;
  uint32_t registers = 0;
  uint32_t stackBytes = 0, spillStoreBytes = 0, spillLoadBytes = 0;
  uint32_t staticSharedBytes = 0;
  uint32_t barriers = 0;
};

/// The entries in a log of ptxas -v, in its order. kCorrupt if an entry lacks its register count.
base::Result<std::vector<CudaEntryResources>> parsePtxasLog(std::string_view log);

} // namespace platen::compiler
