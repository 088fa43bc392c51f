// Every 1..4-byte string around the borders of UTF-8 against the definition: encode each code
// point, nothing else is valid.
#include "runtime/base/utf8.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace platen::base {
namespace {

/// RFC 3629 section 3: bits of the code point spread over 1..4 bytes.
std::string encode(char32_t c) {
  auto unit = [](uint32_t bits) { return static_cast<char>(bits); };
  if (c < 0x80)
    return {unit(c)};
  if (c < 0x800)
    return {unit(0xC0 | c >> 6), unit(0x80 | (c & 63))};
  if (c < 0x10000)
    return {unit(0xE0 | c >> 12), unit(0x80 | (c >> 6 & 63)), unit(0x80 | (c & 63))};
  return {unit(0xF0 | c >> 18), unit(0x80 | (c >> 12 & 63)), unit(0x80 | (c >> 6 & 63)),
          unit(0x80 | (c & 63))};
}

TEST(Utf8, EveryCodePointRoundTripsAndSurrogatesAreRefused) {
  for (char32_t c = 0; c <= 0x110000; ++c) {
    std::string bytes = encode(c);
    bool valid = (c < 0xD800 || c > 0xDFFF) && c <= 0x10FFFF;
    Utf8Char got = decodeUtf8(bytes + "tail");
    ASSERT_EQ(got.bytes, valid ? bytes.size() : 0U) << std::hex << static_cast<uint32_t>(c);
    if (valid) {
      ASSERT_EQ(got.codepoint, c);
    }
  }
}

TEST(Utf8, ExactlyTheProperPrefixesOfCharactersArePrefixes) {
  std::set<std::string> prefixes{""};
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF)
      continue;
    std::string bytes = encode(c);
    for (size_t n = 1; n < bytes.size(); ++n)
      prefixes.insert(bytes.substr(0, n));
  }
  auto check = [&](const std::string &text) {
    ASSERT_EQ(isUtf8Prefix(text), prefixes.contains(text)) << testing::PrintToString(text);
  };
  for (int a = 0; a < 256; ++a) {
    check({static_cast<char>(a)});
    for (int b = 0; b < 256; ++b) {
      check({static_cast<char>(a), static_cast<char>(b)});
      for (int c = 0; c < 256; c += 5)
        check({static_cast<char>(a), static_cast<char>(b), static_cast<char>(c)});
    }
  }
}

TEST(Utf8, OverlongAndTruncatedFormsAreInvalid) {
  for (std::string_view bad : {"\xC0\xAF", "\xE0\x80\xAF", "\xF0\x80\x80\xAF", "\xF4\x90\x80\x80",
                               "\xE2\x96", "\xFF", "\x80", "\xF8\x88\x80\x80\x80"})
    EXPECT_FALSE(isValidUtf8(bad)) << testing::PrintToString(bad);
  EXPECT_TRUE(isValidUtf8("na\xC3\xAFve \xF0\x9F\x99\x82"));
}

} // namespace
} // namespace platen::base
