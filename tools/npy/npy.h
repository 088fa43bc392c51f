// NumPy's .npy arrays: what tools take tensors from and give them in.
//
// Files may be anybody's: whatever the bytes, reading ends in an array or in a Status.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace platen::npy {

/// Dense, row-major, little endian. No 4-bit types: NumPy has none.
struct Array {
  base::DType dtype = base::DType::kF32;
  std::vector<int64_t> dims;
  std::vector<std::byte> bytes;
};

/// The bytes of a file (format versions 1 to 3). Raw elements of two bytes are bf16, which is how
/// NumPy writes that type of its extensions. Errors: kCorrupt; kUnsupported for other types, byte
/// orders and Fortran order, saying how to save the array instead.
base::Result<Array> parse(std::span<const std::byte> file);
base::Result<Array> read(const std::string &path);

/// The bytes of a file of format version 1.0. kUnsupported for 4-bit types.
base::Result<std::string> encode(base::DType dtype, std::span<const int64_t> dims,
                                 std::span<const std::byte> bytes);
/// The file appears whole or not at all. Errors: kIo, and encode()'s.
base::Status write(const std::string &path, base::DType dtype, std::span<const int64_t> dims,
                   std::span<const std::byte> bytes);

} // namespace platen::npy
