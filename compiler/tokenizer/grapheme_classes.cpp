// Hangul and regional indicators by their ranges, which no version of Unicode moves; the rest from
// unicode_tables.inc.
#include "compiler/tokenizer/grapheme_classes.h"

#include "compiler/tokenizer/code_set.h"
#include "runtime/text/graphemes.h"

namespace platen::compiler {

using text::GraphemeClass;

std::vector<uint8_t> graphemeClasses() {
  std::vector<uint8_t> classes(kCodePoints, static_cast<uint8_t>(GraphemeClass::kOther));
  auto put = [&](uint32_t first, uint32_t last, GraphemeClass value) {
    for (uint32_t code = first; code <= last; ++code)
      classes[code] = static_cast<uint8_t>(value);
  };
  auto putSet = [&](NamedSet name, GraphemeClass value) {
    CodeSet set = namedSet(name);
    for (auto [first, last] : set.ranges())
      put(first, last, value);
  };
  putSet(NamedSet::kGraphemeControl, GraphemeClass::kControl);
  putSet(NamedSet::kGraphemePrepend, GraphemeClass::kPrepend);
  putSet(NamedSet::kGraphemePictographic, GraphemeClass::kPictographic);
  putSet(NamedSet::kGraphemeExtend, GraphemeClass::kExtend);
  putSet(NamedSet::kGraphemeLinker, GraphemeClass::kLinker);
  putSet(NamedSet::kGraphemeIndicExtend, GraphemeClass::kIndicExtend);
  putSet(NamedSet::kGraphemeSpacingMark, GraphemeClass::kSpacingMark);
  putSet(NamedSet::kGraphemeConsonant, GraphemeClass::kConsonant);
  put(0, 0, GraphemeClass::kControl);
  put('\r', '\r', GraphemeClass::kCarriageReturn);
  put('\n', '\n', GraphemeClass::kLineFeed);
  put(0x200D, 0x200D, GraphemeClass::kJoiner);
  put(0x1F1E6, 0x1F1FF, GraphemeClass::kRegional);
  put(0x1100, 0x115F, GraphemeClass::kHangulL);
  put(0xA960, 0xA97C, GraphemeClass::kHangulL);
  put(0x1160, 0x11A7, GraphemeClass::kHangulV);
  put(0xD7B0, 0xD7C6, GraphemeClass::kHangulV);
  put(0x11A8, 0x11FF, GraphemeClass::kHangulT);
  put(0xD7CB, 0xD7FB, GraphemeClass::kHangulT);
  put(0xAC00, 0xD7A3, GraphemeClass::kHangulLVT);
  for (uint32_t code = 0xAC00; code <= 0xD7A3; code += 28)
    put(code, code, GraphemeClass::kHangulLV);
  return classes;
}

} // namespace platen::compiler
