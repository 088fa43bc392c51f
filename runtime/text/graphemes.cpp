// The rules GB3 to GB13 of UAX #29, character by character.
#include "runtime/text/graphemes.h"

#include <algorithm>

namespace platen::text {

namespace {

using Class = GraphemeClass;

bool breaksAlways(Class c) {
  return c == Class::kCarriageReturn || c == Class::kLineFeed || c == Class::kControl;
}
bool extends(Class c) {
  return c == Class::kExtend || c == Class::kLinker || c == Class::kIndicExtend ||
         c == Class::kJoiner;
}

bool hangulJoins(Class left, Class right) {
  if (left == Class::kHangulL)
    return right == Class::kHangulL || right == Class::kHangulV || right == Class::kHangulLV ||
           right == Class::kHangulLVT;
  if (left == Class::kHangulLV || left == Class::kHangulV)
    return right == Class::kHangulV || right == Class::kHangulT;
  return (left == Class::kHangulLVT || left == Class::kHangulT) && right == Class::kHangulT;
}

/// What of the cluster so far decides whether it goes on.
struct State {
  Class last;
  bool oddRegionals = false; ///< ends with an odd number of regional indicators
  bool picture = false;      ///< a pictograph and what extends it; joined if the last is a joiner
  bool consonant = false;    ///< a consonant and what may follow it in a conjunct
  bool linked = false;       ///< with a linker among it

  explicit State(Class c) : last(c) { start(c); }
  void start(Class c) {
    oddRegionals = c == Class::kRegional;
    picture = c == Class::kPictographic;
    consonant = c == Class::kConsonant;
    linked = false;
  }
  bool joins(Class next) const {
    if (last == Class::kCarriageReturn && next == Class::kLineFeed)
      return true;
    if (breaksAlways(last) || breaksAlways(next))
      return false;
    return hangulJoins(last, next) || extends(next) || next == Class::kSpacingMark ||
           last == Class::kPrepend || (consonant && linked && next == Class::kConsonant) ||
           (picture && last == Class::kJoiner && next == Class::kPictographic) ||
           (oddRegionals && next == Class::kRegional);
  }
  void take(Class next) {
    bool even = next == Class::kRegional && oddRegionals;
    bool conjunct = next == Class::kLinker || next == Class::kIndicExtend || next == Class::kJoiner;
    if (picture && extends(next)) {
      // stays a picture
    } else if (consonant && conjunct) {
      linked |= next == Class::kLinker;
    } else {
      start(next);
      oddRegionals &= !even;
    }
    last = next;
  }
};

} // namespace

size_t firstGrapheme(const PipelineView &view, std::string_view text) {
  base::Utf8Char c = base::decodeUtf8(text);
  size_t at = std::max(c.bytes, 1U);
  State state(static_cast<Class>(view.grapheme(c.codepoint)));
  while (at < text.size()) {
    c = base::decodeUtf8(text.substr(at));
    auto next = static_cast<Class>(view.grapheme(c.codepoint));
    if (!state.joins(next))
      return at;
    state.take(next);
    at += std::max(c.bytes, 1U);
  }
  return at;
}

} // namespace platen::text
