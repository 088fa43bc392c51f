// Encoding: split at raw symbols, normalise, split at user-defined symbols and word boundaries,
// merge each stretch.
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/utf8.h"
#include "runtime/text/merge.h"
#include "runtime/text/normalize.h"
#include "runtime/text/pipeline_codec.h"
#include "runtime/text/pipeline_view.h"
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

/// `text`, or a copy in which bytes that are no UTF-8 are U+FFFD each.
std::string_view validUtf8(std::string_view text, std::string &copy) {
  if (base::isValidUtf8(text))
    return text;
  while (!text.empty()) {
    uint32_t bytes = base::decodeUtf8(text).bytes;
    copy += bytes == 0 ? base::kReplacementUtf8 : text.substr(0, bytes);
    text.remove_prefix(std::max(bytes, 1U));
  }
  return copy;
}

/// The chat template at the end of a section, if it has one.
Status readChat(std::span<const std::byte> section, std::string_view &source,
                std::string_view &variables) {
  plan::ChatTrailer trailer;
  if (section.size() < sizeof(trailer))
    return Status::ok();
  size_t end = section.size() - sizeof(trailer);
  std::memcpy(&trailer, section.data() + end, sizeof(trailer));
  if (trailer.magic != plan::kChatMagic)
    return Status::ok();
  if (trailer.version != 1)
    return base::unsupported("chat template of version " + std::to_string(trailer.version) +
                                 ", this runtime reads version 1; compile the plan again",
                             "tokenizer section");
  if (trailer.templateBytes > end || trailer.variablesBytes > end - trailer.templateBytes)
    return base::corrupt("its chat template lies outside it; the plan is damaged, compile it again",
                         "tokenizer section");
  std::string_view text(reinterpret_cast<const char *>(section.data()), end);
  variables = text.substr(end - trailer.variablesBytes);
  source = text.substr(end - trailer.variablesBytes - trailer.templateBytes, trailer.templateBytes);
  return Status::ok();
}

/// The kind that a section names; whoever opens it checks the rest.
uint32_t kindOf(std::span<const std::byte> section) {
  plan::TokenizerHeader header;
  if (section.size() < sizeof(header))
    return 0;
  std::memcpy(&header, section.data(), sizeof(header));
  return header.kind;
}

} // namespace

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::fromSection(std::span<const std::byte> section) {
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer());
  if (kindOf(section) == static_cast<uint32_t>(plan::TokenizerKind::kPipeline)) {
    PLATEN_ASSIGN_OR_RETURN(PipelineView view, PipelineView::open(section));
    tokenizer->pipeline_ = std::make_unique<const PipelineView>(std::move(view));
  } else {
    PLATEN_ASSIGN_OR_RETURN(SectionView view, SectionView::open(section));
    tokenizer->section_ = std::make_unique<const SectionView>(view);
  }
  PLATEN_RETURN_IF_ERROR(readChat(section, tokenizer->chatTemplate_, tokenizer->chatVariables_));
  return tokenizer;
}

Status Tokenizer::append(std::string_view text, bool parseSpecial,
                         std::vector<int32_t> &ids) const {
  if (text.size() > kMaxTextBytes)
    return base::invalidArgument("text of " + std::to_string(text.size()) +
                                     " bytes is longer than the limit of " +
                                     std::to_string(kMaxTextBytes) + "; split it",
                                 "tokenizer");
  ids.reserve(ids.size() + text.size() / 3 + 2);
  if (pipeline_) {
    std::string copy;
    return PipelineEncoder(*pipeline_, parseSpecial, ids).encode(validUtf8(text, copy));
  }
  Encoder(*section_, parseSpecial, ids).encode(text);
  return Status::ok();
}

/// The ids at the front or the back of a text. A pipeline's template says what they are, and none
/// if it has none.
Status Tokenizer::appendEnd(bool front, std::vector<int32_t> &ids) const {
  if (pipeline_) {
    const plan::PipelineHeader &header = pipeline_->header();
    uint32_t begin = front ? 0 : header.before, count = front ? header.before : header.after;
    for (uint32_t i = 0; i < count; ++i)
      ids.push_back(pipeline_->templateId(begin + i));
    return Status::ok();
  }
  int32_t id = front ? bosId() : eosId();
  if (id < 0)
    return base::invalidArgument(std::string("the vocabulary has no ") + (front ? "begin" : "end") +
                                     "-of-sequence piece; encode without asking for it",
                                 "tokenizer");
  ids.push_back(id);
  return Status::ok();
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text,
                                               const EncodeOptions &options) const {
  std::vector<int32_t> ids;
  if (options.addBos)
    PLATEN_RETURN_IF_ERROR(appendEnd(true, ids));
  PLATEN_RETURN_IF_ERROR(append(text, options.parseSpecial, ids));
  if (options.addEos)
    PLATEN_RETURN_IF_ERROR(appendEnd(false, ids));
  return ids;
}

Result<std::vector<int32_t>> Tokenizer::encodePair(std::string_view first, std::string_view second,
                                                   const EncodeOptions &options) const {
  const plan::PipelineHeader none, &header = pipeline_ ? pipeline_->header() : none;
  uint32_t at = header.before + header.after;
  if (header.pairBefore + header.pairBetween + header.pairAfter == 0)
    return base::unsupported("this tokenizer has no template for two texts", "tokenizer");
  std::vector<int32_t> ids;
  auto put = [&](uint32_t count) {
    for (uint32_t i = 0; i < count; ++i)
      ids.push_back(pipeline_->templateId(at++));
  };
  put(header.pairBefore);
  PLATEN_RETURN_IF_ERROR(append(first, options.parseSpecial, ids));
  put(header.pairBetween);
  PLATEN_RETURN_IF_ERROR(append(second, options.parseSpecial, ids));
  put(header.pairAfter);
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
  return static_cast<int32_t>(pipeline_ ? pipeline_->header().pieces : section_->header().pieces);
}
std::string_view Tokenizer::pieceText(int32_t id) const {
  if (id < 0 || id >= vocabularySize())
    return "";
  auto piece = static_cast<uint32_t>(id);
  return pipeline_ ? pipeline_->pieceText(piece) : section_->pieceText(piece);
}
bool Tokenizer::isControl(int32_t id) const {
  if (id < 0 || id >= vocabularySize())
    return false;
  auto piece = static_cast<uint32_t>(id);
  return pipeline_ ? pipeline_->pieceIs(piece, plan::kPieceSpecial)
                   : section_->pieceType(piece) == plan::PieceType::kControl;
}
int32_t Tokenizer::bosId() const {
  return pipeline_ ? pipeline_->header().bos : section_->header().bos;
}
int32_t Tokenizer::eosId() const {
  return pipeline_ ? pipeline_->header().eos : section_->header().eos;
}
int32_t Tokenizer::unknownId() const {
  return pipeline_ ? pipeline_->header().unknown : section_->header().unknown;
}
int32_t Tokenizer::padId() const {
  return pipeline_ ? pipeline_->header().pad : section_->header().pad;
}
std::string_view Tokenizer::kind() const {
  return pipeline_ ? plan::kPipelineName : plan::kSentencePieceBpeName;
}

StreamDecoder::StreamDecoder(const Tokenizer &tokenizer)
    : section_(tokenizer.section_.get()),
      pipeline_(tokenizer.pipeline_ ? std::make_unique<PipelineDecoder>(*tokenizer.pipeline_)
                                    : nullptr),
      size_(tokenizer.vocabularySize()) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder &&) noexcept = default;

Status StreamDecoder::push(int32_t id, std::string &out) {
  auto piece = static_cast<uint32_t>(id);
  if (id < 0 || id >= size_)
    return outsideVocabulary(id, size_);
  if (pipeline_) {
    pipeline_->push(piece, out);
    return Status::ok();
  }
  if (section_->pieceType(piece) == plan::PieceType::kByte) {
    pushByte(static_cast<char>(section_->byteOf(piece)), out);
    return Status::ok();
  }
  dropPending(out);
  pushPiece(piece, out);
  return Status::ok();
}

void StreamDecoder::finish(std::string &out) {
  if (pipeline_)
    return pipeline_->finish(out);
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
  plan::PieceType type = section_->pieceType(piece);
  if (type == plan::PieceType::kControl)
    return;
  if (type == plan::PieceType::kUnknown)
    return pushText(section_->unknownSurface(), out);
  std::string_view text = section_->pieceText(piece);
  bool folds = section_->has(plan::kRemoveExtraWhitespaces);
  if (atStart && (folds || section_->has(plan::kAddDummyPrefix)) &&
      text.starts_with(kSpaceSymbol)) {
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
