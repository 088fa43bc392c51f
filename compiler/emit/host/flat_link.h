// The flat linker: relocatable x86-64 ELF objects become one blob of position-independent machine
// code.
//
// Text of all objects comes first, then their read-only data, all within 2 GiB, so every relocation
// is resolved here and the runtime only maps pages. What a leaf kernel must not have is refused by
// name: undefined symbols (a call to libm, memcpy …), writable or zero-initialised data,
// thread-local storage, absolute or unknown relocations.
#pragma once

#include "runtime/base/status.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace platen::compiler {

/// Position-independent machine code; needs 64-byte alignment, read + execute.
struct CodeBlob {
  std::vector<uint8_t> bytes;
  std::map<std::string, uint64_t> entries; ///< function name -> offset in bytes
};

/// One object file in memory; `origin` names it in messages.
struct ObjectFile {
  std::string origin;
  std::vector<char> bytes;
};

/// Links the objects in the given order; equal inputs give equal bytes. Errors: kUnsupported for
/// what a kernel must not have, kCorrupt for a malformed object, kInvalidArgument for a name
/// defined twice.
base::Result<CodeBlob> flatLink(std::span<const ObjectFile> objects);

} // namespace platen::compiler
