// One function a step; each reads the text once and writes a new one.
#include "runtime/text/normalizers.h"

#include <algorithm>
#include <array>

#include "runtime/text/graphemes.h"

namespace platen::text {

using plan::PipelineRecord;
using plan::PipelineStep;

namespace {

bool isAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and on.
struct ByteAlphabet {
  std::array<char32_t, 256> characters;
  std::array<int16_t, 324> bytes; ///< of U+0000 to U+0143
  ByteAlphabet() {
    bytes.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      bool shown = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
      characters[static_cast<size_t>(b)] = shown ? static_cast<char32_t>(b) : next++;
      bytes[characters[static_cast<size_t>(b)]] = static_cast<int16_t>(b);
    }
  }
};
const ByteAlphabet &alphabet() {
  static const ByteAlphabet kAlphabet;
  return kAlphabet;
}

/// Rewrites `text` character by character: `f(character, its bytes, out)`.
template <typename F> void rewrite(NormalText &text, F f) {
  std::string out;
  out.reserve(text.text.size() + 16);
  size_t head = 0;
  std::string_view rest = text.text;
  for (size_t at = 0; at < rest.size();) {
    base::Utf8Char c = base::decodeUtf8(rest.substr(at));
    size_t bytes = std::max(c.bytes, 1U);
    f(c.codepoint, rest.substr(at, bytes), out);
    if (at < text.head)
      head = out.size();
    at += bytes;
  }
  text.text = std::move(out);
  text.head = head;
}

constexpr char32_t kHangulFirst = 0xAC00, kHangulCount = 11172, kL = 0x1100, kV = 0x1161,
                   kT = 0x11A7;

struct Decomposed {
  char32_t code;
  uint8_t combining;
  bool head;
};

void appendDecomposed(const PipelineView &view, uint32_t mapping, char32_t code, bool head,
                      std::vector<Decomposed> &out) {
  auto add = [&](char32_t c) { out.push_back({c, view.combiningClass(c), head}); };
  if (code >= kHangulFirst && code < kHangulFirst + kHangulCount) {
    char32_t index = code - kHangulFirst;
    add(kL + index / 588);
    add(kV + index % 588 / 28);
    if (index % 28 != 0)
      add(kT + index % 28);
    return;
  }
  PipelineView::Mapped to = view.mapped(mapping, code);
  if (to.count == 0)
    add(code);
  for (uint32_t i = 0; i < to.count; ++i)
    add(view.mappedAt(to.place + i));
}

char32_t composePair(const PipelineView &view, char32_t first, char32_t second) {
  if (first >= kL && first < kL + 19 && second >= kV && second < kV + 21)
    return kHangulFirst + ((first - kL) * 21 + (second - kV)) * 28;
  if (first >= kHangulFirst && first < kHangulFirst + kHangulCount &&
      (first - kHangulFirst) % 28 == 0 && second > kT && second < kT + 28)
    return first + (second - kT);
  return view.compose(first, second);
}

/// Canonical composition (UAX #15) in place.
void compose(const PipelineView &view, std::vector<Decomposed> &text) {
  constexpr size_t kNone = SIZE_MAX;
  size_t out = 0, starter = kNone;
  int last = -1; // combining class of what stands between starter and here; -1: nothing does
  for (const Decomposed now : text) {
    if (starter != kNone && (last < 0 || last < now.combining)) {
      if (char32_t joined = composePair(view, text[starter].code, now.code); joined != 0) {
        text[starter].code = joined;
        continue;
      }
    }
    if (now.combining == 0)
      starter = out, last = -1;
    else
      last = now.combining;
    text[out++] = now;
  }
  text.resize(out);
}

void decompose(const PipelineView &view, const PipelineRecord &record, NormalText &text) {
  if (isAscii(text.text))
    return;
  std::vector<Decomposed> all;
  all.reserve(text.text.size());
  std::string_view rest = text.text;
  for (size_t at = 0; at < rest.size();) {
    base::Utf8Char c = base::decodeUtf8(rest.substr(at));
    appendDecomposed(view, record.a, c.codepoint, at < text.head, all);
    at += std::max(c.bytes, 1U);
  }
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    while (end < all.size() && all[end].combining != 0)
      ++end;
    std::stable_sort(
        all.begin() + static_cast<ptrdiff_t>(begin), all.begin() + static_cast<ptrdiff_t>(end),
        [](const Decomposed &a, const Decomposed &b) { return a.combining < b.combining; });
    begin = end + 1;
  }
  if (record.b != 0)
    compose(view, all);
  text.text.clear();
  size_t head = 0;
  for (const Decomposed &c : all) {
    appendUtf8(c.code, text.text);
    if (c.head)
      head = text.text.size();
  }
  text.head = head;
}

void strip(const PipelineView &view, const PipelineRecord &record, NormalText &text) {
  auto isSpace = [&](std::string_view at) {
    return (view.properties(base::decodeUtf8(at).codepoint) & plan::kPropertySpace) != 0;
  };
  std::string_view all = text.text, kept = all;
  while (record.a != 0 && !kept.empty() && isSpace(kept))
    kept.remove_prefix(std::max(base::decodeUtf8(kept).bytes, 1U));
  size_t left = all.size() - kept.size();
  while (record.b != 0 && !kept.empty()) {
    size_t begin = kept.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(kept[begin]) & 0xC0) == 0x80)
      --begin;
    if (!isSpace(kept.substr(begin)))
      break;
    kept = kept.substr(0, begin);
  }
  text.text = std::string(kept);
  text.head = std::min(text.head - std::min(text.head, left), text.text.size());
}

/// Replaces what `find(rest)` -> (begin, bytes; 0: no more) finds.
template <typename Find> void replace(NormalText &text, std::string_view to, Find find) {
  std::string out;
  std::string_view rest = text.text;
  size_t head = 0, at = 0;
  auto copy = [&](std::string_view part, size_t begin) {
    if (begin < text.head)
      head = out.size() + std::min(part.size(), text.head - begin);
    out += part;
  };
  for (;;) {
    auto [begin, bytes] = find(rest.substr(at));
    if (bytes == 0)
      break;
    copy(rest.substr(at, begin), at);
    at += begin + bytes;
    out += to;
    if (at - 1 < text.head)
      head = out.size();
  }
  copy(rest.substr(at), at);
  text.text = std::move(out);
  text.head = head;
}

void replaceMatches(const PipelineView &view, const PipelineRecord &record, NormalText &text) {
  const AutomatonView &automaton = view.automaton(record.a);
  replace(text, view.string(record.b, record.c), [&](std::string_view rest) {
    size_t begin = 0, bytes = 0;
    while (begin < rest.size() && (bytes = automaton.match(rest.substr(begin))) == 0)
      begin += std::max(base::decodeUtf8(rest.substr(begin)).bytes, 1U);
    return std::pair(begin, bytes);
  });
}

/// The library looks whole clusters up if they are short, and takes the shortest prefix that the
/// map has for the whole of them.
void charsMap(const PipelineView &view, NormalText &text) {
  constexpr size_t kLongCluster = 6;
  std::string out;
  std::string_view rest = text.text;
  size_t head = 0;
  for (size_t at = 0; at < rest.size();) {
    size_t bytes = firstGrapheme(view, rest.substr(at));
    std::string_view cluster = rest.substr(at, bytes), to;
    if (bytes < kLongCluster && view.charsMap(cluster, to)) {
      out += to;
      if (at < text.head)
        head = out.size();
      at += bytes;
      continue;
    }
    for (size_t end = at + bytes; at < end;) {
      size_t one = std::max(base::decodeUtf8(rest.substr(at)).bytes, 1U);
      out += view.charsMap(rest.substr(at, one), to) ? to : rest.substr(at, one);
      if (at < text.head)
        head = out.size();
      at += one;
    }
  }
  text.text = std::move(out);
  text.head = head;
}

void apply(const PipelineView &view, const PipelineRecord &record, NormalText &text) {
  using Out = std::string &;
  auto has = [&](char32_t code) { return (view.properties(code) & record.a) != 0; };
  switch (record.step) {
  case PipelineStep::kDecompose:
    return decompose(view, record, text);
  case PipelineStep::kMapCharacters:
    return rewrite(text, [&](char32_t code, std::string_view self, Out out) {
      PipelineView::Mapped to = view.mapped(record.a, code);
      if (to.count == 0)
        out += self;
      for (uint32_t i = 0; i < to.count; ++i)
        appendUtf8(view.mappedAt(to.place + i), out);
    });
  case PipelineStep::kDropProperty:
    return rewrite(text, [&](char32_t code, std::string_view self, Out out) {
      out += has(code) ? std::string_view() : self;
    });
  case PipelineStep::kSpaceProperty:
    return rewrite(text, [&](char32_t code, std::string_view self, Out out) {
      out += has(code) ? std::string_view(" ") : self;
    });
  case PipelineStep::kSpaceAround:
    return rewrite(text, [&](char32_t code, std::string_view self, Out out) {
      std::string_view space = has(code) ? " " : "";
      out.append(space).append(self).append(space);
    });
  case PipelineStep::kStrip:
    return strip(view, record, text);
  case PipelineStep::kReplaceText: {
    std::string_view from = view.string(record.a, record.b);
    return replace(text, view.string(record.a + record.b, record.c), [from](std::string_view rest) {
      size_t begin = rest.find(from);
      return begin == std::string_view::npos ? std::pair<size_t, size_t>(0, 0)
                                             : std::pair(begin, from.size());
    });
  }
  case PipelineStep::kReplaceMatch:
    return replaceMatches(view, record, text);
  case PipelineStep::kPrepend:
    if (!text.text.empty()) {
      text.text.insert(0, view.string(record.a, record.b));
      text.head += text.head > 0 ? record.b : 0;
    }
    return;
  case PipelineStep::kByteCharacters:
    return rewrite(
        text, [](char32_t, std::string_view self, Out out) { appendByteCharacters(self, out); });
  case PipelineStep::kCharsMap:
    return charsMap(view, text);
  default:
    return;
  }
}

} // namespace

void appendUtf8(char32_t code, std::string &out) {
  auto byte = [&out](char32_t value) { out += static_cast<char>(value); };
  if (code < 0x80)
    return byte(code);
  if (code >= 0xD800 && code < 0xE000)
    code = base::kReplacementCharacter; // only a damaged section maps to one
  if (code < 0x800) {
    byte(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    byte(0xE0 | code >> 12);
    byte(0x80 | (code >> 6 & 63));
  } else {
    byte(0xF0 | code >> 18);
    byte(0x80 | (code >> 12 & 63));
    byte(0x80 | (code >> 6 & 63));
  }
  byte(0x80 | (code & 63));
}

void appendByteCharacters(std::string_view text, std::string &out) {
  for (char c : text)
    appendUtf8(alphabet().characters[static_cast<unsigned char>(c)], out);
}

int byteOfCharacter(char32_t code) {
  return code < alphabet().bytes.size() ? alphabet().bytes[code] : -1;
}

base::Status normalizePipeline(const PipelineView &view, NormalText &text) {
  constexpr size_t kMaxGrowth = 128; // U+FDFA, the longest, becomes 11 times as long in NFKC
  size_t limit = (text.text.size() + 64) * kMaxGrowth;
  for (const PipelineRecord &record : view.normalizers()) {
    apply(view, record, text);
    if (text.text.size() > limit)
      return base::corrupt("its normalizers make a text more than 128 times as long; the plan is "
                           "damaged, compile it again",
                           "tokenizer section");
  }
  return base::Status::ok();
}

} // namespace platen::text
