// Byte-pair merges, the best path of a unigram model, greedy word pieces.
#include "runtime/text/word_models.h"

#include <algorithm>
#include <functional>

namespace platen::text {

using plan::kNoSymbol;

namespace {

/// Words up to this long search all their merges each time: quicker than a heap.
constexpr size_t kScannedNodes = 24;

} // namespace

void WordEncoder::encode(std::string_view word, std::vector<int32_t> &ids) {
  switch (static_cast<plan::PipelineModel>(view_.header().model)) {
  case plan::PipelineModel::kBpe:
    return bpe(word, ids);
  case plan::PipelineModel::kUnigram:
    return unigram(word, ids);
  case plan::PipelineModel::kWordPiece:
    return wordPiece(word, ids);
  case plan::PipelineModel::kWordLevel: {
    uint32_t piece = view_.find(word);
    ids.push_back(allowed(piece) ? static_cast<int32_t>(piece) : view_.header().unknown);
  }
  }
}

// ---------------------------------------------------------------- BPE

/// The characters of the word as symbols, unknown ones as bytes or as the unknown piece, which runs
/// share if the model says so and which comes before the next known character; then all merges.
void WordEncoder::bpe(std::string_view word, std::vector<int32_t> &ids) {
  if (view_.has(plan::kPipeIgnoreMerges))
    if (uint32_t whole = view_.find(word); allowed(whole))
      return ids.push_back(static_cast<int32_t>(whole));
  nodes_.clear();
  bool pending = false;
  auto unknown = static_cast<uint32_t>(view_.header().unknown);
  for (size_t at = 0; at < word.size();) {
    base::Utf8Char c = base::decodeUtf8(word.substr(at));
    size_t bytes = std::max(c.bytes, 1U);
    uint32_t symbol = view_.symbolOf(c.codepoint);
    if (allowed(symbol)) {
      if (pending)
        add(unknown);
      pending = false;
      add(symbol);
    } else if (!addBytes(word.substr(at, bytes)) && view_.header().unknown >= 0) {
      if (pending && !view_.has(plan::kPipeFuseUnknown))
        add(unknown);
      pending = true;
    }
    at += bytes;
  }
  if (pending)
    add(unknown);
  for (uint32_t i = 0; i + 1 < nodes_.size(); ++i)
    lookUp(i);
  if (nodes_.size() <= kScannedNodes)
    mergeByScan();
  else
    mergeByHeap();
  for (uint32_t i = 0; i != kNoSymbol && !nodes_.empty(); i = nodes_[i].next)
    ids.push_back(static_cast<int32_t>(nodes_[i].symbol));
}

/// One piece a byte, if the vocabulary has them all.
bool WordEncoder::addBytes(std::string_view character) {
  if (!view_.has(plan::kPipeByteFallback))
    return false;
  for (char c : character)
    if (view_.bytePiece(static_cast<unsigned char>(c)) == kNoSymbol)
      return false;
  for (char c : character)
    add(view_.bytePiece(static_cast<unsigned char>(c)));
  return true;
}

void WordEncoder::add(uint32_t symbol) {
  auto index = static_cast<uint32_t>(nodes_.size());
  if (index > 0) {
    nodes_.back().next = index;
    view_.prefetchMerge(nodes_.back().symbol, symbol);
  }
  nodes_.push_back({index == 0 ? kNoSymbol : index - 1, kNoSymbol, symbol, 0, kNoSymbol});
}

void WordEncoder::mergeByScan() {
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

void WordEncoder::mergeByHeap() {
  heap_.clear();
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
void WordEncoder::lookUp(uint32_t left) {
  Node &node = nodes_[left];
  node.merged = kNoSymbol;
  if (node.next == kNoSymbol)
    return;
  plan::MergeSlot merge = view_.merge(node.symbol, nodes_[node.next].symbol);
  if (!allowed(merge.merged))
    return;
  node.merged = merge.merged;
  node.rank = merge.rank;
}

/// Carries out the merge of node `left`, and looks up the two that it makes possible.
void WordEncoder::join(uint32_t left) {
  Node &node = nodes_[left];
  Node &gone = nodes_[node.next];
  node.symbol = node.merged;
  node.next = gone.next;
  gone.merged = kNoSymbol;
  if (node.next != kNoSymbol)
    nodes_[node.next].previous = left;
  if (node.previous != kNoSymbol)
    lookUp(node.previous);
  lookUp(left);
}

// ---------------------------------------------------------------- unigram

void WordEncoder::unigram(std::string_view word, std::vector<int32_t> &ids) {
  best_.assign(word.size() + 1, {});
  auto unknown = static_cast<uint32_t>(view_.header().unknown);
  auto offer = [this](size_t end, size_t start, double score, uint32_t piece) {
    Best &best = best_[end];
    if (best.start == SIZE_MAX || score > best.score)
      best = {score, start, piece};
  };
  for (size_t at = 0; at < word.size();) {
    size_t character = std::max(base::decodeUtf8(word.substr(at)).bytes, 1U);
    double here = best_[at].score;
    bool covered = false;
    view_.modelTrie().prefixes(word.substr(at), [&](uint32_t piece, size_t bytes) {
      if (!allowed(piece) && piece != unknown)
        return;
      offer(at + bytes, at, view_.score(piece) + here, piece);
      covered |= bytes == character;
    });
    if (!covered)
      offer(at + character, at, view_.header().unknownScore + here, unknown);
    at += character;
  }
  parts_.clear();
  bool inUnknown = false;
  for (size_t end = word.size(); end > 0; end = best_[end].start) {
    bool isUnknown = best_[end].piece == unknown;
    if (isUnknown && inUnknown)
      parts_.back().first = best_[end].start;
    else
      parts_.emplace_back(best_[end].start, end);
    inUnknown = isUnknown;
  }
  for (size_t i = parts_.size(); i-- > 0;)
    emitUnigram(word.substr(parts_[i].first, parts_[i].second - parts_[i].first), ids);
}

/// The piece of this text, or its bytes, or the unknown piece.
void WordEncoder::emitUnigram(std::string_view text, std::vector<int32_t> &ids) {
  uint32_t piece = view_.find(text);
  if (allowed(piece) || piece == static_cast<uint32_t>(view_.header().unknown))
    return ids.push_back(static_cast<int32_t>(piece));
  nodes_.clear();
  if (!addBytes(text))
    return ids.push_back(view_.header().unknown);
  for (const Node &node : nodes_)
    ids.push_back(static_cast<int32_t>(node.symbol));
}

// ---------------------------------------------------------------- WordPiece

/// The longest piece that begins the word, then the longest that continues it, ...; a word that
/// cannot be covered so is unknown as a whole.
void WordEncoder::wordPiece(std::string_view word, std::vector<int32_t> &ids) {
  const plan::PipelineHeader &header = view_.header();
  size_t characters = 0, first = ids.size();
  for (char c : word)
    characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  bool bad = characters > header.maxWordCharacters;
  for (size_t start = 0; start < word.size() && !bad;) {
    size_t prefix = start > 0 ? header.wordPrefixBytes : 0, end = word.size();
    buffer_ = view_.string(header.wordPrefix, static_cast<uint32_t>(prefix));
    buffer_ += word.substr(start);
    uint32_t piece = kNoSymbol;
    for (; end > start; --end) {
      bool boundary = end == word.size() || (static_cast<unsigned char>(word[end]) & 0xC0) != 0x80;
      piece = boundary ? view_.find(std::string_view(buffer_).substr(0, prefix + end - start))
                       : kNoSymbol;
      if (allowed(piece))
        break;
    }
    bad = end == start;
    if (!bad)
      ids.push_back(static_cast<int32_t>(piece));
    start = end;
  }
  if (!bad)
    return;
  ids.resize(first);
  ids.push_back(header.unknown);
}

} // namespace platen::text
