// Set arithmetic, and access to the tables of unicode_tables.inc.
#include "compiler/tokenizer/code_set.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <string>

namespace platen::compiler {

namespace {

struct CodeRange {
  uint32_t first, last;
};
struct CategoryStart {
  uint32_t first;
  uint8_t category;
};
struct MappingRow {
  uint32_t code, count, place;
};
struct ClassRange {
  uint32_t first, last;
  uint8_t value;
};
struct Composition {
  uint32_t first, second, composed;
};

#include "compiler/tokenizer/unicode_tables.inc"

/// Control characters that the library's Nmt step drops, and what it takes for spaces.
constexpr CodeRange kNmtRemovedRanges[] = {{0x1, 0x8},   {0xB, 0xB},   {0xE, 0x1F},
                                           {0x7F, 0x7F}, {0x8F, 0x8F}, {0x9F, 0x9F}};
constexpr CodeRange kNmtSpaceRanges[] = {{0x9, 0xA},       {0xC, 0xD},       {0x1680, 0x1680},
                                         {0x200B, 0x200F}, {0x2028, 0x2029}, {0x2581, 0x2581},
                                         {0xFEFF, 0xFEFF}, {0xFFFD, 0xFFFD}};

CodeSet from(std::span<const CodeRange> ranges) {
  CodeSet set;
  for (CodeRange range : ranges)
    set.add(range.first, range.last);
  return set;
}

struct Script {
  const char *name;
  std::span<const CodeRange> ranges;
};
constexpr Script kScripts[] = {
    {"han", kScriptHan},       {"hiragana", kScriptHiragana},    {"katakana", kScriptKatakana},
    {"hangul", kScriptHangul}, {"latin", kScriptLatin},          {"cyrillic", kScriptCyrillic},
    {"greek", kScriptGreek},   {"arabic", kScriptArabic},        {"hebrew", kScriptHebrew},
    {"thai", kScriptThai},     {"devanagari", kScriptDevanagari}};

struct LongName {
  const char *name, *category;
};
constexpr LongName kLongNames[] = {{"letter", "l"},
                                   {"uppercaseletter", "lu"},
                                   {"lowercaseletter", "ll"},
                                   {"titlecaseletter", "lt"},
                                   {"modifierletter", "lm"},
                                   {"otherletter", "lo"},
                                   {"mark", "m"},
                                   {"nonspacingmark", "mn"},
                                   {"spacingmark", "mc"},
                                   {"number", "n"},
                                   {"decimalnumber", "nd"},
                                   {"letternumber", "nl"},
                                   {"othernumber", "no"},
                                   {"punctuation", "p"},
                                   {"symbol", "s"},
                                   {"separator", "z"},
                                   {"spaceseparator", "zs"},
                                   {"other", "c"},
                                   {"control", "cc"},
                                   {"mathsymbol", "sm"},
                                   {"currencysymbol", "sc"}};

} // namespace

CodeSet CodeSet::range(uint32_t first, uint32_t last) {
  CodeSet set;
  set.add(first, last);
  return set;
}

void CodeSet::add(uint32_t first, uint32_t last) {
  if (ranges_.empty() || first > ranges_.back().second + 1) {
    ranges_.emplace_back(first, last);
    return;
  }
  auto at =
      std::lower_bound(ranges_.begin(), ranges_.end(), first,
                       [](const auto &range, uint32_t code) { return range.second + 1 < code; });
  auto end = at;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
  }
  at = ranges_.erase(at, end);
  ranges_.insert(at, {first, last});
}

void CodeSet::add(const CodeSet &other) {
  for (auto [first, last] : other.ranges_)
    add(first, last);
}

CodeSet CodeSet::complement() const {
  CodeSet out;
  uint32_t next = 0;
  for (auto [first, last] : ranges_) {
    if (first > next)
      out.add(next, first - 1);
    next = last + 1;
  }
  if (next < kCodePoints)
    out.add(next, kCodePoints - 1);
  return out;
}

CodeSet CodeSet::intersection(const CodeSet &other) const {
  CodeSet outside = complement();
  outside.add(other.complement());
  return outside.complement();
}

bool CodeSet::contains(uint32_t code) const {
  auto at = std::lower_bound(ranges_.begin(), ranges_.end(), code,
                             [](const auto &range, uint32_t c) { return range.second < c; });
  return at != ranges_.end() && at->first <= code;
}

CodeSet namedSet(NamedSet name) {
  switch (name) {
  case NamedSet::kWhitespace:
    return from(kWhitespace);
  case NamedSet::kPunctuation:
    return from(kPunctuation);
  case NamedSet::kNumeric:
    return from(kNumeric);
  case NamedSet::kWord:
    return from(kWord);
  case NamedSet::kAccent:
    return from(kAccent);
  case NamedSet::kBertAccent:
    return from(kBertAccent);
  case NamedSet::kBertRemoved:
    return from(kBertRemoved);
  case NamedSet::kBertSpace:
    return from(kBertSpace);
  case NamedSet::kBertChinese:
    return from(kBertChinese);
  case NamedSet::kNmtRemoved:
    return from(kNmtRemovedRanges);
  case NamedSet::kNmtSpace:
    return from(kNmtSpaceRanges);
  case NamedSet::kGraphemeControl:
    return from(kGraphemeControl);
  case NamedSet::kGraphemePrepend:
    return from(kGraphemePrepend);
  case NamedSet::kGraphemePictographic:
    return from(kGraphemePictographic);
  case NamedSet::kGraphemeExtend:
    return from(kGraphemeExtend);
  case NamedSet::kGraphemeLinker:
    return from(kGraphemeLinker);
  case NamedSet::kGraphemeIndicExtend:
    return from(kGraphemeIndicExtend);
  case NamedSet::kGraphemeSpacingMark:
    return from(kGraphemeSpacingMark);
  case NamedSet::kGraphemeConsonant:
    return from(kGraphemeConsonant);
  }
  return {};
}

CodeSet regexShorthand(char letter) {
  return letter == 's' ? from(kRegexSpace) : letter == 'w' ? from(kRegexWord) : from(kRegexDigit);
}

std::optional<CodeSet> regexProperty(std::string_view name) {
  std::string plain;
  for (char c : name)
    if (c != ' ' && c != '_' && c != '-')
      plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  for (const Script &script : kScripts)
    if (plain == script.name)
      return from(script.ranges);
  for (const LongName &known : kLongNames)
    if (plain == known.name)
      plain = known.category;
  CodeSet set;
  bool known = false;
  for (size_t i = 0; i < std::size(kCategoryStarts); ++i) {
    std::string_view category = kCategoryNames[kCategoryStarts[i].category];
    char lower[2] = {static_cast<char>(category[0] + 32), category[1]};
    if (!std::string_view(lower, 2).starts_with(plain) || plain.empty())
      continue;
    known = true;
    uint32_t end = i + 1 < std::size(kCategoryStarts) ? kCategoryStarts[i + 1].first : kCodePoints;
    set.add(kCategoryStarts[i].first, end - 1);
  }
  return known ? std::optional(set) : std::nullopt;
}

void forEachMapping(
    Mapping mapping,
    const std::function<void(uint32_t code, const uint32_t *to, uint32_t count)> &f) {
  auto run = [&](std::span<const MappingRow> rows, const uint32_t *pool) {
    for (MappingRow row : rows)
      f(row.code, pool + row.place, row.count);
  };
  if (mapping == Mapping::kCanonical)
    run(kCanonicalRows, kCanonicalPool);
  else if (mapping == Mapping::kCompatible)
    run(kCompatibleRows, kCompatiblePool);
  else
    run(kLowerRows, kLowerPool);
}

void forEachCombiningClass(const std::function<void(uint32_t code, uint8_t value)> &f) {
  for (ClassRange range : kCombining)
    for (uint32_t code = range.first; code <= range.last; ++code)
      f(code, range.value);
}

void forEachComposition(
    const std::function<void(uint32_t first, uint32_t second, uint32_t composed)> &f) {
  for (Composition row : kCompositions)
    f(row.first, row.second, row.composed);
}

} // namespace platen::compiler
