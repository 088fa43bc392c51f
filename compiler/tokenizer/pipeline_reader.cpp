// Reads a Hugging Face tokenizer.json of any model and any steps that the runtime can do; what it
// cannot is refused by name.
#include <set>
#include <unordered_map>

#include "compiler/tokenizer/json_access.h"
#include "compiler/tokenizer/pipeline_model.h"
#include "compiler/tokenizer/pipeline_steps.h"
#include "runtime/base/utf8.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using nlohmann::json;

namespace {

constexpr size_t kMaxPieces = 4U << 20;
constexpr double kUnknownPenalty = 10; // below the worst piece, as the library has it

class PipelineReader {
public:
  PipelineReader(const json &file, const std::string &name)
      : file_(file), model_(child(file, "model")), name_(name) {}

  Result<TokenizerPipeline> run() {
    PLATEN_RETURN_IF_ERROR(readModel());
    PLATEN_RETURN_IF_ERROR(readAddedTokens());
    PLATEN_RETURN_IF_ERROR(readNormalizers(child(file_, "normalizer"), name_, to_));
    PLATEN_RETURN_IF_ERROR(readPreTokenizers(child(file_, "pre_tokenizer"), name_, to_));
    PLATEN_RETURN_IF_ERROR(readDecoders(child(file_, "decoder"), name_, to_));
    PLATEN_RETURN_IF_ERROR(readPostProcessor(child(file_, "post_processor"), name_, to_));
    nameSpecials();
    return std::move(to_);
  }

private:
  Status refuse(const std::string &what, const json &value) const {
    return base::unsupported(what + " " + shown(value) + " is none that platen implements", name_);
  }
  Status broken(const std::string &what) const { return base::corrupt(what, name_); }

  Status readModel();
  Status readBpe();
  Status readMerge(const json &merge);
  Status readUnigram();
  Status readWords(bool pieces);
  Status readVocabulary();
  Status place(const std::string &text, const json &id);
  Status readUnknown(const char *key);
  Status readAddedTokens();
  Status readAddedToken(const json &token);
  void nameSpecials();

  const json &file_;
  const json &model_;
  const std::string &name_;
  TokenizerPipeline to_;
  std::unordered_map<std::string, uint32_t> ids_; // of the model, then also of added tokens
  std::set<std::pair<uint32_t, uint32_t>> merged_;
};

Status PipelineReader::readModel() {
  const json &type = child(model_, "type");
  std::string name = text(type);
  if (name.empty()) // files from before types were written
    name = child(model_, "merges").is_array()            ? "BPE"
           : child(model_, "vocab").is_array()           ? "Unigram"
           : model_.contains("max_input_chars_per_word") ? "WordPiece"
                                                         : "";
  if (name == "BPE")
    return readBpe();
  if (name == "Unigram")
    return readUnigram();
  if (name == "WordPiece" || name == "WordLevel")
    return readWords(name == "WordPiece");
  return refuse("model type", type);
}

Status PipelineReader::place(const std::string &piece, const json &id) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= kMaxPieces)
    return base::unsupported("token '" + piece + "' has id " + shown(id) +
                                 "; platen takes ids below " + std::to_string(kMaxPieces),
                             name_);
  auto index = id.get<uint32_t>();
  if (index >= to_.pieces.size())
    to_.pieces.resize(index + 1);
  PipelinePiece &at = to_.pieces[index];
  if ((at.flags & plan::kPieceAbsent) == 0 && at.text != piece)
    return broken("id " + std::to_string(index) + " belongs to two tokens, '" + at.text +
                  "' and '" + piece + "'");
  at.text = at.spelled = piece;
  at.flags &= static_cast<uint8_t>(~plan::kPieceAbsent);
  ids_[piece] = index;
  return Status::ok();
}

Status PipelineReader::readVocabulary() {
  const json &vocabulary = child(model_, "vocab");
  if (!vocabulary.is_object() || vocabulary.empty())
    return broken("has no model.vocab, so it is no tokenizer.json");
  to_.pieces.resize(vocabulary.size());
  for (const auto &[piece, id] : vocabulary.items()) {
    PLATEN_RETURN_IF_ERROR(place(piece, id));
    to_.pieces[ids_[piece]].inModel = true;
  }
  return Status::ok();
}

/// The unknown piece, by its text; absent or null: none.
Status PipelineReader::readUnknown(const char *key) {
  const json &unknown = child(model_, key);
  if (unknown.is_null())
    return Status::ok();
  auto found = ids_.find(text(unknown));
  if (found == ids_.end())
    return broken("names the unknown token " + shown(unknown) + ", which its vocabulary lacks");
  to_.unknown = static_cast<int32_t>(found->second);
  return Status::ok();
}

Status PipelineReader::readBpe() {
  to_.model = plan::PipelineModel::kBpe;
  for (const char *key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (const json &value = child(model_, key); !value.is_null() && value != "" && value != 0.0)
      return refuse(std::string("model.") + key, value);
  PLATEN_RETURN_IF_ERROR(readVocabulary());
  PLATEN_RETURN_IF_ERROR(readUnknown("unk_token"));
  to_.flags |= flag(child(model_, "ignore_merges")) ? plan::kPipeIgnoreMerges : 0U;
  to_.flags |= flag(child(model_, "fuse_unk")) ? plan::kPipeFuseUnknown : 0U;
  to_.flags |= flag(child(model_, "byte_fallback")) ? plan::kPipeByteFallback : 0U;
  if (!child(model_, "merges").is_array())
    return broken("has no model.merges");
  for (const json &merge : child(model_, "merges"))
    PLATEN_RETURN_IF_ERROR(readMerge(merge));
  return Status::ok();
}

Status PipelineReader::readMerge(const json &merge) {
  std::string left, right;
  if (merge.is_array() && merge.size() == 2) {
    left = text(merge[0]), right = text(merge[1]);
  } else if (merge.is_string()) {
    std::string both = text(merge);
    size_t space = both.find(' ');
    left = both.substr(0, space);
    right = space == std::string::npos ? "" : both.substr(space + 1);
  }
  auto rank = static_cast<uint32_t>(to_.merges.size());
  auto l = ids_.find(left), r = ids_.find(right), m = ids_.find(left + right);
  std::string where = "merge " + std::to_string(rank) + " ('" + left + "', '" + right + "')";
  if (l == ids_.end() || r == ids_.end() || m == ids_.end())
    return broken(where + " is not made of pieces of the vocabulary");
  if (!merged_.emplace(l->second, r->second).second)
    return broken(where + " appears twice");
  to_.merges.push_back({l->second, r->second, m->second, rank});
  return Status::ok();
}

Status PipelineReader::readUnigram() {
  to_.model = plan::PipelineModel::kUnigram;
  const json &vocabulary = child(model_, "vocab");
  if (!vocabulary.is_array() || vocabulary.empty() || vocabulary.size() > kMaxPieces)
    return broken("has no model.vocab, so it is no tokenizer.json");
  double worst = 0;
  bool any = false;
  to_.pieces.resize(vocabulary.size());
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const json &entry = vocabulary[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      return broken("has no text and score for piece " + std::to_string(i));
    PipelinePiece &piece = to_.pieces[i];
    piece.text = piece.spelled = text(entry[0]);
    piece.flags = 0, piece.inModel = true;
    piece.score = entry[1].get<double>();
    worst = any ? std::min(worst, piece.score) : piece.score;
    any = true;
    ids_[piece.text] = static_cast<uint32_t>(i); // the last of equals counts
  }
  for (size_t i = 0; i < to_.pieces.size(); ++i)
    to_.pieces[i].inModel = ids_[to_.pieces[i].text] == i;
  const json &unknown = child(model_, "unk_id");
  if (!unknown.is_number_unsigned() || unknown.get<uint64_t>() >= to_.pieces.size())
    return refuse("a unigram model without an unknown piece: unk_id", unknown);
  to_.unknown = unknown.get<int32_t>();
  to_.unknownScore = worst - kUnknownPenalty;
  to_.flags |= flag(child(model_, "byte_fallback")) ? plan::kPipeByteFallback : 0U;
  return Status::ok();
}

/// WordPiece (`pieces`) and WordLevel.
Status PipelineReader::readWords(bool pieces) {
  to_.model = pieces ? plan::PipelineModel::kWordPiece : plan::PipelineModel::kWordLevel;
  PLATEN_RETURN_IF_ERROR(readVocabulary());
  PLATEN_RETURN_IF_ERROR(readUnknown("unk_token"));
  if (to_.unknown < 0)
    return refuse("a model of words without an unknown token:", child(model_, "unk_token"));
  if (!pieces)
    return Status::ok();
  const json &prefix = child(model_, "continuing_subword_prefix");
  const json &longest = child(model_, "max_input_chars_per_word");
  to_.wordPrefix = prefix.is_string() ? text(prefix) : "##";
  if (!longest.is_null() && (!longest.is_number_unsigned() || longest > 1000))
    return refuse("model.max_input_chars_per_word", longest);
  to_.maxWordCharacters = longest.is_null() ? 100 : longest.get<uint32_t>();
  return to_.wordPrefix.size() > 64 ? refuse("model.continuing_subword_prefix", prefix)
                                    : Status::ok();
}

Status PipelineReader::readAddedTokens() {
  for (const json &token : child(file_, "added_tokens"))
    PLATEN_RETURN_IF_ERROR(readAddedToken(token));
  return Status::ok();
}

Status PipelineReader::readAddedToken(const json &token) {
  std::string content = text(child(token, "content"));
  if (content.empty())
    return broken("has an added token without text: " + shown(token));
  if (auto known = ids_.find(content); known != ids_.end() && child(token, "id") != known->second)
    return broken("gives the added token '" + content + "' the id " + shown(child(token, "id")) +
                  " and its vocabulary the id " + std::to_string(known->second));
  PLATEN_RETURN_IF_ERROR(place(content, child(token, "id")));
  PipelinePiece &piece = to_.pieces[ids_[content]];
  bool again = (piece.flags & plan::kPieceAdded) != 0;
  if (again)
    return broken("has the added token '" + content + "' twice");
  piece.flags |= plan::kPieceAdded;
  piece.flags |= flag(child(token, "special")) ? plan::kPieceSpecial : 0U;
  piece.flags |= flag(child(token, "lstrip")) ? plan::kPieceStripLeft : 0U;
  piece.flags |= flag(child(token, "rstrip")) ? plan::kPieceStripRight : 0U;
  piece.flags |= flag(child(token, "single_word")) ? plan::kPieceSingleWord : 0U;
  bool strips = flag(child(token, "lstrip")) || flag(child(token, "rstrip"));
  if (strips)
    to_.properties.push_back({plan::kPropertySpace, namedSet(NamedSet::kWhitespace)});
  if (flag(child(token, "single_word")))
    to_.properties.push_back({plan::kPropertyWord, namedSet(NamedSet::kWord)});
  (flag(child(token, "normalized"), true) ? to_.normalTokens : to_.rawTokens)
      .push_back(ids_[content]);
  return Status::ok();
}

/// The file does not say which tokens begin and end a sequence, unless its template does; these are
/// the names that families give them.
void PipelineReader::nameSpecials() {
  auto named = [this](std::initializer_list<const char *> names) {
    for (const char *candidate : names)
      if (auto found = ids_.find(candidate); found != ids_.end())
        return static_cast<int32_t>(found->second);
    return -1;
  };
  to_.bos = to_.before.size() == 1 ? static_cast<int32_t>(to_.before[0])
                                   : named({"<bos>", "<s>", "<|begin_of_text|>",
                                            "<｜begin▁of▁sentence｜>", "<|startoftext|>", "[CLS]"});
  to_.eos = to_.after.size() == 1 ? static_cast<int32_t>(to_.after[0])
                                  : named({"<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>",
                                           "<｜end▁of▁sentence｜>", "[SEP]"});
  to_.pad = named({"<pad>", "[PAD]", "<|finetune_right_pad_id|>"});
}

} // namespace

Result<TokenizerPipeline> readPipeline(std::string_view contents, const std::string &name) {
  json file = json::parse(contents, nullptr, /*allow_exceptions=*/false);
  if (file.is_discarded())
    return base::corrupt("is no valid JSON, or is truncated", name);
  return PipelineReader(file, name).run();
}

} // namespace platen::compiler
