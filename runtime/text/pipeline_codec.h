// Encoding and incremental decoding by a pipeline section.
//
// Encoding does what Hugging Face tokenizers does, id for id: added tokens that want the text as it
// is, normalizers, added tokens that want it normalised, pre-tokenizers, model. Decoding gives
// what its decode() gives, token by token, with one difference: in a run of byte pieces that is no
// UTF-8 as a whole, whole characters stay (they were shown before the run ended) and only the bad
// bytes become U+FFFD.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/normalizers.h"
#include "runtime/text/pre_tokenizers.h"
#include "runtime/text/word_models.h"

namespace platen::text {

/// One encode() call.
class PipelineEncoder {
public:
  /// `special`: special tokens spelled out in the text become their ids.
  PipelineEncoder(const PipelineView &view, bool special, std::vector<int32_t> &ids)
      : view_(view), special_(special), words_(view), model_(view, special), ids_(ids) {}
  base::Status encode(std::string_view text);

private:
  /// Calls `stretch(begin, end)` for what lies between the tokens of `tokens` in `text`, in order.
  template <typename Stretch>
  base::Status cut(std::string_view text, const TrieView &tokens, Stretch stretch);
  base::Status encodeStretch(std::string_view text, bool first);
  size_t spacesBefore(std::string_view text) const;
  size_t spacesAfter(std::string_view text) const;
  bool isSingleWord(std::string_view before, std::string_view after) const;

  const PipelineView &view_;
  bool special_;
  PreTokenizer words_;
  WordEncoder model_;
  std::vector<int32_t> &ids_;
};

/// One sequence of tokens. Its owner checks that ids are below header().pieces.
class PipelineDecoder {
public:
  explicit PipelineDecoder(const PipelineView &view) : view_(view) {}
  void push(uint32_t piece, std::string &out);
  void finish(std::string &out);

private:
  void decode(std::string token, bool last, std::string &out);
  bool applyToToken(const plan::PipelineRecord &record, std::string &token, bool last) const;
  void pushByte(char byte, bool wholeRuns, std::string &out);
  void dropPending(bool each, std::string &out);
  void pushText(std::string_view text, std::string &out);

  const PipelineView &view_;
  std::string pending_; ///< the start of a character
  std::string held_;    ///< a token whose end depends on whether another follows
  bool holds_ = false;
  bool pendingEach_ = false; ///< bytes of pending_ become U+FFFD each, not together
  uint64_t tokens_ = 0;      ///< that were no special ones
  uint32_t stripped_ = 0;
  bool started_ = false; ///< some text came out
};

} // namespace platen::text
