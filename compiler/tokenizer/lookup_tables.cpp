// Built in the order of their keys, so equal inputs give equal tables.
#include "compiler/tokenizer/lookup_tables.h"

#include <algorithm>

namespace platen::compiler {

using plan::kNoSymbol;

/// Sorted strings make a trie level by level: a node is a range of them that share their first
/// `depth` bytes.
Trie buildTrie(std::vector<std::pair<std::string_view, uint32_t>> strings) {
  struct Range {
    size_t begin, end, depth;
  };
  std::sort(strings.begin(), strings.end());
  Trie trie;
  std::vector<Range> ranges{{0, 0, 0}};
  trie.roots.assign(256, 0);
  trie.nodes.resize(1);
  auto split = [&](Range parent, auto addChild) {
    for (size_t begin = parent.begin, end; begin < parent.end; begin = end) {
      auto label = static_cast<unsigned char>(strings[begin].first[parent.depth]);
      for (end = begin + 1; end < parent.end; ++end)
        if (static_cast<unsigned char>(strings[end].first[parent.depth]) != label)
          break;
      addChild(label, static_cast<uint32_t>(ranges.size()));
      ranges.push_back({begin, end, parent.depth + 1});
    }
  };
  split({0, strings.size(), 0},
        [&](unsigned char label, uint32_t node) { trie.roots[label] = node; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    Range range = ranges[i];
    plan::TrieNode node{static_cast<uint32_t>(trie.edges.size()), 0, 0};
    if (strings[range.begin].first.size() == range.depth)
      node.piecePlusOne = strings[range.begin++].second + 1;
    split(range,
          [&](unsigned char label, uint32_t child) { trie.edges.push_back({label, child}); });
    node.edgeCount = static_cast<uint32_t>(trie.edges.size()) - node.firstEdge;
    trie.nodes.push_back(node);
  }
  return trie;
}

CharacterTable buildCharacters(const std::map<char32_t, uint32_t> &characters) {
  CharacterTable table{std::vector<uint16_t>(plan::kCodepointPages, 0),
                       std::vector<uint32_t>(256, kNoSymbol)};
  for (const auto &[codepoint, symbol] : characters) {
    uint16_t &page = table.pages[codepoint >> 8];
    if (page == 0) {
      page = static_cast<uint16_t>(table.symbols.size() / 256);
      table.symbols.resize(table.symbols.size() + 256, kNoSymbol);
    }
    table.symbols[size_t{page} * 256 + (codepoint & 255)] = symbol;
  }
  return table;
}

/// Open addressing at two thirds full keeps the longest search short and the table small.
MergeTable buildMerges(const std::vector<TokenizerMerge> &merges) {
  auto slots = static_cast<uint32_t>(merges.size() + merges.size() / 2 + 1);
  MergeTable table{std::vector<plan::MergeSlot>(slots), 0};
  for (const TokenizerMerge &merge : merges) {
    uint32_t slot = plan::mergeHash(merge.left, merge.right, slots), probe = 1;
    for (; table.slots[slot].merged != kNoSymbol; ++probe)
      slot = slot + 1 == slots ? 0 : slot + 1;
    table.slots[slot] = {merge.left, merge.right, merge.merged, merge.rank};
    table.maxProbe = std::max(table.maxProbe, probe);
  }
  return table;
}

} // namespace platen::compiler
