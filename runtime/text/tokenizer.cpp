// Encoding: split at raw symbols, normalise, split at user-defined symbols and word boundaries,
// merge each stretch.
#include "runtime/text/tokenizer.h"

#include <algorithm>

#include "runtime/base/utf8.h"
#include "runtime/text/merge.h"
#include "runtime/text/normalize.h"
#include "runtime/text/section_view.h"

namespace platen::text {

using base::Result;
using base::Status;

namespace {

/// One encode() call.
class Encoder {
public:
  Encoder(const SectionView &section, bool parseSpecial, std::vector<int32_t> &ids)
      : section_(section), parseSpecial_(parseSpecial), merger_(section), ids_(ids) {}

  /// Cuts at control pieces and at symbols matched before normalisation; what lies between is
  /// encoded as a text of its own.
  void encode(std::string_view text) {
    if (!parseSpecial_ && !section_.has(plan::kRawUserSymbols))
      return encodeStretch(text);
    auto accept = [this](uint32_t piece) {
      return parseSpecial_ || section_.pieceType(piece) != plan::PieceType::kControl;
    };
    size_t begin = 0;
    for (size_t i = 0; i < text.size();) {
      TrieView::Match match = section_.rawSymbols().longest(text.substr(i), accept);
      if (match.bytes == 0) {
        ++i;
        continue;
      }
      encodeStretch(text.substr(begin, i - begin));
      ids_.push_back(static_cast<int32_t>(match.piece));
      begin = i += match.bytes;
    }
    encodeStretch(text.substr(begin));
  }

private:
  void encodeStretch(std::string_view text) {
    merger_.endUnknownRun();
    std::string normal = normalize(section_, text);
    char32_t previous = kSpaceCodepoint;
    for (std::string_view rest = normal; !rest.empty();) {
      TrieView::Match user = section_.userSymbols().longest(rest, [](uint32_t) { return true; });
      if (user.bytes > 0) {
        merger_.finish(ids_);
        merger_.endUnknownRun();
        ids_.push_back(static_cast<int32_t>(user.piece));
        rest.remove_prefix(user.bytes);
        continue;
      }
      base::Utf8Char character = base::decodeUtf8(rest);
      size_t bytes = std::max(character.bytes, 1U); // 0 only after a symbol that is no UTF-8
      if (character.codepoint == kSpaceCodepoint && previous != kSpaceCodepoint &&
          !section_.mayPrecedeSpace(previous))
        merger_.finish(ids_); // nothing merges across this boundary
      merger_.add(section_.symbolOf(character.codepoint), rest.substr(0, bytes));
      previous = character.codepoint;
      rest.remove_prefix(bytes);
    }
    merger_.finish(ids_);
  }

  const SectionView &section_;
  bool parseSpecial_;
  Merger merger_;
  std::vector<int32_t> &ids_;
};

Status outsideVocabulary(int32_t id, int32_t size) {
  return base::invalidArgument("token id " + std::to_string(id) + " is outside the vocabulary of " +
                                   std::to_string(size) + " pieces",
                               "tokenizer");
}

Status appendSpecial(int32_t id, const char *what, std::vector<int32_t> &ids) {
  if (id < 0)
    return base::invalidArgument(std::string("the vocabulary has no ") + what +
                                     " piece; encode without asking for it",
                                 "tokenizer");
  ids.push_back(id);
  return Status::ok();
}

} // namespace

Tokenizer::Tokenizer(const SectionView &section)
    : section_(std::make_unique<const SectionView>(section)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::fromSection(std::span<const std::byte> section) {
  PLATEN_ASSIGN_OR_RETURN(SectionView view, SectionView::open(section));
  return std::unique_ptr<Tokenizer>(new Tokenizer(view));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text,
                                               const EncodeOptions &options) const {
  if (text.size() > kMaxTextBytes)
    return base::invalidArgument("text of " + std::to_string(text.size()) +
                                     " bytes is longer than the limit of " +
                                     std::to_string(kMaxTextBytes) + "; split it",
                                 "tokenizer");
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  if (options.addBos)
    PLATEN_RETURN_IF_ERROR(appendSpecial(bosId(), "begin-of-sequence", ids));
  Encoder(*section_, options.parseSpecial, ids).encode(text);
  if (options.addEos)
    PLATEN_RETURN_IF_ERROR(appendSpecial(eosId(), "end-of-sequence", ids));
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  StreamDecoder decoder(*this);
  for (int32_t id : ids)
    PLATEN_RETURN_IF_ERROR(decoder.push(id, text));
  decoder.finish(text);
  return text;
}

int32_t Tokenizer::vocabularySize() const {
  return static_cast<int32_t>(section_->header().pieces);
}
std::string_view Tokenizer::pieceText(int32_t id) const {
  return id < 0 || id >= vocabularySize() ? "" : section_->pieceText(static_cast<uint32_t>(id));
}
bool Tokenizer::isControl(int32_t id) const {
  return id >= 0 && id < vocabularySize() &&
         section_->pieceType(static_cast<uint32_t>(id)) == plan::PieceType::kControl;
}
int32_t Tokenizer::bosId() const { return section_->header().bos; }
int32_t Tokenizer::eosId() const { return section_->header().eos; }
int32_t Tokenizer::unknownId() const { return section_->header().unknown; }
int32_t Tokenizer::padId() const { return section_->header().pad; }
std::string_view Tokenizer::kind() const { return plan::kSentencePieceBpeName; }

StreamDecoder::StreamDecoder(const Tokenizer &tokenizer) : section_(*tokenizer.section_) {}

Status StreamDecoder::push(int32_t id, std::string &out) {
  auto piece = static_cast<uint32_t>(id);
  if (id < 0 || piece >= section_.header().pieces)
    return outsideVocabulary(id, static_cast<int32_t>(section_.header().pieces));
  if (section_.pieceType(piece) == plan::PieceType::kByte) {
    pushByte(static_cast<char>(section_.byteOf(piece)), out);
    return Status::ok();
  }
  dropPending(out);
  pushPiece(piece, out);
  return Status::ok();
}

void StreamDecoder::finish(std::string &out) {
  dropPending(out);
  started_ = prefixConsumed_ = false;
}

void StreamDecoder::pushText(std::string_view text, std::string &out) {
  out += text;
  started_ |= !text.empty();
}

/// Bytes become text as soon as they form a character; one that can no longer become one becomes
/// U+FFFD.
void StreamDecoder::pushByte(char byte, std::string &out) {
  pending_[pendingBytes_++] = byte;
  while (pendingBytes_ > 0) {
    std::string_view held(pending_, pendingBytes_);
    uint32_t bytes = base::decodeUtf8(held).bytes;
    if (bytes == 0 && base::isUtf8Prefix(held))
      return;
    pushText(bytes == 0 ? base::kReplacementUtf8 : held.substr(0, bytes), out);
    uint32_t used = std::max(bytes, 1U);
    std::copy(pending_ + used, pending_ + pendingBytes_, pending_);
    pendingBytes_ -= used;
  }
}

void StreamDecoder::dropPending(std::string &out) {
  for (; pendingBytes_ > 0; --pendingBytes_)
    pushText(base::kReplacementUtf8, out);
}

/// A piece shows its text with U+2581 as spaces; the space that encoding put before the text is
/// dropped.
void StreamDecoder::pushPiece(uint32_t piece, std::string &out) {
  bool atStart = !prefixConsumed_ && !started_;
  plan::PieceType type = section_.pieceType(piece);
  if (type == plan::PieceType::kControl)
    return;
  if (type == plan::PieceType::kUnknown)
    return pushText(section_.unknownSurface(), out);
  std::string_view text = section_.pieceText(piece);
  bool folds = section_.has(plan::kRemoveExtraWhitespaces);
  if (atStart && (folds || section_.has(plan::kAddDummyPrefix)) && text.starts_with(kSpaceSymbol)) {
    text.remove_prefix(kSpaceSymbol.size());
    prefixConsumed_ = !folds; // folding drops every leading space, a dummy prefix is one
  }
  for (size_t space; (space = text.find(kSpaceSymbol)) != std::string_view::npos;
       text.remove_prefix(space + kSpaceSymbol.size())) {
    pushText(text.substr(0, space), out);
    pushText(" ", out);
  }
  pushText(text, out);
}

} // namespace platen::text
