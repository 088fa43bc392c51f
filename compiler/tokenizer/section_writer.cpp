// Lays a TokenizerModel down as the flat tables of runtime/plan/tokenizer_section.h. Everything is
// written in the order of ids, never in the order of a hash table, so equal models give equal
// bytes.
#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/base/utf8.h"

namespace platen::compiler {

using plan::kNoSymbol;

namespace {

constexpr size_t kTableAlignment = 64;
constexpr char32_t kSpaceCodepoint = 0x2581;

class SectionWriter {
public:
  explicit SectionWriter(const TokenizerModel &model) : model_(model) {}

  std::vector<std::byte> run() {
    header_.kind = static_cast<uint32_t>(plan::TokenizerKind::kSentencePieceBpe);
    header_.flags = model_.flags;
    header_.bos = model_.bos, header_.eos = model_.eos;
    header_.unknown = model_.unknown, header_.pad = model_.pad;
    header_.pieces = static_cast<uint32_t>(model_.pieces.size());
    header_.symbols = model_.symbols;
    bytes_.resize(sizeof(header_));
    writePieces();
    writeCharacters();
    writeMerges();
    writeSpacePredecessors();
    writeTrie(model_.userSymbols, plan::kUserRoots);
    writeTrie(model_.rawSymbols, plan::kRawRoots);
    put(plan::kUnknownSurface, model_.unknownSurface);
    std::memcpy(bytes_.data(), &header_, sizeof(header_));
    return std::move(bytes_);
  }

private:
  template <typename Container> void put(plan::TokenizerTable table, const Container &values) {
    bytes_.resize((bytes_.size() + kTableAlignment - 1) / kTableAlignment * kTableAlignment);
    size_t offset = bytes_.size(), size = values.size() * sizeof(values[0]);
    header_.tables[table] = {offset, size};
    bytes_.resize(offset + size);
    if (size > 0)
      std::memcpy(bytes_.data() + offset, values.data(), size);
  }

  void writePieces();
  void writeCharacters();
  void writeMerges();
  void writeSpacePredecessors();
  void writeTrie(const std::vector<uint32_t> &pieces, uint32_t firstTable);

  const TokenizerModel &model_;
  plan::TokenizerHeader header_;
  std::vector<std::byte> bytes_;
};

void SectionWriter::writePieces() {
  std::vector<uint32_t> offsets{0}, byteIds;
  std::string text;
  std::vector<uint8_t> types;
  std::map<std::string_view, uint32_t> bytePieces; // "<0x00>" .. "<0xFF>" sort by their byte
  for (uint32_t id = 0; id < model_.pieces.size(); ++id) {
    const TokenizerPiece &piece = model_.pieces[id];
    text += piece.text;
    offsets.push_back(static_cast<uint32_t>(text.size()));
    types.push_back(static_cast<uint8_t>(piece.type));
    if (piece.type == plan::PieceType::kByte)
      bytePieces.emplace(piece.text, id);
  }
  if ((model_.flags & plan::kByteFallback) != 0)
    for (const auto &[name, id] : bytePieces)
      byteIds.push_back(id);
  put(plan::kPieceOffsets, offsets);
  put(plan::kPieceText, text);
  put(plan::kPieceTypes, types);
  put(plan::kByteIds, byteIds);
}

/// Two levels: 256 characters a page; page 0 is the empty one that all unused ranges share.
void SectionWriter::writeCharacters() {
  std::map<char32_t, uint32_t> ordered(model_.characters.begin(), model_.characters.end());
  std::vector<uint16_t> index(plan::kCodepointPages, 0);
  std::vector<uint32_t> symbols(256, kNoSymbol);
  for (const auto &[codepoint, symbol] : ordered) {
    uint16_t &page = index[codepoint >> 8];
    if (page == 0) {
      page = static_cast<uint16_t>(symbols.size() / 256);
      symbols.resize(symbols.size() + 256, kNoSymbol);
    }
    symbols[size_t{page} * 256 + (codepoint & 255)] = symbol;
  }
  put(plan::kCodepointPageIndex, index);
  put(plan::kCodepointSymbols, symbols);
}

/// Open addressing at two thirds full keeps the longest search short and the table small.
void SectionWriter::writeMerges() {
  auto slots = static_cast<uint32_t>(model_.merges.size() + model_.merges.size() / 2 + 1);
  std::vector<plan::MergeSlot> table(slots);
  header_.mergeSlots = slots;
  for (const TokenizerMerge &merge : model_.merges) {
    uint32_t slot = plan::mergeHash(merge.left, merge.right, slots), probe = 1;
    for (; table[slot].merged != kNoSymbol; ++probe)
      slot = slot + 1 == slots ? 0 : slot + 1;
    table[slot] = {merge.left, merge.right, merge.merged, merge.rank};
    header_.maxProbe = std::max(header_.maxProbe, probe);
  }
  put(plan::kMerges, table);
}

void SectionWriter::writeSpacePredecessors() {
  std::set<uint32_t> found;
  for (const TokenizerMerge &merge : model_.merges) {
    char32_t previous = kSpaceCodepoint;
    for (std::string_view rest = model_.pieces[merge.merged].text; !rest.empty();) {
      base::Utf8Char character = base::decodeUtf8(rest);
      if (character.codepoint == kSpaceCodepoint && previous != kSpaceCodepoint)
        found.insert(previous);
      previous = character.codepoint;
      rest.remove_prefix(character.bytes);
    }
  }
  put(plan::kSpacePredecessors, std::vector<uint32_t>(found.begin(), found.end()));
}

/// Sorted strings make a trie level by level: a node is a range of them that share their first
/// `depth` bytes.
void SectionWriter::writeTrie(const std::vector<uint32_t> &pieces, uint32_t firstTable) {
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<std::pair<std::string_view, uint32_t>> sorted;
  for (uint32_t id : pieces)
    sorted.emplace_back(model_.pieces[id].text, id);
  std::sort(sorted.begin(), sorted.end());
  std::vector<Range> ranges{{0, 0, 0}};
  std::vector<uint32_t> roots(256, 0);
  std::vector<plan::TrieNode> nodes(1);
  std::vector<plan::TrieEdge> edges;
  auto split = [&](Range parent, auto addChild) {
    for (size_t begin = parent.begin, end; begin < parent.end; begin = end) {
      auto label = static_cast<unsigned char>(sorted[begin].first[parent.depth]);
      for (end = begin + 1; end < parent.end; ++end)
        if (static_cast<unsigned char>(sorted[end].first[parent.depth]) != label)
          break;
      addChild(label, static_cast<uint32_t>(ranges.size()));
      ranges.push_back({begin, end, parent.depth + 1});
    }
  };
  split({0, sorted.size(), 0}, [&](unsigned char label, uint32_t node) { roots[label] = node; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    Range range = ranges[i];
    plan::TrieNode node{static_cast<uint32_t>(edges.size()), 0, 0};
    if (sorted[range.begin].first.size() == range.depth)
      node.piecePlusOne = sorted[range.begin++].second + 1;
    split(range, [&](unsigned char label, uint32_t child) { edges.push_back({label, child}); });
    node.edgeCount = static_cast<uint32_t>(edges.size()) - node.firstEdge;
    nodes.push_back(node);
  }
  put(static_cast<plan::TokenizerTable>(firstTable), roots);
  put(static_cast<plan::TokenizerTable>(firstTable + 1), nodes);
  put(static_cast<plan::TokenizerTable>(firstTable + 2), edges);
}

} // namespace

std::vector<std::byte> writeTokenizerSection(const TokenizerModel &model) {
  return SectionWriter(model).run();
}

} // namespace platen::compiler
