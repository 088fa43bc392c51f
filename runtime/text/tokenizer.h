// Text to tokens and back, from the tokenizer section of a plan.
//
// Two kinds of section. Kind pipeline (runtime/plan/tokenizer_pipeline.h): what Hugging Face
// tokenizers does with a tokenizer.json, step by step: byte-level BPE, unigram, WordPiece.
//
// Kind sentencepiece-bpe: what sentencepiece's BPE models do (Kudo and Richardson 2018,
// arXiv:1808.06226), id for id: optional dummy prefix and whitespace folding, U+2581 for spaces,
// user-defined symbols first (longest match), merges by score, bytes for unknown characters. The
// section may also hold explicit merges, as Hugging Face's tokenizer.json gives them. Costs:
// loading checks bounds and builds nothing; encoding is O(n log n) in the longest stretch without a
// word boundary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace platen::text {

class PipelineDecoder;
class PipelineView;
class SectionView;

/// Longest text that encode() takes, in bytes.
inline constexpr size_t kMaxTextBytes = size_t{256} << 20;

struct EncodeOptions {
  /// First the begin-of-sequence piece; of a pipeline what its template puts before a text, which
  /// may be nothing.
  bool addBos = false;
  /// Last the end-of-sequence piece; of a pipeline what its template puts after a text. Both
  /// together are the library's add_special_tokens.
  bool addEos = false;
  /// Control pieces spelled out in the text ("<bos>") become their ids; each stretch between them
  /// is encoded as a text of its own. Off, they are ordinary characters: text from outside can
  /// never forge a control token.
  bool parseSpecial = false;
};

/// Immutable; all members are safe to call from several threads at once.
class Tokenizer {
public:
  /// Borrows `section`, which must outlive the tokenizer and every StreamDecoder on it; any
  /// alignment will do. Errors: kCorrupt (with what is wrong), kUnsupported (a newer version or
  /// another kind).
  static base::Result<std::unique_ptr<Tokenizer>> fromSection(std::span<const std::byte> section);
  ~Tokenizer();

  /// Ids of `text`, each in [0, vocabularySize()). Bytes that are no UTF-8 become U+FFFD each.
  /// Errors: kInvalidArgument: longer than kMaxTextBytes, or addBos/addEos where the vocabulary has
  /// no such piece.
  base::Result<std::vector<int32_t>> encode(std::string_view text,
                                            const EncodeOptions &options = {}) const;
  /// Two texts in one sequence, as the template joins them ([CLS] first [SEP] second [SEP]);
  /// addBos and addEos do not count. Errors: as encode(); kUnsupported: no template.
  base::Result<std::vector<int32_t>> encodePair(std::string_view first, std::string_view second,
                                                const EncodeOptions &options = {}) const;
  /// Valid UTF-8; control pieces are invisible, bytes that form no character become U+FFFD each.
  /// Errors: kInvalidArgument: an id outside [0, vocabularySize()).
  base::Result<std::string> decode(std::span<const int32_t> ids) const;

  int32_t vocabularySize() const;
  /// As the vocabulary spells it ("▁the", "<0x0A>"), borrowed from the section; empty outside the
  /// vocabulary.
  std::string_view pieceText(int32_t id) const;
  /// Control pieces carry meaning to the model and no text.
  bool isControl(int32_t id) const;
  /// -1 where the vocabulary has none.
  int32_t bosId() const;
  int32_t eosId() const;
  int32_t unknownId() const;
  int32_t padId() const;
  /// Source of the chat template (chat_template.h) that the section carries, and a JSON object of
  /// the variables it reads; empty: none.
  std::string_view chatTemplate() const { return chatTemplate_; }
  std::string_view chatVariables() const { return chatVariables_; }
  /// "sentencepiece-bpe" or "pipeline".
  std::string_view kind() const;

private:
  friend class StreamDecoder;
  Tokenizer();
  base::Status append(std::string_view text, bool parseSpecial, std::vector<int32_t> &ids) const;
  base::Status appendEnd(bool front, std::vector<int32_t> &ids) const;

  std::string_view chatTemplate_, chatVariables_;
  // One of the two.
  std::unique_ptr<const SectionView> section_;
  std::unique_ptr<const PipelineView> pipeline_;
};

/// Decodes token by token and holds back what is no complete character yet. The concatenation of
/// all it gave equals Tokenizer::decode() of all ids. One for each sequence; not for several
/// threads. Borrows the tokenizer.
class StreamDecoder {
public:
  explicit StreamDecoder(const Tokenizer &tokenizer);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder &&) noexcept;

  /// Appends the text that `id` completes to `out` (often nothing, always whole characters).
  /// Errors: kInvalidArgument: an id outside the vocabulary; `out` and the decoder are as before.
  base::Status push(int32_t id, std::string &out);
  /// The sequence ends: bytes still held back form no character and come out as U+FFFD each. Ready
  /// for a new sequence.
  void finish(std::string &out);

private:
  void pushByte(char byte, std::string &out);
  void dropPending(std::string &out);
  void pushPiece(uint32_t piece, std::string &out);
  void pushText(std::string_view text, std::string &out);

  const SectionView *section_;                ///< null: pipeline_ decodes
  std::unique_ptr<PipelineDecoder> pipeline_; ///< null: this class decodes
  int32_t size_;                              ///< of the vocabulary
  char pending_[4] = {};                      ///< the start of a character
  uint32_t pendingBytes_ = 0;
  bool started_ = false;        ///< some text came out
  bool prefixConsumed_ = false; ///< the dummy prefix was met and dropped
};

} // namespace platen::text
