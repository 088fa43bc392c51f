// Format: numpy.lib.format 1.0 to 3.0. Magic, version, length of the header, a Python dictionary
// with exactly the keys descr, fortran_order and shape, padded; then the elements.
#include "tools/npy/npy.h"

#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

namespace platen::npy {
namespace {

using base::corrupt;
using base::DType;
using base::Result;
using base::Status;

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;
constexpr size_t kMaxRank = 32; // NumPy's own until version 2

struct Name {
  std::string_view descr;
  DType dtype;
};
constexpr Name kNames[] = {{"<f4", DType::kF32}, {"<f2", DType::kF16}, {"<V2", DType::kBF16},
                           {"<f8", DType::kF64}, {"<i8", DType::kI64}, {"<i4", DType::kI32},
                           {"<i2", DType::kI16}, {"|i1", DType::kI8},  {"<u8", DType::kU64},
                           {"<u4", DType::kU32}, {"<u2", DType::kU16}, {"|u1", DType::kU8},
                           {"|b1", DType::kBool}};

/// What stands behind a key of the dictionary, up to its end.
Result<std::string_view> valueOf(std::string_view header, std::string_view key) {
  std::string quoted = "'" + std::string(key) + "':";
  size_t at = header.find(quoted);
  if (at == std::string_view::npos)
    return corrupt("its header has no " + std::string(key));
  std::string_view rest = header.substr(at + quoted.size());
  return rest.substr(std::min(rest.find_first_not_of(' '), rest.size()));
}

Result<DType> parseDtype(std::string_view header) {
  PLATEN_ASSIGN_OR_RETURN(std::string_view text, valueOf(header, "descr"));
  if (text.size() < 2 || text[0] != '\'')
    return base::unsupported("its elements are records; save a plain array");
  text = text.substr(1, text.substr(1).find('\''));
  for (const Name &name : kNames)
    if (text == name.descr ||
        (text.size() == 3 && name.descr[0] == '|' && text.substr(1) == name.descr.substr(1)))
      return DType{name.dtype};
  if (text == "|V2")
    return DType{DType::kBF16};
  return base::unsupported("its elements are of the type '" + std::string(text) +
                           "'; save little-endian numbers of 8 to 64 bits, or booleans");
}

Result<std::vector<int64_t>> parseShape(std::string_view header) {
  PLATEN_ASSIGN_OR_RETURN(std::string_view text, valueOf(header, "shape"));
  size_t end = text.find(')');
  if (text.empty() || text[0] != '(' || end == std::string_view::npos)
    return corrupt("its shape is no tuple");
  text = text.substr(1, end - 1);
  std::vector<int64_t> dims;
  for (size_t at = text.find_first_not_of(", "); at < text.size();
       at = text.find_first_not_of(", ", at)) {
    int64_t dim = 0;
    auto [stop, error] = std::from_chars(text.data() + at, text.data() + text.size(), dim);
    if (error != std::errc() || dim < 0 || dims.size() == kMaxRank)
      return corrupt("its shape (" + std::string(text.substr(0, 64)) + ") is none");
    dims.push_back(dim);
    at = static_cast<size_t>(stop - text.data());
  }
  return dims;
}

/// Bytes of a dense array; nothing where that is beyond 62 bits.
std::optional<uint64_t> denseBytes(DType dtype, std::span<const int64_t> dims) {
  if (std::ranges::find(dims, 0) != dims.end())
    return 0;
  auto bytes = static_cast<uint64_t>(base::bitWidth(dtype)) / 8;
  for (int64_t dim : dims)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes) ||
        bytes > (uint64_t{1} << 62))
      return std::nullopt;
  return bytes;
}

/// The header's text and where the elements begin.
Result<std::string_view> findHeader(std::span<const std::byte> file, size_t &elements) {
  std::string_view text(reinterpret_cast<const char *>(file.data()), file.size());
  if (text.size() < 10 || !text.starts_with(kMagic))
    return corrupt("it does not begin as a .npy array does");
  auto byte = [&](size_t at) { return static_cast<size_t>(static_cast<unsigned char>(text[at])); };
  size_t begin = 10, length = byte(8) | byte(9) << 8;
  if (byte(6) >= 2 && text.size() >= 12) {
    begin = 12;
    length |= byte(10) << 16 | byte(11) << 24;
  }
  if (byte(6) < 1 || byte(6) > 3)
    return base::unsupported("it has format version " + std::to_string(byte(6)) +
                             ", versions 1 to 3 are read");
  if (length > text.size() - begin)
    return corrupt("its header of " + std::to_string(length) + " bytes is cut off");
  elements = begin + length;
  return text.substr(begin, length);
}

} // namespace

Result<Array> parse(std::span<const std::byte> file) {
  size_t begin = 0;
  PLATEN_ASSIGN_OR_RETURN(std::string_view header, findHeader(file, begin));
  Array array;
  PLATEN_ASSIGN_OR_RETURN(array.dtype, parseDtype(header));
  PLATEN_ASSIGN_OR_RETURN(array.dims, parseShape(header));
  PLATEN_ASSIGN_OR_RETURN(std::string_view order, valueOf(header, "fortran_order"));
  if (!order.starts_with("False"))
    return base::unsupported("it is in Fortran order; save numpy.ascontiguousarray(x)");
  std::optional<uint64_t> due = denseBytes(array.dtype, array.dims);
  if (!due || *due != file.size() - begin)
    return corrupt("its elements take " + std::to_string(file.size() - begin) +
                   " bytes, its shape " + (due ? std::to_string(*due) : "more than there can be"));
  std::span<const std::byte> elements = file.subspan(begin);
  array.bytes.assign(elements.begin(), elements.end());
  return array;
}

Result<Array> read(const std::string &path) {
  PLATEN_ASSIGN_OR_RETURN(base::MappedFile file, base::MappedFile::open(path));
  auto array = parse(file.bytes());
  if (!array.isOk())
    return array.status().at(path);
  return array;
}

Result<std::string> encode(DType dtype, std::span<const int64_t> dims,
                           std::span<const std::byte> bytes) {
  std::string_view descr;
  for (const Name &name : kNames)
    if (name.dtype == dtype)
      descr = name.descr;
  if (descr.empty())
    return base::unsupported("NumPy has no elements of type " +
                             std::string(base::dtypeName(dtype)));
  std::string header = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : dims)
    header += std::to_string(dim) + ",";
  header += "), }";
  constexpr size_t kBefore = 10, kNewline = 1;
  size_t total = (kBefore + header.size() + kNewline + kAlignment - 1) / kAlignment * kAlignment;
  header.append(total - kBefore - header.size() - kNewline, ' ').append("\n");
  std::string file(kMagic);
  file.append(
      {'\1', '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)});
  file += header;
  return file.append(reinterpret_cast<const char *>(bytes.data()), bytes.size());
}

Status write(const std::string &path, DType dtype, std::span<const int64_t> dims,
             std::span<const std::byte> bytes) {
  PLATEN_ASSIGN_OR_RETURN(std::string file, encode(dtype, dims, bytes));
  PLATEN_ASSIGN_OR_RETURN(base::AtomicFile out, base::AtomicFile::create(path));
  PLATEN_RETURN_IF_ERROR(out.append(file));
  return out.commit();
}

} // namespace platen::npy
