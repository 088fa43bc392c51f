// Turns a tokenizer file into the plan's tokenizer section.
//
// Reads a sentencepiece tokenizer.model (BPE, identity normalisation) and Hugging Face's
// tokenizer.json: BPE with byte fallback and spaces as U+2581 (Gemma, Llama 2) becomes the same
// kind of section, everything else a pipeline (pipeline_model.h). Which file it is shows in its
// first byte. A chat template in the file's folder goes into the section too. The same files give
// the same bytes. A 262144-piece model takes about half a second and 100 MB.
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
  std::string kind;             ///< "sentencepiece-bpe" or "pipeline"
  uint32_t vocabulary = 0;      ///< pieces; ids are below it
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1; ///< -1: none
};

/// Errors: kNotFound, kIo; kCorrupt: the file contradicts itself; kUnsupported: names the model
/// type, normaliser, pre-tokenizer, ... that platen does not implement.
base::Result<TokenizerSection> buildTokenizerSection(const std::filesystem::path &file);

} // namespace platen::compiler
