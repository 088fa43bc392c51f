// Reads a Hugging Face tokenizer.json whose BPE model works as sentencepiece's does: byte fallback,
// U+2581 for spaces.
//
// What the tokenizers library would do with each part (normalizer, pre_tokenizer, added tokens,
// decoder) must be expressible exactly; anything else is refused by name.
#include <set>

#include "compiler/tokenizer/json_access.h"
#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/base/utf8.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using nlohmann::json;
using plan::PieceType;

namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

class HuggingFaceReader {
public:
  HuggingFaceReader(const json &file, const std::string &name)
      : file_(file), bpe_(child(file, "model")), name_(name) {}

  Result<TokenizerModel> run() {
    PLATEN_RETURN_IF_ERROR(checkModel());
    PLATEN_RETURN_IF_ERROR(readNormalizer());
    PLATEN_RETURN_IF_ERROR(checkPreTokenizer());
    PLATEN_RETURN_IF_ERROR(checkDecoder());
    PLATEN_RETURN_IF_ERROR(readVocabulary());
    PLATEN_RETURN_IF_ERROR(readAddedTokens());
    PLATEN_RETURN_IF_ERROR(nameSpecials());
    PLATEN_RETURN_IF_ERROR(checkPieces(model_, name_));
    PLATEN_RETURN_IF_ERROR(readMerges());
    return std::move(model_);
  }

private:
  Status refuse(const std::string &what, const json &value) const {
    return base::unsupported(
        what + " " + shown(value) +
            " is none that platen implements; it reads BPE with byte fallback as "
            "Gemma and Llama 2 use it. A sentencepiece tokenizer.model of the same "
            "model may be readable",
        name_);
  }
  Status broken(const std::string &what) const { return base::corrupt(what, name_); }

  Status checkModel() const;
  Status readNormalizer();
  Status checkPreTokenizer() const;
  Status checkDecoder() const;
  Status readVocabulary();
  Status readAddedTokens();
  Status readAddedToken(const json &token);
  Status nameSpecials();
  Status readMerges();
  Status addMerge(const std::string &left, const std::string &right);

  const json &file_;
  const json &bpe_;
  const std::string &name_;
  TokenizerModel model_;
  std::unordered_map<std::string, uint32_t> ids_;
  std::set<std::pair<uint32_t, uint32_t>> merged_;
};

Status HuggingFaceReader::checkModel() const {
  const json &type = child(bpe_, "type");
  if (type.is_string() ? type != "BPE" : child(bpe_, "vocab").is_array())
    return refuse("model type", type);
  if (!bpe_.is_object() || !child(bpe_, "vocab").is_object())
    return broken("has no model.vocab, so it is no tokenizer.json");
  if (type != "BPE" && !(type.is_null() && child(bpe_, "merges").is_array()))
    return refuse("model type", type);
  if (!flag(child(bpe_, "byte_fallback")))
    return refuse("a BPE model with byte_fallback", child(bpe_, "byte_fallback"));
  for (const char *key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (const json &value = child(bpe_, key); !value.is_null() && value != "" && value != 0.0)
      return refuse(std::string("model.") + key, value);
  if (flag(child(bpe_, "ignore_merges")))
    return refuse("model.ignore_merges", child(bpe_, "ignore_merges"));
  return Status::ok();
}

/// [Prepend U+2581,] Replace " " by U+2581.
Status HuggingFaceReader::readNormalizer() {
  const json &normalizer = child(file_, "normalizer");
  std::vector<json> steps = sequence(normalizer, "normalizers");
  for (size_t i = 0; i < steps.size(); ++i) {
    std::string type = text(child(steps[i], "type"));
    if (type == "Prepend" && i == 0 && child(steps[i], "prepend") == kSpaceSymbol)
      model_.flags |= plan::kAddDummyPrefix;
    else if (type == "Replace" && i + 1 == steps.size() &&
             child(child(steps[i], "pattern"), "String") == " " &&
             child(steps[i], "content") == kSpaceSymbol)
      model_.flags |= plan::kEscapeWhitespaces;
    else
      return refuse("normalizer", steps[i]);
  }
  if ((model_.flags & plan::kEscapeWhitespaces) == 0)
    return refuse("normalizer", normalizer);
  model_.flags |= plan::kByteFallback;
  return Status::ok();
}

/// None, or a split at spaces, of which the normalizer has left none.
Status HuggingFaceReader::checkPreTokenizer() const {
  const json &pre = child(file_, "pre_tokenizer");
  if (pre.is_null() ||
      (child(pre, "type") == "Split" && child(child(pre, "pattern"), "String") == " "))
    return Status::ok();
  return refuse("pre_tokenizer", pre);
}

/// Replace U+2581 by " ", ByteFallback, Fuse, and Strip one leading space where the normalizer put
/// one.
Status HuggingFaceReader::checkDecoder() const {
  bool replaces = false, joinsBytes = false, strips = false;
  for (const json &step : sequence(child(file_, "decoder"), "decoders")) {
    std::string type = text(child(step, "type"));
    if (type == "Replace" && child(child(step, "pattern"), "String") == kSpaceSymbol &&
        child(step, "content") == " ")
      replaces = true;
    else if (type == "ByteFallback")
      joinsBytes = true;
    else if (type == "Strip" && child(step, "content") == " " && child(step, "start") == 1 &&
             child(step, "stop") == 0)
      strips = true;
    else if (type != "Fuse")
      return refuse("decoder", step);
  }
  if (!replaces || !joinsBytes || strips != ((model_.flags & plan::kAddDummyPrefix) != 0))
    return refuse("decoder", child(file_, "decoder"));
  return Status::ok();
}

Status HuggingFaceReader::readVocabulary() {
  const json &vocabulary = child(bpe_, "vocab");
  size_t count = vocabulary.size();
  for (const json &token : child(file_, "added_tokens"))
    count += vocabulary.contains(text(child(token, "content"))) ? 0 : 1;
  model_.pieces.resize(count);
  auto place = [&](const std::string &piece, const json &id) -> Status {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= count)
      return base::unsupported("token '" + piece + "' has id " + shown(id) +
                                   "; platen expects the ids 0 to " + std::to_string(count - 1) +
                                   " without gaps",
                               name_);
    auto index = id.get<uint32_t>();
    if (!model_.pieces[index].text.empty() && model_.pieces[index].text != piece)
      return broken("id " + std::to_string(index) + " belongs to two tokens, '" +
                    model_.pieces[index].text + "' and '" + piece + "'");
    model_.pieces[index] = {piece, PieceType::kNormal};
    ids_[piece] = index;
    return Status::ok();
  };
  for (const auto &[piece, id] : vocabulary.items())
    PLATEN_RETURN_IF_ERROR(place(piece, id));
  for (const json &token : child(file_, "added_tokens"))
    PLATEN_RETURN_IF_ERROR(place(text(child(token, "content")), child(token, "id")));
  constexpr char kHex[] = "0123456789ABCDEF";
  for (uint32_t byte = 0; byte < 256; ++byte)
    if (auto found = ids_.find({'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'});
        found != ids_.end())
      model_.pieces[found->second].type = PieceType::kByte;
  return Status::ok();
}

Status HuggingFaceReader::readAddedTokens() {
  for (const json &token : child(file_, "added_tokens"))
    PLATEN_RETURN_IF_ERROR(readAddedToken(token));
  return Status::ok();
}

/// Special tokens become control pieces; others are matched in every text, before or after
/// normalisation as they say.
Status HuggingFaceReader::readAddedToken(const json &token) {
  for (const char *key : {"single_word", "lstrip", "rstrip"})
    if (flag(child(token, key)))
      return refuse(std::string("an added token with ") + key, token);
  std::string content = text(child(token, "content"));
  uint32_t id = ids_[content];
  bool special = flag(child(token, "special")), normalized = flag(child(token, "normalized"));
  bool hasSpace =
      content.find(' ') != std::string::npos || content.find(kSpaceSymbol) != std::string::npos;
  bool prefixed = (model_.flags & plan::kAddDummyPrefix) != 0;
  if (normalized && (prefixed || content.find(' ') != std::string::npos || (special && hasSpace)))
    return refuse("an added token that normalisation changes,", token);
  model_.pieces[id].type = special ? PieceType::kControl : PieceType::kUserDefined;
  if (special || !normalized)
    model_.rawSymbols.push_back(id);
  else
    model_.userSymbols.push_back(id);
  if (!special && !normalized)
    model_.flags |= plan::kRawUserSymbols;
  return Status::ok();
}

/// The file does not say which piece begins or ends a sequence; these are the names that the
/// supported families give them.
Status HuggingFaceReader::nameSpecials() {
  auto named = [this](std::initializer_list<const char *> names) {
    for (const char *candidate : names)
      if (auto found = ids_.find(candidate); found != ids_.end())
        return static_cast<int32_t>(found->second);
    return -1;
  };
  model_.bos = named({"<bos>", "<s>"});
  model_.eos = named({"<eos>", "</s>"});
  model_.pad = named({"<pad>"});
  std::string unknown = text(child(bpe_, "unk_token"));
  model_.unknownSurface = unknown;
  if (auto found = ids_.find(unknown); found != ids_.end()) {
    model_.unknown = static_cast<int32_t>(found->second);
    if (model_.pieces[found->second].type == PieceType::kNormal)
      model_.pieces[found->second].type = PieceType::kUnknown;
  }
  return Status::ok();
}

Status HuggingFaceReader::readMerges() {
  model_.symbols = static_cast<uint32_t>(model_.pieces.size());
  for (uint32_t id = 0; id < model_.pieces.size(); ++id) {
    base::Utf8Char first = base::decodeUtf8(model_.pieces[id].text);
    if (first.bytes == model_.pieces[id].text.size() &&
        model_.pieces[id].type != PieceType::kControl)
      model_.characters[first.codepoint] = id;
  }
  for (const json &merge : child(bpe_, "merges")) {
    std::string left, right;
    if (merge.is_array() && merge.size() == 2) {
      left = text(merge[0]), right = text(merge[1]);
    } else if (merge.is_string()) {
      std::string both = text(merge);
      size_t space = both.find(' ');
      left = both.substr(0, space),
      right = space == std::string::npos ? "" : both.substr(space + 1);
    }
    PLATEN_RETURN_IF_ERROR(addMerge(left, right));
  }
  return Status::ok();
}

Status HuggingFaceReader::addMerge(const std::string &left, const std::string &right) {
  auto rank = static_cast<uint32_t>(model_.merges.size());
  std::string where = "merge " + std::to_string(rank) + " ('" + left + "', '" + right + "')";
  auto l = ids_.find(left), r = ids_.find(right), m = ids_.find(left + right);
  if (l == ids_.end() || r == ids_.end() || m == ids_.end())
    return broken(where + " is not made of pieces of the vocabulary");
  for (uint32_t side : {l->second, r->second})
    if (model_.pieces[side].type == PieceType::kByte)
      return base::unsupported(where + " merges byte pieces", name_);
  if (!merged_.emplace(l->second, r->second).second)
    return broken(where + " appears twice");
  model_.merges.push_back({l->second, r->second, m->second, rank});
  return Status::ok();
}

} // namespace

Result<TokenizerModel> readHuggingFace(std::string_view contents, const std::string &name) {
  json file = json::parse(contents, nullptr, /*allow_exceptions=*/false);
  if (file.is_discarded())
    return base::corrupt("is no valid JSON, or is truncated", name);
  return HuggingFaceReader(file, name).run();
}

} // namespace platen::compiler
