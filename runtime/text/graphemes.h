// Boundaries of user-perceived characters (extended grapheme clusters, UAX #29), from the classes
// that a tokenizer section gives its characters.
#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/text/pipeline_view.h"

namespace platen::text {

/// Values of kPipeGraphemeBlocks; stored.
enum class GraphemeClass : uint8_t {
  kOther = 0,
  kCarriageReturn,
  kLineFeed,
  kControl,
  kExtend,
  kJoiner, ///< zero width joiner
  kRegional,
  kPrepend,
  kSpacingMark,
  kHangulL,
  kHangulV,
  kHangulT,
  kHangulLV,
  kHangulLVT,
  kPictographic,
  kConsonant,   ///< of an Indic script whose conjuncts are one cluster
  kLinker,      ///< what joins such consonants; also extends
  kIndicExtend, ///< extends, and may stand between a consonant and a linker
};

/// Bytes of the first cluster of `text`, which is not empty.
size_t firstGrapheme(const PipelineView &view, std::string_view text);

} // namespace platen::text
