// See pipeline_codec.h.
#include "runtime/text/pipeline_codec.h"

#include <algorithm>
#include <array>

namespace platen::text {

using base::Status;
using plan::PipelineRecord;
using plan::PipelineStep;

// ---------------------------------------------------------------- encoding

namespace {

/// Bytes of the last character of `text`, which is not empty.
size_t lastCharacter(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  return text.size() - begin;
}

} // namespace

size_t PipelineEncoder::spacesBefore(std::string_view text) const {
  size_t end = text.size();
  while (end > 0) {
    size_t bytes = lastCharacter(text.substr(0, end));
    char32_t code = base::decodeUtf8(text.substr(end - bytes)).codepoint;
    if ((view_.properties(code) & plan::kPropertySpace) == 0)
      break;
    end -= bytes;
  }
  return text.size() - end;
}

size_t PipelineEncoder::spacesAfter(std::string_view text) const {
  size_t at = 0;
  while (at < text.size()) {
    base::Utf8Char c = base::decodeUtf8(text.substr(at));
    if ((view_.properties(c.codepoint) & plan::kPropertySpace) == 0)
      break;
    at += std::max(c.bytes, 1U);
  }
  return at;
}

bool PipelineEncoder::isSingleWord(std::string_view before, std::string_view after) const {
  auto isWord = [this](std::string_view at) {
    return (view_.properties(base::decodeUtf8(at).codepoint) & plan::kPropertyWord) != 0;
  };
  return (before.empty() || !isWord(before.substr(before.size() - lastCharacter(before)))) &&
         (after.empty() || !isWord(after));
}

template <typename Stretch>
Status PipelineEncoder::cut(std::string_view text, const TrieView &tokens, Stretch stretch) {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    TrieView::Match match = tokens.longest(text.substr(at), [](uint32_t) { return true; });
    if (match.bytes == 0) {
      ++at;
      continue;
    }
    size_t start = at, stop = at += match.bytes;
    if (!special_ && view_.pieceIs(match.piece, plan::kPieceSpecial))
      continue;
    if (view_.pieceIs(match.piece, plan::kPieceSingleWord) &&
        !isSingleWord(text.substr(0, start), text.substr(stop)))
      continue;
    if (view_.pieceIs(match.piece, plan::kPieceStripLeft) && start > begin)
      start -= spacesBefore(text.substr(begin, start - begin));
    if (view_.pieceIs(match.piece, plan::kPieceStripRight))
      stop += spacesAfter(text.substr(stop));
    if (begin < start)
      PLATEN_RETURN_IF_ERROR(stretch(begin, start));
    ids_.push_back(static_cast<int32_t>(match.piece));
    begin = stop;
  }
  return begin < text.size() ? stretch(begin, text.size()) : Status::ok();
}

Status PipelineEncoder::encode(std::string_view text) {
  return cut(text, view_.rawTokens(), [&](size_t begin, size_t end) {
    return encodeStretch(text.substr(begin, end - begin), begin == 0);
  });
}

Status PipelineEncoder::encodeStretch(std::string_view text, bool first) {
  NormalText normal{std::string(text), first ? base::decodeUtf8(text).bytes : size_t{0}};
  PLATEN_RETURN_IF_ERROR(normalizePipeline(view_, normal));
  return cut(normal.text, view_.normalTokens(), [&](size_t begin, size_t end) {
    size_t head = begin < normal.head ? std::min(normal.head, end) - begin : 0;
    words_.run(std::string_view(normal.text).substr(begin, end - begin), head);
    for (size_t i = 0; i < words_.words(); ++i)
      model_.encode(words_.word(i), ids_);
    return Status::ok();
  });
}

// ---------------------------------------------------------------- decoding

namespace {

void replaceAll(std::string &text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// The byte of "<0x..>", or -1.
int byteToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>')
    return -1;
  int value = 0;
  for (char c : token.substr(3, 2)) {
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                       : -1;
    if (digit < 0)
      return -1;
    value = value * 16 + digit;
  }
  return value;
}

/// What the library's clean-up of English does to one token.
void tidy(std::string &token) {
  constexpr std::array<std::array<std::string_view, 2>, 11> kRules = {{{" .", "."},
                                                                       {" ?", "?"},
                                                                       {" !", "!"},
                                                                       {" ,", ","},
                                                                       {" ' ", "'"},
                                                                       {" n't", "n't"},
                                                                       {" 'm", "'m"},
                                                                       {" do not", " don't"},
                                                                       {" 's", "'s"},
                                                                       {" 've", "'ve"},
                                                                       {" 're", "'re"}}};
  for (const auto &[from, to] : kRules)
    replaceAll(token, from, to);
}

/// The bytes that a token's characters stand for; the token's own bytes when one stands for none.
std::string bytesOf(std::string_view token) {
  std::string bytes;
  for (std::string_view rest = token; !rest.empty();) {
    base::Utf8Char c = base::decodeUtf8(rest);
    int byte = byteOfCharacter(c.codepoint);
    if (byte < 0)
      return std::string(token);
    bytes += static_cast<char>(byte);
    rest.remove_prefix(std::max(c.bytes, 1U));
  }
  return bytes;
}

} // namespace

void PipelineDecoder::push(uint32_t piece, std::string &out) {
  if (view_.pieceIs(piece, plan::kPieceSpecial) || view_.pieceIs(piece, plan::kPieceAbsent))
    return;
  bool holds = false;
  for (const PipelineRecord &record : view_.decoders())
    holds |= record.step == PipelineStep::kDecodeSuffix;
  std::string token(view_.pieceText(piece));
  if (!holds)
    return decode(std::move(token), false, out);
  if (holds_)
    decode(std::move(held_), false, out);
  held_ = std::move(token);
  holds_ = true;
}

void PipelineDecoder::finish(std::string &out) {
  if (holds_)
    decode(std::move(held_), true, out);
  dropPending(pendingEach_, out);
  holds_ = started_ = false;
  tokens_ = 0, stripped_ = 0;
}

/// Steps that see one token; false for those that see the joined text.
bool PipelineDecoder::applyToToken(const PipelineRecord &record, std::string &token,
                                   bool last) const {
  switch (record.step) {
  case PipelineStep::kDecodeReplace:
    replaceAll(token, view_.string(record.a, record.b),
               view_.string(record.a + record.b, record.c));
    return true;
  case PipelineStep::kDecodeMetaspace:
    replaceAll(token, view_.string(record.a, record.b), tokens_ == 0 && record.c != 0 ? "" : " ");
    return true;
  case PipelineStep::kDecodeSuffix:
    replaceAll(token, view_.string(record.a, record.b), last ? "" : " ");
    return true;
  case PipelineStep::kDecodeWordPiece: {
    std::string_view prefix = view_.string(record.a, record.b);
    if (tokens_ > 0 && token.starts_with(prefix))
      token.erase(0, prefix.size());
    else if (tokens_ > 0)
      token.insert(0, " ");
    if (record.c != 0)
      tidy(token);
    return true;
  }
  case PipelineStep::kDecodeSpaces:
    if (tokens_ > 0)
      token.insert(0, " ");
    return true;
  default:
    return false;
  }
}

void PipelineDecoder::decode(std::string token, bool last, std::string &out) {
  bool isBytes = false;
  for (const PipelineRecord &record : view_.decoders()) {
    if (record.step == PipelineStep::kDecodeByteCharacters) {
      token = bytesOf(token);
      isBytes = true;
    } else if (record.step == PipelineStep::kDecodeByteFallback) {
      if (int byte = byteToken(token); byte >= 0) {
        ++tokens_;
        return pushByte(static_cast<char>(byte), true, out);
      }
    } else {
      applyToToken(record, token, last);
    }
  }
  ++tokens_;
  if (isBytes) {
    for (char byte : token)
      pushByte(byte, false, out);
    return;
  }
  dropPending(true, out);
  pushText(token, out);
}

/// Bytes become text as soon as they form a character. Of those that can no longer become one, each
/// gives U+FFFD (`each`), or the longest start of a character gives one for all its bytes.
void PipelineDecoder::pushByte(char byte, bool each, std::string &out) {
  pendingEach_ = each;
  pending_ += byte;
  while (!pending_.empty()) {
    uint32_t bytes = base::decodeUtf8(pending_).bytes;
    if (bytes == 0 && base::isUtf8Prefix(pending_))
      return;
    if (bytes > 0) {
      pushText(std::string(pending_, 0, bytes), out);
      pending_.erase(0, bytes);
      continue;
    }
    pushText(base::kReplacementUtf8, out);
    pending_.erase(0, each ? 1 : std::max<size_t>(pending_.size() - 1, 1));
  }
}

void PipelineDecoder::dropPending(bool each, std::string &out) {
  if (pending_.empty())
    return;
  for (size_t i = 0; i < (each ? pending_.size() : 1); ++i)
    pushText(base::kReplacementUtf8, out);
  pending_.clear();
}

/// Text at the end of the chain; only what strips the start of the whole text is left to do.
void PipelineDecoder::pushText(std::string_view text, std::string &out) {
  for (const PipelineRecord &record : view_.decoders()) {
    if (record.step != PipelineStep::kDecodeStrip)
      continue;
    std::string_view what = view_.string(record.a, record.b);
    while (!started_ && stripped_ < record.c && text.starts_with(what)) {
      text.remove_prefix(what.size());
      ++stripped_;
    }
  }
  out += text;
  started_ |= !text.empty();
}

} // namespace platen::text
