// Format: PKWARE APPNOTE 4.3 (the central directory decides).
#include "tests/golden/npz.h"

#include "runtime/base/mapped_file.h"
#include "tools/npy/npy.h"

#include <cstring>
#include <zlib.h>

namespace platen::golden {
namespace {

using base::Result;
using ops::Tensor;

template <typename T> T load(std::span<const std::byte> bytes, size_t at) {
  T value{};
  if (at + sizeof(T) <= bytes.size())
    std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

Result<std::string> inflateRaw(std::span<const std::byte> packed, size_t bytes) {
  std::string out(bytes, '\0');
  z_stream stream{};
  stream.next_in = const_cast<Bytef *>(reinterpret_cast<const Bytef *>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef *>(out.data());
  stream.avail_out = static_cast<uInt>(bytes);
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
    return base::internalError("zlib does not start");
  int status = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  if (status != Z_STREAM_END || stream.avail_out != 0)
    return base::corrupt("a deflated member is broken");
  return out;
}

Result<Tensor> tensorOf(std::span<const std::byte> npy) {
  PLATEN_ASSIGN_OR_RETURN(npy::Array array, npy::parse(npy));
  Tensor tensor(ops::TensorType{array.dtype, std::move(array.dims)});
  std::memcpy(tensor.bytes().data(), array.bytes.data(), array.bytes.size());
  return tensor;
}

} // namespace

Result<std::map<std::string, Tensor>> readNpz(const std::filesystem::path &path) {
  PLATEN_ASSIGN_OR_RETURN(base::MappedFile file, base::MappedFile::open(path.string()));
  std::span<const std::byte> bytes = file.bytes();
  size_t end = bytes.size() < 22 ? 0 : bytes.size() - 22; // NumPy writes no archive comment
  if (load<uint32_t>(bytes, end) != 0x06054b50)
    return base::corrupt("is no zip archive", path.string());
  std::map<std::string, Tensor> arrays;
  size_t at = load<uint32_t>(bytes, end + 16);
  for (uint16_t i = 0, count = load<uint16_t>(bytes, end + 10); i < count; ++i) {
    auto method = load<uint16_t>(bytes, at + 10);
    auto packed = load<uint32_t>(bytes, at + 20), unpacked = load<uint32_t>(bytes, at + 24);
    auto nameBytes = load<uint16_t>(bytes, at + 28);
    std::string name(reinterpret_cast<const char *>(bytes.data()) + at + 46, nameBytes);
    size_t local = load<uint32_t>(bytes, at + 42);
    size_t data =
        local + 30 + load<uint16_t>(bytes, local + 26) + load<uint16_t>(bytes, local + 28);
    if (data + packed > bytes.size())
      return base::corrupt("a member lies beyond the end", path.string());
    std::string npy(reinterpret_cast<const char *>(bytes.data()) + data, packed);
    if (method != 0) {
      PLATEN_ASSIGN_OR_RETURN(npy, inflateRaw(bytes.subspan(data, packed), unpacked));
    }
    PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorOf(std::as_bytes(std::span(npy))));
    arrays.emplace(name.substr(0, name.rfind(".npy")), std::move(tensor));
    at += 46U + nameBytes + load<uint16_t>(bytes, at + 30) + load<uint16_t>(bytes, at + 32);
  }
  return arrays;
}

} // namespace platen::golden
