// Byte-pair merging of one stretch of text whose characters can only merge among themselves.
//
// Repeatedly joins the adjacent pair of lowest rank, the leftmost among equals (Sennrich et al.
// 2016, arXiv:1508.07909, with a priority queue). Costs O(n log n) for n characters and 36 bytes a
// character, reused from stretch to stretch.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/text/section_view.h"

namespace platen::text {

/// Working memory of one encode() call; not for several threads.
class Merger {
public:
  explicit Merger(const SectionView &section) : section_(section) {}

  /// Adds the next character of the stretch: `symbol` may be kNoSymbol; `text` must live until
  /// finish().
  void add(uint32_t symbol, std::string_view text);
  bool empty() const { return nodes_.empty(); }
  /// Merges, appends the ids of the stretch to `ids`, and is empty again.
  void finish(std::vector<int32_t> &ids);

  /// Whether the last id appended stands for unknown characters: runs of them share one id.
  void endUnknownRun() { lastWasUnknown_ = false; }

private:
  struct Node {
    uint32_t previous, next; ///< kNoSymbol at the ends
    uint32_t symbol;         ///< kNoSymbol: an unknown character
    uint32_t rank, merged;   ///< of the merge with `next`; merged kNoSymbol: none
    std::string_view text;   ///< of the first character only
  };
  void mergeByScan();
  void mergeByHeap();
  void lookUp(uint32_t left);
  void join(uint32_t left);
  void emit(uint32_t symbol, std::string_view text, std::vector<int32_t> &ids);
  void emitUnknown(std::string_view text, std::vector<int32_t> &ids);

  const SectionView &section_;
  std::vector<Node> nodes_;
  std::vector<uint64_t>
      heap_; ///< rank << 32 | left node, smallest first; stale entries are skipped
  /// How each unused piece was last put together: unused pieces are taken apart again when the ids
  /// come out.
  std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>> unusedParts_;
  bool lastWasUnknown_ = false;
};

} // namespace platen::text
