// A tokenizer between its file and the plan: what the two readers agree on and the section writer
// lays down.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/plan/tokenizer_section.h"

namespace platen::compiler {

struct TokenizerPiece {
  std::string text; ///< UTF-8, not empty
  plan::PieceType type = plan::PieceType::kNormal;
};

/// left + right -> merged, all of them symbols; see runtime/plan/tokenizer_section.h.
struct TokenizerMerge {
  uint32_t left, right, merged, rank;
};

struct TokenizerModel {
  std::vector<TokenizerPiece> pieces; ///< by id
  std::vector<TokenizerMerge> merges; ///< no two with the same left and right
  /// Symbol of every single character that is a piece or takes part in a merge; ids from
  /// pieces.size() on are no pieces.
  std::unordered_map<char32_t, uint32_t> characters;
  uint32_t symbols = 0;
  std::vector<uint32_t> userSymbols; ///< pieces matched on normalised text
  std::vector<uint32_t> rawSymbols;  ///< pieces matched on raw text
  uint32_t flags = 0;                ///< plan::TokenizerFlag
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1;
  std::string unknownSurface;
};

/// `contents` is the whole file; `name` stands in messages. Errors as buildTokenizerSection().
base::Result<TokenizerModel> readSentencePiece(std::string_view contents, const std::string &name);
base::Result<TokenizerModel> readHuggingFace(std::string_view contents, const std::string &name);

/// Checks that both readers need: texts are UTF-8, not empty; byte pieces are complete when bytes
/// stand in for characters.
base::Status checkPieces(const TokenizerModel &model, const std::string &name);

/// The section's bytes; a pure function of `model`.
std::vector<std::byte> writeTokenizerSection(const TokenizerModel &model);

} // namespace platen::compiler
