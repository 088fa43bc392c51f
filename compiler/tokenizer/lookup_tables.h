// The lookup structures that both kinds of tokenizer section are made of.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/plan/tokenizer_section.h"

namespace platen::compiler {

/// A set of strings, longest or all prefixes of a text to be found; see plan::TrieNode.
struct Trie {
  std::vector<uint32_t> roots;
  std::vector<plan::TrieNode> nodes;
  std::vector<plan::TrieEdge> edges;
};
/// `strings` (text, piece) are not empty and all different.
Trie buildTrie(std::vector<std::pair<std::string_view, uint32_t>> strings);

/// Symbols of single characters, in pages of 256; page 0 is the empty one that unused ranges share.
struct CharacterTable {
  std::vector<uint16_t> pages;
  std::vector<uint32_t> symbols;
};
CharacterTable buildCharacters(const std::map<char32_t, uint32_t> &characters);

struct MergeTable {
  std::vector<plan::MergeSlot> slots;
  uint32_t maxProbe = 0;
};
MergeTable buildMerges(const std::vector<TokenizerMerge> &merges);

} // namespace platen::compiler
