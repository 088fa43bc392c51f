// Whitespace rules of sentencepiece's normaliser with the identity character map.
#include "runtime/text/normalize.h"

#include <algorithm>

#include "runtime/base/utf8.h"

namespace platen::text {

namespace {

/// Takes the next character off `rest`, valid UTF-8 or U+FFFD for one byte.
std::string_view takeCharacter(std::string_view &rest) {
  uint32_t bytes = base::decodeUtf8(rest).bytes;
  std::string_view taken = bytes == 0 ? base::kReplacementUtf8 : rest.substr(0, bytes);
  rest.remove_prefix(std::max(bytes, 1U));
  return taken;
}

/// The same, or a whole user-defined symbol: spaces inside those are never folded.
std::string_view takeSymbol(const SectionView &section, std::string_view &rest) {
  size_t bytes = section.userSymbols().longest(rest, [](uint32_t) { return true; }).bytes;
  if (bytes == 0)
    return takeCharacter(rest);
  std::string_view taken = rest.substr(0, bytes);
  rest.remove_prefix(bytes);
  return taken;
}

void dropLeadingSpaces(const SectionView &section, std::string_view &text) {
  std::string_view rest = text;
  while (!rest.empty() && takeSymbol(section, rest) == " ")
    text = rest;
}

void appendEscaped(std::string_view piece, std::string_view space, std::string &out) {
  for (char c : piece)
    out.append(c == ' ' ? space : std::string_view(&c, 1));
}

/// `text` has no leading space: runs of spaces become one, those at the end go.
void appendFolded(const SectionView &section, std::string_view text, std::string_view space,
                  std::string &out) {
  bool afterSpace = true;
  while (!text.empty()) {
    std::string_view piece = takeSymbol(section, text);
    if (afterSpace)
      piece.remove_prefix(std::min(piece.find_first_not_of(' '), piece.size()));
    appendEscaped(piece, space, out);
    if (!piece.empty())
      afterSpace = piece.back() == ' ';
  }
  while (out.ends_with(space))
    out.erase(out.size() - space.size());
}

/// Copies runs of ASCII, replaces spaces and bad bytes.
void appendUnfolded(std::string_view text, std::string_view space, std::string &out) {
  while (!text.empty()) {
    size_t run = 0;
    while (run < text.size() && text[run] != ' ' && static_cast<unsigned char>(text[run]) < 0x80)
      ++run;
    out.append(text.substr(0, run));
    text.remove_prefix(run);
    if (!text.empty())
      appendEscaped(takeCharacter(text), space, out);
  }
}

} // namespace

std::string normalize(const SectionView &section, std::string_view text) {
  bool fold = section.has(plan::kRemoveExtraWhitespaces);
  if (fold)
    dropLeadingSpaces(section, text);
  if (text.empty())
    return {};
  std::string_view space = section.has(plan::kEscapeWhitespaces) ? kSpaceSymbol : " ";
  bool prefix = section.has(plan::kAddDummyPrefix), suffix = section.has(plan::kSpaceIsSuffix);
  std::string out;
  out.reserve(text.size() + text.size() / 2 + 8);
  if (prefix && !suffix)
    out += space;
  if (fold)
    appendFolded(section, text, space, out);
  else
    appendUnfolded(text, space, out);
  if (prefix && suffix)
    out += space;
  return out;
}

} // namespace platen::text
