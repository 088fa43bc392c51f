// Syntax tree of a regular expression; see pattern.h for what is taken.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "compiler/tokenizer/code_set.h"
#include "runtime/base/status.h"

namespace platen::compiler {

struct PatternNode {
  enum Kind : uint8_t {
    kSequence, ///< children one after the other; none: matches nothing at all
    kSet,      ///< one character of `set`
    kEither,   ///< the first child that leads to a match
    kRepeat,   ///< the one child, `least` to `most` times
    kAhead, ///< the next character is in `set` (or `negative`: is not), or the text ends (`orEnd`)
  } kind = kSequence;
  CodeSet set;
  bool negative = false, orEnd = false;
  bool lazy = false;            ///< kRepeat: as few as possible
  uint32_t least = 0, most = 0; ///< most UINT32_MAX: any number
  std::vector<PatternNode> children;
};

base::Result<PatternNode> parsePattern(std::string_view pattern);

} // namespace platen::compiler
