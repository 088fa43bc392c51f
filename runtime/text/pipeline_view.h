// Reads the tables of a tokenizer section of kind "pipeline" in place.
//
// open() checks every offset, count and index once, so that the lookups below need no checks:
// whatever the bytes say, no lookup reads outside the section or runs without end.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/utf8.h"
#include "runtime/plan/tokenizer_pipeline.h"
#include "runtime/text/section_view.h"

namespace platen::text {

/// A value for every code point, in pages of 256. Without pages every value is 0.
template <typename T> class CodepointMap {
public:
  CodepointMap() = default;
  CodepointMap(Table<uint16_t> pages, Table<T> blocks) : pages_(pages), blocks_(blocks) {}
  T operator[](char32_t code) const {
    return pages_.size() == 0 ? T{} : blocks_[size_t{pages_[code >> 8]} * 256 + (code & 255)];
  }

private:
  Table<uint16_t> pages_;
  Table<T> blocks_;
};

/// A regular expression; see plan::AutomatonHead.
class AutomatonView {
public:
  AutomatonView() = default;
  AutomatonView(Table<uint16_t> transitions, size_t first, uint32_t classes,
                CodepointMap<uint8_t> map)
      : transitions_(transitions), first_(first), classes_(classes), map_(map) {}
  /// Bytes of the match at the start of `text`, which is valid UTF-8; 0: none.
  size_t match(std::string_view text) const {
    uint32_t state = 1;
    size_t best = 0;
    for (size_t at = 0;;) {
      base::Utf8Char c = base::decodeUtf8(text.substr(at));
      uint32_t cls = at < text.size() ? map_[c.codepoint] : 0;
      uint16_t entry = transitions_[first_ + size_t{state} * classes_ + cls];
      if ((entry & plan::kAutomatonMatch) != 0)
        best = at;
      state = entry & ~uint32_t{plan::kAutomatonMatch};
      if (state == 0 || at >= text.size())
        return best;
      at += c.bytes == 0 ? 1 : c.bytes;
    }
  }

private:
  Table<uint16_t> transitions_;
  size_t first_ = 0;
  uint32_t classes_ = 0;
  CodepointMap<uint8_t> map_;
};

/// Borrows the section's bytes. All members are safe to call from several threads.
class PipelineView {
public:
  /// Errors: kCorrupt (what contradicts itself), kUnsupported (a newer version, an unknown step).
  static base::Result<PipelineView> open(std::span<const std::byte> section);

  const plan::PipelineHeader &header() const { return header_; }
  bool has(plan::PipelineFlag flag) const { return (header_.flags & flag) != 0; }
  std::span<const plan::PipelineRecord> normalizers() const {
    return std::span(steps_).first(header_.normalizers);
  }
  std::span<const plan::PipelineRecord> preTokenizers() const {
    return std::span(steps_).subspan(header_.normalizers, header_.preTokenizers);
  }
  std::span<const plan::PipelineRecord> decoders() const {
    return std::span(steps_).subspan(header_.normalizers + header_.preTokenizers);
  }
  /// Of a record that open() accepted.
  std::string_view string(uint32_t offset, uint32_t bytes) const {
    return strings_.substr(offset, bytes);
  }

  /// `piece` < header().pieces for these.
  std::string_view pieceText(uint32_t piece) const {
    uint32_t begin = offsets_[piece];
    return text_.substr(begin, offsets_[piece + 1] - begin);
  }
  bool pieceIs(uint32_t piece, plan::PipelinePieceFlag flag) const {
    return (pieceFlags_[piece] & flag) != 0;
  }
  double score(uint32_t piece) const { return scores_[piece]; }

  /// The model's piece of exactly this text, or kNoSymbol.
  uint32_t find(std::string_view text) const;
  uint32_t symbolOf(char32_t code) const {
    return codepointPages_.size() == 0
               ? plan::kNoSymbol
               : codepoints_[size_t{codepointPages_[code >> 8]} * 256 + (code & 255)];
  }
  uint32_t bytePiece(unsigned char byte) const { return byteIds_[byte]; }
  plan::MergeSlot merge(uint32_t left, uint32_t right) const;
  void prefetchMerge(uint32_t left, uint32_t right) const {
    merges_.prefetch(plan::mergeHash(left, right, header_.mergeSlots));
  }

  const TrieView &modelTrie() const { return model_; }
  const TrieView &rawTokens() const { return raw_; }
  const TrieView &normalTokens() const { return normal_; }
  uint16_t properties(char32_t code) const { return properties_[code]; }
  uint8_t grapheme(char32_t code) const { return graphemes_[code]; }
  const AutomatonView &automaton(uint32_t index) const { return automata_[index]; }
  /// What mapping `index` makes of a character; `count` 0: the character stays.
  struct Mapped {
    size_t place = 0;
    uint32_t count = 0;
  };
  Mapped mapped(uint32_t index, char32_t code) const {
    uint32_t entry =
        mappingBlocks_[size_t{mappingPages_[size_t{index} * plan::kCodepointPages + (code >> 8)]} *
                           256 +
                       (code & 255)];
    return entry == 0 ? Mapped{} : Mapped{entry, mappingPool_[entry - 1]};
  }
  char32_t mappedAt(size_t place) const { return mappingPool_[place]; }
  uint8_t combiningClass(char32_t code) const { return combining_[code]; }
  /// The character that two compose to, or 0.
  char32_t compose(char32_t first, char32_t second) const;

  /// Ids that the template puts at place `index` of kPipeTemplate.
  int32_t templateId(size_t index) const { return template_[index]; }
  /// Replacement of the shortest prefix of `text` that the characters map has.
  bool charsMap(std::string_view text, std::string_view &to) const;

private:
  friend class PipelineCheck;
  plan::PipelineHeader header_;
  std::vector<plan::PipelineRecord> steps_;
  std::string_view strings_, text_, charsMapText_;
  Table<uint32_t> offsets_, vocabulary_, codepoints_, byteIds_, mappingBlocks_, mappingPool_,
      charsMapUnits_;
  Table<uint8_t> pieceFlags_;
  Table<uint16_t> codepointPages_, mappingPages_;
  Table<plan::MergeSlot> merges_;
  Table<double> scores_;
  TrieView model_, raw_, normal_;
  CodepointMap<uint16_t> properties_;
  CodepointMap<uint8_t> graphemes_, combining_;
  std::vector<AutomatonView> automata_;
  Table<plan::CompositionRecord> compositions_;
  Table<int32_t> template_;
};

} // namespace platen::text
