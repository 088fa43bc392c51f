// Cuts a chat template into text and tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace platen::text::chat {

struct Token {
  enum Kind : uint8_t {
    kText,       ///< between tags
    kBeginPrint, ///< {{
    kEndPrint,   ///< }}
    kBeginTag,   ///< {%
    kEndTag,     ///< %}
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  } kind = kEnd;
  std::string text;
  uint32_t line = 1;
};

/// Comments are gone, the whitespace rules applied. Errors: kInvalidArgument with the line.
base::Result<std::vector<Token>> tokenize(std::string_view source);

} // namespace platen::text::chat
