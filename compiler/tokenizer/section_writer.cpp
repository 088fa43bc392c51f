// Lays a TokenizerModel down as the flat tables of runtime/plan/tokenizer_section.h. Everything is
// written in the order of ids, never in the order of a hash table, so equal models give equal
// bytes.
#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "compiler/tokenizer/lookup_tables.h"
#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/base/utf8.h"

namespace platen::compiler {

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

void SectionWriter::writeCharacters() {
  CharacterTable table = buildCharacters({model_.characters.begin(), model_.characters.end()});
  put(plan::kCodepointPageIndex, table.pages);
  put(plan::kCodepointSymbols, table.symbols);
}

void SectionWriter::writeMerges() {
  MergeTable table = buildMerges(model_.merges);
  header_.mergeSlots = static_cast<uint32_t>(table.slots.size());
  header_.maxProbe = table.maxProbe;
  put(plan::kMerges, table.slots);
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

void SectionWriter::writeTrie(const std::vector<uint32_t> &pieces, uint32_t firstTable) {
  std::vector<std::pair<std::string_view, uint32_t>> strings;
  for (uint32_t id : pieces)
    strings.emplace_back(model_.pieces[id].text, id);
  Trie trie = buildTrie(std::move(strings));
  put(static_cast<plan::TokenizerTable>(firstTable), trie.roots);
  put(static_cast<plan::TokenizerTable>(firstTable + 1), trie.nodes);
  put(static_cast<plan::TokenizerTable>(firstTable + 2), trie.edges);
}

} // namespace

std::vector<std::byte> writeTokenizerSection(const TokenizerModel &model) {
  return SectionWriter(model).run();
}

} // namespace platen::compiler
