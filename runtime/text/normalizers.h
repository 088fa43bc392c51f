// The normalizers of a pipeline section, as Hugging Face tokenizers applies them.
#pragma once

#include <string>

#include "runtime/text/pipeline_view.h"

namespace platen::text {

/// A text on its way. `head` bytes at its front stem from the first character of the whole input:
/// what Metaspace's "first" asks for.
struct NormalText {
  std::string text; ///< valid UTF-8
  size_t head = 0;
};

/// Applies all normalizers in order; linear in the text. Errors: kCorrupt: a damaged section makes
/// the text grow without measure.
base::Status normalizePipeline(const PipelineView &view, NormalText &text);
/// What the step kByteCharacters does: every byte becomes the character that stands for it.
void appendByteCharacters(std::string_view text, std::string &out);
/// The byte that a character stands for, or -1.
int byteOfCharacter(char32_t code);
void appendUtf8(char32_t code, std::string &out);

} // namespace platen::text
