// UTF-8, one character at a time, as RFC 3629 defines it: no overlong forms, no surrogates, nothing
// above U+10FFFF.
//
// Used where text of unknown origin is cut into characters. Costs a few compares a character; never
// allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace platen::base {

/// U+FFFD, which stands for bytes that are no UTF-8.
inline constexpr char32_t kReplacementCharacter = 0xFFFD;
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

/// One character at the start of a text. `bytes` is 0 when the text does not start with a valid
/// character.
struct Utf8Char {
  char32_t codepoint = kReplacementCharacter;
  uint32_t bytes = 0;
};

/// Bytes of the sequence that `lead` opens (1..4), or 0 when no character starts with it.
constexpr uint32_t utf8Length(unsigned char lead) {
  if (lead < 0x80)
    return 1;
  if (lead < 0xC2 || lead > 0xF4)
    return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/// Whether `second` may follow `lead` (RFC 3629, table of section 4): the rule that keeps out
/// overlong forms, surrogates and code points above U+10FFFF. Later bytes need only be 0x80..0xBF.
constexpr bool utf8SecondByteFits(unsigned char lead, unsigned char second) {
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

/// Decodes the character at the start of `text`.
constexpr Utf8Char decodeUtf8(std::string_view text) {
  if (text.empty())
    return {};
  auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(0);
  if (lead < 0x80)
    return {lead, 1};
  uint32_t length = utf8Length(lead);
  if (length == 0 || text.size() < length || !utf8SecondByteFits(lead, byte(1)))
    return {};
  char32_t codepoint = lead & (0xFFU >> (length + 1));
  for (uint32_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80)
      return {};
    codepoint = (codepoint << 6) | (byte(i) & 0x3FU);
  }
  return {codepoint, length};
}

/// Whether `text`, which is no complete character, may become one when more bytes follow.
constexpr bool isUtf8Prefix(std::string_view text) {
  if (text.empty())
    return true;
  auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.size() >= utf8Length(byte(0)))
    return false;
  if (text.size() > 1 && !utf8SecondByteFits(byte(0), byte(1)))
    return false;
  return text.size() < 3 || (byte(2) & 0xC0) == 0x80;
}

constexpr bool isValidUtf8(std::string_view text) {
  while (!text.empty()) {
    Utf8Char character = decodeUtf8(text);
    if (character.bytes == 0)
      return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

} // namespace platen::base
