// Reads a sentencepiece tokenizer.model of type BPE.
//
// sentencepiece merges two neighbours whenever their concatenation is a piece, best score first.
// That is written out here as explicit merges: for each piece, every cut whose two sides can exist
// as symbols, ranked by the piece's score.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "compiler/tokenizer/sentencepiece.pb.h"
#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/base/utf8.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using plan::PieceType;

namespace {

constexpr std::string_view kIdentityAdvice =
    "; platen reads models with identity normalisation (Gemma, Llama 2, Mistral)";

bool takesPartInMerges(PieceType type) {
  return type == PieceType::kNormal || type == PieceType::kUnused;
}

class SentencePieceReader {
public:
  SentencePieceReader(const sentencepiece::Model &proto, const std::string &name)
      : proto_(proto), name_(name) {}

  Result<TokenizerModel> run() {
    PLATEN_RETURN_IF_ERROR(checkKind());
    PLATEN_RETURN_IF_ERROR(readPieces());
    readFlags();
    PLATEN_RETURN_IF_ERROR(checkPieces(model_, name_));
    readMerges();
    return std::move(model_);
  }

private:
  Status checkKind() const {
    if (proto_.pieces_size() == 0)
      return base::corrupt("holds no pieces, so it is no sentencepiece model", name_);
    static constexpr std::array kTypes{"?", "unigram", "bpe", "word", "char"};
    int type = proto_.trainer_spec().model_type();
    if (type != 2)
      return base::unsupported(
          std::string("sentencepiece model type '") +
              (type > 0 && type < 5 ? kTypes[static_cast<size_t>(type)] : "?") +
              "'; platen reads type 'bpe'",
          name_);
    if (!proto_.normalizer_spec().precompiled_charsmap().empty())
      return base::unsupported("sentencepiece normalizer '" + proto_.normalizer_spec().name() +
                                   "'" + std::string(kIdentityAdvice),
                               name_);
    if (!proto_.denormalizer_spec().precompiled_charsmap().empty())
      return base::unsupported("a sentencepiece denormalizer" + std::string(kIdentityAdvice),
                               name_);
    return Status::ok();
  }

  Status readPieces();
  void readFlags();
  void readMerges();
  std::vector<uint32_t> rankScores() const;
  uint32_t characterSymbol(char32_t codepoint);
  uint32_t symbolOf(std::string_view text);
  void addMergesOf(uint32_t piece, uint32_t rank);

  const sentencepiece::Model &proto_;
  const std::string &name_;
  TokenizerModel model_;
  std::unordered_map<std::string_view, uint32_t> mergeable_; ///< texts live in model_.pieces
};

Status SentencePieceReader::readPieces() {
  std::unordered_map<std::string_view, uint32_t> seen;
  for (const sentencepiece::Piece &piece : proto_.pieces()) {
    auto id = static_cast<uint32_t>(model_.pieces.size());
    if (piece.type() < 1 || piece.type() > 6)
      return base::unsupported("piece " + std::to_string(id) + " has type " +
                                   std::to_string(piece.type()) + ", sentencepiece knows 1 to 6",
                               name_);
    if (!std::isfinite(piece.score()))
      return base::corrupt("piece " + std::to_string(id) + " has a score that is no finite number",
                           name_);
    auto type = static_cast<PieceType>(piece.type());
    model_.pieces.push_back({piece.piece(), type});
    if (!seen.emplace(piece.piece(), id).second)
      return base::corrupt("piece " + std::to_string(id) + " '" + piece.piece() + "' appears twice",
                           name_);
    if (type == PieceType::kUnknown && std::exchange(model_.unknown, static_cast<int32_t>(id)) >= 0)
      return base::corrupt("has two unknown pieces", name_);
    if (type == PieceType::kUserDefined)
      model_.userSymbols.push_back(id);
    if (type == PieceType::kControl)
      model_.rawSymbols.push_back(id);
  }
  if (model_.unknown < 0)
    return base::corrupt("has no unknown piece", name_);
  const sentencepiece::Trainer &trainer = proto_.trainer_spec();
  auto control = [&](const std::string &text) {
    auto found = seen.find(text);
    return found != seen.end() && model_.pieces[found->second].type == PieceType::kControl
               ? static_cast<int32_t>(found->second)
               : -1;
  };
  model_.bos = control(trainer.bos_piece());
  model_.eos = control(trainer.eos_piece());
  model_.pad = control(trainer.pad_piece());
  model_.unknownSurface = trainer.unk_surface();
  return Status::ok();
}

void SentencePieceReader::readFlags() {
  const sentencepiece::Normalizer &normalizer = proto_.normalizer_spec();
  auto set = [this](bool on, plan::TokenizerFlag flag) { model_.flags |= on ? flag : 0U; };
  set(normalizer.add_dummy_prefix(), plan::kAddDummyPrefix);
  set(normalizer.remove_extra_whitespaces(), plan::kRemoveExtraWhitespaces);
  set(normalizer.escape_whitespaces(), plan::kEscapeWhitespaces);
  set(proto_.trainer_spec().treat_whitespace_as_suffix(), plan::kSpaceIsSuffix);
  set(proto_.trainer_spec().byte_fallback(), plan::kByteFallback);
}

/// Rank of each piece: 0 for the best score, the same for equal scores.
std::vector<uint32_t> SentencePieceReader::rankScores() const {
  std::vector<float> scores;
  for (const sentencepiece::Piece &piece : proto_.pieces())
    scores.push_back(piece.score());
  std::vector<float> order = scores;
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<uint32_t> ranks;
  for (float score : scores)
    ranks.push_back(static_cast<uint32_t>(
        std::lower_bound(order.begin(), order.end(), score, std::greater<>()) - order.begin()));
  return ranks;
}

/// User-defined symbols are matched before anything merges and never merge themselves; control,
/// unknown and byte pieces are not found by their text. So normal and unused pieces are all that
/// merging can see.
void SentencePieceReader::readMerges() {
  model_.symbols = static_cast<uint32_t>(model_.pieces.size());
  for (uint32_t id = 0; id < model_.pieces.size(); ++id) {
    const TokenizerPiece &piece = model_.pieces[id];
    if (!takesPartInMerges(piece.type))
      continue;
    mergeable_.emplace(piece.text, id);
    if (base::Utf8Char first = base::decodeUtf8(piece.text); first.bytes == piece.text.size())
      model_.characters[first.codepoint] = id;
  }
  std::vector<uint32_t> ranks = rankScores();
  for (uint32_t id = 0; id < model_.pieces.size(); ++id)
    if (takesPartInMerges(model_.pieces[id].type))
      addMergesOf(id, ranks[id]);
}

/// Whether `text` can be a symbol at all, as its id; single characters that are no pieces get one
/// of their own.
uint32_t SentencePieceReader::symbolOf(std::string_view text) {
  if (auto found = mergeable_.find(text); found != mergeable_.end())
    return found->second;
  base::Utf8Char first = base::decodeUtf8(text);
  return first.bytes == text.size() ? characterSymbol(first.codepoint) : plan::kNoSymbol;
}

uint32_t SentencePieceReader::characterSymbol(char32_t codepoint) {
  auto [entry, isNew] = model_.characters.try_emplace(codepoint, model_.symbols);
  model_.symbols += isNew ? 1 : 0;
  return entry->second;
}

void SentencePieceReader::addMergesOf(uint32_t piece, uint32_t rank) {
  std::string_view text = model_.pieces[piece].text;
  for (size_t cut = 0;;) {
    cut += base::decodeUtf8(text.substr(cut)).bytes;
    if (cut >= text.size())
      return;
    std::string_view sides[2] = {text.substr(0, cut), text.substr(cut)};
    auto possible = [this](std::string_view side) {
      return mergeable_.contains(side) || base::decodeUtf8(side).bytes == side.size();
    };
    if (possible(sides[0]) && possible(sides[1]))
      model_.merges.push_back({symbolOf(sides[0]), symbolOf(sides[1]), piece, rank});
  }
}

} // namespace

Result<TokenizerModel> readSentencePiece(std::string_view contents, const std::string &name) {
  sentencepiece::Model proto;
  if (contents.size() > INT32_MAX ||
      !proto.ParseFromArray(contents.data(), static_cast<int>(contents.size())))
    return base::corrupt("is neither a sentencepiece model nor a tokenizer.json, or is truncated",
                         name);
  return SentencePieceReader(proto, name).run();
}

} // namespace platen::compiler
