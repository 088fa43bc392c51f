// Regular expressions of tokenizer files, compiled to automata that read each character once.
//
// Syntax and meaning are Oniguruma's, which Hugging Face tokenizers uses: the leftmost match, and
// among those that begin there the one that backtracking would find first. Taken: characters and
// escapes, classes (nested, negated, &&), \s \w \d and \p{category or script}, groups, (?i:...) of
// ASCII, alternatives, greedy and lazy repetition, possessive repetition of one class, and
// lookahead at one character. Everything else is refused by name, as are patterns that match
// nothing at all.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/plan/tokenizer_pipeline.h"

namespace platen::compiler {

struct CompiledPattern {
  uint32_t states = 0;  ///< 0 is dead, 1 starts
  uint32_t classes = 0; ///< class 0 is the end of the text
  std::vector<uint16_t>
      transitions;             ///< [states][classes], plan::kAutomatonMatch where a match ends
  std::vector<uint16_t> pages; ///< [plan::kCodepointPages], into `blocks`
  std::vector<std::array<uint8_t, 256>> blocks; ///< class of each code point
};

/// Errors: kUnsupported: names the construct and where it stands; kCorrupt: no pattern at all.
base::Result<CompiledPattern> compilePattern(std::string_view pattern);

} // namespace platen::compiler
