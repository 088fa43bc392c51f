// The PTX inside the fat binaries that plans carry. For tests only.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace platen::conformance {

/// The first PTX of a fat binary whose entries are not compressed: a header, then entries that each
/// say their kind, the length of their header and of their content. Empty if there is none.
inline std::string ptxOf(std::string_view image) {
  constexpr uint16_t kPtx = 1;
  auto number = [&](size_t at, auto value) {
    std::memcpy(&value, image.data() + at, sizeof value);
    return value;
  };
  if (image.size() < 16)
    return {};
  for (size_t at = number(6, uint16_t{}); at + 16 <= image.size();) {
    const auto header = number(at + 4, uint32_t{});
    const auto bytes = number(at + 8, uint64_t{});
    if (number(at, uint16_t{}) == kPtx) {
      const std::string_view text = image.substr(at + header, bytes);
      return std::string(text.substr(0, text.find('\0')));
    }
    at += header + bytes;
  }
  return {};
}

} // namespace platen::conformance
