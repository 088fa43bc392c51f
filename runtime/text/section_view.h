// Reads the tables of a tokenizer section in place.
//
// open() checks every offset, count and index once (about 1 ms a MB), so that the lookups below
// need no checks: whatever the bytes say, no lookup reads outside the section or runs without end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "runtime/base/status.h"
#include "runtime/plan/tokenizer_section.h"

namespace platen::text {

/// Elements of trivially copyable T at any alignment, inside the section.
template <typename T> class Table {
public:
  Table() = default;
  Table(const std::byte *data, size_t count) : data_(data), count_(count) {}
  size_t size() const { return count_; }
  T operator[](size_t index) const {
    T value;
    std::memcpy(&value, data_ + index * sizeof(T), sizeof(T));
    return value;
  }
  void prefetch(size_t index) const { __builtin_prefetch(data_ + index * sizeof(T)); }

private:
  const std::byte *data_ = nullptr;
  size_t count_ = 0;
};

/// Longest match of a set of byte strings. Costs one step a matched byte, each a search among the
/// node's edges.
class TrieView {
public:
  TrieView() = default;
  TrieView(Table<uint32_t> roots, Table<plan::TrieNode> nodes, Table<plan::TrieEdge> edges)
      : roots_(roots), nodes_(nodes), edges_(edges) {}

  struct Match {
    uint32_t piece = plan::kNoSymbol;
    size_t bytes = 0; ///< 0: nothing matches
  };
  /// Longest string of the set that `text` starts with and whose piece `accept` takes.
  template <typename Accept> Match longest(std::string_view text, Accept accept) const {
    Match best;
    uint32_t node = text.empty() ? 0 : roots_[static_cast<unsigned char>(text[0])];
    for (size_t bytes = 1; node != 0; ++bytes) {
      plan::TrieNode here = nodes_[node];
      if (here.piecePlusOne != 0 && accept(here.piecePlusOne - 1))
        best = {here.piecePlusOne - 1, bytes};
      node = bytes < text.size() ? child(here, static_cast<unsigned char>(text[bytes])) : 0;
    }
    return best;
  }

  /// Calls `visit(piece, bytes)` for every string of the set that `text` starts with, shortest
  /// first.
  template <typename Visit> void prefixes(std::string_view text, Visit visit) const {
    uint32_t node = text.empty() ? 0 : roots_[static_cast<unsigned char>(text[0])];
    for (size_t bytes = 1; node != 0; ++bytes) {
      plan::TrieNode here = nodes_[node];
      if (here.piecePlusOne != 0)
        visit(here.piecePlusOne - 1, bytes);
      node = bytes < text.size() ? child(here, static_cast<unsigned char>(text[bytes])) : 0;
    }
  }

private:
  uint32_t child(const plan::TrieNode &node, uint32_t label) const;

  Table<uint32_t> roots_;
  Table<plan::TrieNode> nodes_;
  Table<plan::TrieEdge> edges_;
};

/// Borrows the section's bytes; copies are cheap. All members are safe to call from several
/// threads.
class SectionView {
public:
  /// Errors: kCorrupt (what contradicts itself), kUnsupported (a newer version, an unknown kind).
  static base::Result<SectionView> open(std::span<const std::byte> section);

  const plan::TokenizerHeader &header() const { return header_; }
  bool has(plan::TokenizerFlag flag) const { return (header_.flags & flag) != 0; }
  /// `piece` < header().pieces for these three.
  std::string_view pieceText(uint32_t piece) const {
    uint32_t begin = offsets_[piece];
    return text_.substr(begin, offsets_[piece + 1] - begin);
  }
  plan::PieceType pieceType(uint32_t piece) const { return plan::PieceType{types_[piece]}; }
  /// The byte that a piece of type kByte stands for, from its text "<0x..>".
  unsigned char byteOf(uint32_t piece) const;

  uint32_t bytePiece(unsigned char byte) const { return byteIds_[byte]; }
  /// Symbol of one character, or kNoSymbol. `codepoint` <= 0x10FFFF.
  uint32_t symbolOf(char32_t codepoint) const {
    return codepoints_[size_t{pages_[codepoint >> 8]} * 256 + (codepoint & 255)];
  }
  /// The merge of two symbols; `merged` is kNoSymbol if there is none.
  plan::MergeSlot merge(uint32_t left, uint32_t right) const;
  /// Starts to load what merge(left, right) will look at.
  void prefetchMerge(uint32_t left, uint32_t right) const {
    merges_.prefetch(plan::mergeHash(left, right, header_.mergeSlots));
  }
  /// Whether the vocabulary has pieces of type kUnused.
  bool hasUnused() const { return hasUnused_; }
  /// Whether some piece holds `codepoint` right before U+2581.
  bool mayPrecedeSpace(char32_t codepoint) const;

  const TrieView &userSymbols() const { return user_; }
  const TrieView &rawSymbols() const { return raw_; }
  std::string_view unknownSurface() const { return unknownSurface_; }

private:
  friend class SectionCheck;
  plan::TokenizerHeader header_;
  Table<uint32_t> offsets_;
  std::string_view text_;
  Table<uint8_t> types_;
  Table<uint32_t> byteIds_;
  Table<uint16_t> pages_;
  Table<uint32_t> codepoints_;
  Table<plan::MergeSlot> merges_;
  Table<uint32_t> spacePredecessors_;
  TrieView user_, raw_;
  std::string_view unknownSurface_;
  bool hasUnused_ = false;
};

} // namespace platen::text
