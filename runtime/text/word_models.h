// The models of a pipeline section: one word, cut by a pre-tokenizer, to ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/pipeline_view.h"

namespace platen::text {

/// Working memory of one encode() call; not for several threads. As Hugging Face tokenizers does
/// it, except that special pieces never come out of ordinary text unless `special` is set: there a
/// model's vocabulary may hold them.
class WordEncoder {
public:
  WordEncoder(const PipelineView &view, bool special) : view_(view), special_(special) {}
  /// Appends the ids of `word`, valid UTF-8 and not empty.
  void encode(std::string_view word, std::vector<int32_t> &ids);

private:
  struct Node {
    uint32_t previous, next; ///< kNoSymbol at the ends
    uint32_t symbol;
    uint32_t rank, merged; ///< of the merge with `next`; merged kNoSymbol: none
  };
  struct Best {
    double score = 0;
    size_t start = SIZE_MAX; ///< SIZE_MAX: no path ends here
    uint32_t piece = 0;
  };
  bool allowed(uint32_t piece) const {
    return piece != plan::kNoSymbol && (special_ || !view_.pieceIs(piece, plan::kPieceSpecial));
  }
  void bpe(std::string_view word, std::vector<int32_t> &ids);
  bool addBytes(std::string_view character);
  void add(uint32_t symbol);
  void mergeByScan();
  void mergeByHeap();
  void lookUp(uint32_t left);
  void join(uint32_t left);
  void unigram(std::string_view word, std::vector<int32_t> &ids);
  void emitUnigram(std::string_view text, std::vector<int32_t> &ids);
  void wordPiece(std::string_view word, std::vector<int32_t> &ids);

  const PipelineView &view_;
  bool special_;
  std::vector<Node> nodes_;
  std::vector<uint64_t> heap_; ///< rank << 32 | left node, smallest first; stale ones are skipped
  std::vector<Best> best_;
  std::vector<std::pair<size_t, size_t>> parts_; ///< a unigram path, last part first
  std::string buffer_;
};

} // namespace platen::text
