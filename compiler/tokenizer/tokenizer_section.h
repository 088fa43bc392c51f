// Turns a tokenizer file into the plan's tokenizer section.
//
// Reads a sentencepiece tokenizer.model (BPE, identity normalisation) and a Hugging Face
// tokenizer.json of the same kind (BPE with byte fallback, spaces as U+2581: Gemma, Llama 2). Which
// one it is shows in its first byte. The same file gives the same bytes. A 262144-piece model takes
// about half a second and 100 MB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace platen::compiler {

struct TokenizerSection {
  std::vector<std::byte> bytes; ///< as runtime/plan/tokenizer_section.h lays it out
  std::string kind;             ///< "sentencepiece-bpe"
  uint32_t vocabulary = 0;      ///< pieces; ids are below it
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1; ///< -1: none
};

/// Errors: kNotFound, kIo; kCorrupt: the file contradicts itself; kUnsupported: names the model
/// type, normaliser, pre-tokenizer, ... that platen does not implement.
base::Result<TokenizerSection> buildTokenizerSection(const std::filesystem::path &file);

} // namespace platen::compiler
