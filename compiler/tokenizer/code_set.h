// Sets of code points: what a class of a regular expression or a Unicode property takes.
//
// The data behind named sets are the answers of Hugging Face tokenizers (unicode_tables.inc), so
// that both libraries cut text alike; Unicode versions differ between its parts.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace platen::compiler {

inline constexpr uint32_t kCodePoints = 0x110000;

/// Ranges [first, last], ascending, none touching another.
class CodeSet {
public:
  CodeSet() = default;
  static CodeSet range(uint32_t first, uint32_t last);
  static CodeSet all() { return range(0, kCodePoints - 1); }

  void add(uint32_t first, uint32_t last);
  void add(const CodeSet &other);
  CodeSet complement() const;
  CodeSet intersection(const CodeSet &other) const;
  bool contains(uint32_t code) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<std::pair<uint32_t, uint32_t>> &ranges() const { return ranges_; }

private:
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
};

/// Sets that the library's own steps (not its regular expressions) know.
enum class NamedSet : uint8_t {
  kWhitespace,
  kPunctuation,
  kNumeric,
  kWord,
  kAccent,
  kBertAccent,
  kBertRemoved,
  kBertSpace,
  kBertChinese,
  kNmtRemoved,
  kNmtSpace,
  kGraphemeControl,
  kGraphemePrepend,
  kGraphemePictographic,
  kGraphemeExtend,
  kGraphemeLinker,
  kGraphemeIndicExtend,
  kGraphemeSpacingMark,
  kGraphemeConsonant,
};
CodeSet namedSet(NamedSet name);

/// \s, \w and \d of regular expressions: `letter` is 's', 'w' or 'd'.
CodeSet regexShorthand(char letter);
/// What \p{name} takes: a general category ("L", "Lu", "Letter") or one of the scripts that are
/// known; nothing for other names. Case, spaces, '-' and '_' in names do not count.
std::optional<CodeSet> regexProperty(std::string_view name);

/// Mappings of characters, in ascending order of the character.
enum class Mapping : uint8_t { kCanonical, kCompatible, kLower };
void forEachMapping(
    Mapping mapping,
    const std::function<void(uint32_t code, const uint32_t *to, uint32_t count)> &f);
void forEachCombiningClass(const std::function<void(uint32_t code, uint8_t value)> &f);
void forEachComposition(
    const std::function<void(uint32_t first, uint32_t second, uint32_t composed)> &f);

} // namespace platen::compiler
