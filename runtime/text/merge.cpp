// The merge loop. Characters form a linked list; each node remembers the merge with its right
// neighbour, and a heap entry counts only while it still agrees with its node.
#include "runtime/text/merge.h"

#include <algorithm>
#include <functional>

#include "runtime/base/utf8.h"

namespace platen::text {

using plan::kNoSymbol;

/// Stretches up to this long, which most words are, search all their merges each time: quicker than
/// a heap.
constexpr size_t kScannedNodes = 24;

void Merger::add(uint32_t symbol, std::string_view text) {
  auto index = static_cast<uint32_t>(nodes_.size());
  if (index > 0) {
    nodes_.back().next = index;
    section_.prefetchMerge(nodes_.back().symbol, symbol);
  }
  nodes_.push_back({index == 0 ? kNoSymbol : index - 1, kNoSymbol, symbol, 0, kNoSymbol, text});
}

void Merger::finish(std::vector<int32_t> &ids) {
  for (uint32_t i = 0; i + 1 < nodes_.size(); ++i)
    lookUp(i);
  if (nodes_.size() <= kScannedNodes)
    mergeByScan();
  else
    mergeByHeap();
  for (uint32_t i = 0; i != kNoSymbol && !nodes_.empty(); i = nodes_[i].next)
    emit(nodes_[i].symbol, nodes_[i].text, ids);
  nodes_.clear();
  unusedParts_.clear();
}

void Merger::mergeByScan() {
  for (;;) {
    uint32_t best = kNoSymbol;
    for (uint32_t i = 0; i < nodes_.size(); i = nodes_[i].next)
      if (nodes_[i].merged != kNoSymbol &&
          (best == kNoSymbol || nodes_[i].rank < nodes_[best].rank))
        best = i;
    if (best == kNoSymbol)
      return;
    join(best);
  }
}

void Merger::mergeByHeap() {
  auto push = [this](uint32_t left) {
    if (left == kNoSymbol || nodes_[left].merged == kNoSymbol)
      return;
    heap_.push_back(uint64_t{nodes_[left].rank} << 32 | left);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < nodes_.size(); ++i)
    push(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    uint64_t entry = heap_.back();
    heap_.pop_back();
    auto left = static_cast<uint32_t>(entry);
    if (nodes_[left].merged == kNoSymbol || nodes_[left].rank != entry >> 32)
      continue;
    join(left);
    push(nodes_[left].previous);
    push(left);
  }
}

/// Finds the merge of node `left` with its neighbour.
void Merger::lookUp(uint32_t left) {
  Node &node = nodes_[left];
  node.merged = kNoSymbol;
  if (node.next == kNoSymbol || node.symbol == kNoSymbol || nodes_[node.next].symbol == kNoSymbol)
    return;
  plan::MergeSlot merge = section_.merge(node.symbol, nodes_[node.next].symbol);
  node.merged = merge.merged;
  node.rank = merge.rank;
  if (section_.hasUnused() && merge.merged != kNoSymbol &&
      section_.pieceType(merge.merged) == plan::PieceType::kUnused)
    unusedParts_[merge.merged] = {merge.left, merge.right};
}

/// Carries out the merge of node `left`, and looks up the two that it makes possible.
void Merger::join(uint32_t left) {
  Node &node = nodes_[left];
  Node &gone = nodes_[node.next];
  node.symbol = node.merged;
  node.next = gone.next;
  gone.merged = kNoSymbol;
  if (node.next != kNoSymbol) {
    nodes_[node.next].previous = left;
    section_.prefetchMerge(node.symbol,
                           nodes_[node.next].symbol); // while the other side is looked up
  }
  if (node.previous != kNoSymbol)
    lookUp(node.previous);
  lookUp(left);
}

void Merger::emit(uint32_t symbol, std::string_view text, std::vector<int32_t> &ids) {
  if (symbol >= section_.header().pieces)
    return emitUnknown(text, ids);
  if (section_.pieceType(symbol) == plan::PieceType::kUnused) {
    auto parts = unusedParts_.find(symbol);
    std::string_view whole = section_.pieceText(symbol);
    if (parts != unusedParts_.end()) {
      auto [left, right] = parts->second;
      size_t cut = left < section_.header().pieces
                       ? section_.pieceText(left).size()
                       : base::utf8Length(static_cast<unsigned char>(whole[0]));
      if (cut > 0 && cut < whole.size()) { // always, unless the section lies about its merges
        emit(left, whole.substr(0, cut), ids);
        return emit(right, whole.substr(cut), ids);
      }
    }
  }
  ids.push_back(static_cast<int32_t>(symbol));
  lastWasUnknown_ = section_.pieceType(symbol) == plan::PieceType::kUnknown;
}

void Merger::emitUnknown(std::string_view text, std::vector<int32_t> &ids) {
  if (section_.has(plan::kByteFallback)) {
    for (char c : text)
      ids.push_back(static_cast<int32_t>(section_.bytePiece(static_cast<unsigned char>(c))));
    return;
  }
  if (!lastWasUnknown_)
    ids.push_back(section_.header().unknown);
  lastWasUnknown_ = true;
}

} // namespace platen::text
