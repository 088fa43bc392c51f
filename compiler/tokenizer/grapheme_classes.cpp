// See grapheme_classes.h.
#include "compiler/tokenizer/grapheme_classes.h"

#include "compiler/tokenizer/code_set.h"
#include "runtime/text/graphemes.h"

namespace platen::compiler {

std::vector<uint8_t> graphemeClasses() {
  return std::vector<uint8_t>(kCodePoints, static_cast<uint8_t>(text::GraphemeClass::kOther));
}

} // namespace platen::compiler
