// Lays a TokenizerPipeline down as the flat tables of runtime/plan/tokenizer_pipeline.h. Everything
// is written in the order of ids and code points, so equal pipelines give equal bytes.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "compiler/tokenizer/grapheme_classes.h"
#include "compiler/tokenizer/lookup_tables.h"
#include "compiler/tokenizer/pipeline_model.h"
#include "runtime/base/utf8.h"

namespace platen::compiler {

using base::Result;
using base::Status;
using plan::kNoSymbol;

namespace {

constexpr size_t kTableAlignment = 64;
constexpr uint32_t kPageSize = 256;

/// A value for every code point, cut into pages of which equal ones are stored once.
template <typename T> struct PagedMap {
  std::vector<uint16_t> pages;
  std::vector<T> blocks;

  /// Appends the pages of `values`; a map of many is stored one after the other.
  void add(const std::vector<T> &values) {
    for (uint32_t code = 0; code < kCodePoints; code += kPageSize) {
      std::array<T, kPageSize> block;
      std::copy_n(values.begin() + code, kPageSize, block.begin());
      auto [at, isNew] = known_.emplace(block, static_cast<uint16_t>(blocks.size() / kPageSize));
      if (isNew)
        blocks.insert(blocks.end(), block.begin(), block.end());
      pages.push_back(at->second);
    }
  }

private:
  std::map<std::array<T, kPageSize>, uint16_t> known_;
};

class PipelineWriter {
public:
  PipelineWriter(const TokenizerPipeline &from, const std::string &name)
      : from_(from), name_(name) {}

  Result<std::vector<std::byte>> run() {
    header_.kind = static_cast<uint32_t>(plan::TokenizerKind::kPipeline);
    header_.flags = from_.flags;
    header_.bos = from_.bos, header_.eos = from_.eos;
    header_.unknown = from_.unknown, header_.pad = from_.pad;
    header_.pieces = static_cast<uint32_t>(from_.pieces.size());
    header_.model = static_cast<uint32_t>(from_.model);
    header_.maxWordCharacters = from_.maxWordCharacters;
    header_.unknownScore = from_.unknownScore;
    bytes_.resize(sizeof(header_));
    writeSteps();
    writePieces();
    writeVocabulary();
    writeCharacters();
    writeModel();
    PLATEN_RETURN_IF_ERROR(writeTokens(from_.rawTokens, plan::kPipeRawRoots));
    PLATEN_RETURN_IF_ERROR(writeTokens(from_.normalTokens, plan::kPipeNormalRoots));
    writeProperties();
    writePatterns();
    writeMappings();
    writeTemplate();
    PLATEN_RETURN_IF_ERROR(writeCharsMap());
    if (textBytes_ > UINT32_MAX)
      return base::unsupported("the vocabulary is larger than 4 GiB of text", name_);
    std::memcpy(bytes_.data(), &header_, sizeof(header_));
    return std::move(bytes_);
  }

private:
  template <typename Container> void put(uint32_t table, const Container &values) {
    bytes_.resize((bytes_.size() + kTableAlignment - 1) / kTableAlignment * kTableAlignment);
    size_t offset = bytes_.size(), size = values.size() * sizeof(values[0]);
    header_.tables[table] = {offset, size};
    bytes_.resize(offset + size);
    if (size > 0)
      std::memcpy(bytes_.data() + offset, values.data(), size);
  }
  void putTrie(uint32_t first, const Trie &trie) {
    put(first, trie.roots);
    put(first + 1, trie.nodes);
    put(first + 2, trie.edges);
  }
  bool isModel(plan::PipelineModel model) const { return from_.model == model; }

  void writeSteps();
  void writePieces();
  void writeVocabulary();
  void writeCharacters();
  void writeModel();
  Status writeTokens(const std::vector<uint32_t> &tokens, uint32_t firstTable);
  void writeProperties();
  void writePatterns();
  void writeMappings();
  void writeCombining();
  void writeTemplate();
  Status writeCharsMap();

  const TokenizerPipeline &from_;
  const std::string &name_;
  plan::PipelineHeader header_;
  std::vector<std::byte> bytes_;
  uint64_t textBytes_ = 0;
};

void PipelineWriter::writeSteps() {
  std::vector<plan::PipelineRecord> all = from_.normalizers;
  all.insert(all.end(), from_.preTokenizers.begin(), from_.preTokenizers.end());
  all.insert(all.end(), from_.decoders.begin(), from_.decoders.end());
  header_.normalizers = static_cast<uint32_t>(from_.normalizers.size());
  header_.preTokenizers = static_cast<uint32_t>(from_.preTokenizers.size());
  header_.decoders = static_cast<uint32_t>(from_.decoders.size());
  header_.wordPrefix = static_cast<uint32_t>(from_.strings.size());
  header_.wordPrefixBytes = static_cast<uint32_t>(from_.wordPrefix.size());
  put(plan::kPipeSteps, all);
  put(plan::kPipeStrings, from_.strings + from_.wordPrefix);
}

void PipelineWriter::writePieces() {
  std::vector<uint32_t> offsets{0};
  std::string text;
  std::vector<uint8_t> flags;
  for (const PipelinePiece &piece : from_.pieces) {
    text += piece.text;
    textBytes_ += piece.text.size();
    offsets.push_back(static_cast<uint32_t>(text.size()));
    flags.push_back(piece.flags);
  }
  put(plan::kPipePieceOffsets, offsets);
  put(plan::kPipePieceText, text);
  put(plan::kPipePieceFlags, flags);
}

/// Whole words, where the model looks them up.
void PipelineWriter::writeVocabulary() {
  bool needed = !isModel(plan::PipelineModel::kBpe) || (from_.flags & plan::kPipeIgnoreMerges) != 0;
  auto slots = static_cast<uint32_t>(needed ? from_.pieces.size() * 2 + 1 : 0);
  std::vector<uint32_t> table(slots, kNoSymbol);
  for (uint32_t id = 0; id < from_.pieces.size() && needed; ++id) {
    if (!from_.pieces[id].inModel)
      continue;
    uint64_t hash = plan::textHash(from_.pieces[id].text);
    auto slot = static_cast<uint32_t>((hash * slots) >> 32);
    uint32_t probe = 1;
    for (; table[slot] != kNoSymbol; ++probe)
      slot = slot + 1 == slots ? 0 : slot + 1;
    table[slot] = id;
    header_.maxVocabularyProbe = std::max(header_.maxVocabularyProbe, probe);
  }
  header_.vocabularySlots = slots;
  put(plan::kPipeVocabulary, table);
}

/// Pieces of one character, and "<0x..>".
void PipelineWriter::writeCharacters() {
  std::map<char32_t, uint32_t> characters;
  std::map<std::string_view, uint32_t> byText;
  for (uint32_t id = 0; id < from_.pieces.size(); ++id) {
    const PipelinePiece &piece = from_.pieces[id];
    base::Utf8Char first = base::decodeUtf8(piece.text);
    if (piece.inModel && first.bytes > 0 && first.bytes == piece.text.size())
      characters[first.codepoint] = id;
    if (piece.inModel && piece.text.size() == 6 && piece.text.starts_with("<0x"))
      byText[piece.text] = id;
  }
  CharacterTable table = buildCharacters(characters);
  put(plan::kPipeCodepointPages, table.pages);
  put(plan::kPipeCodepointSymbols, table.symbols);
  std::vector<uint32_t> bytes;
  constexpr char kHex[] = "0123456789ABCDEF";
  for (uint32_t byte = 0; byte < 256 && (from_.flags & plan::kPipeByteFallback) != 0; ++byte) {
    std::string text = std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">";
    auto found = byText.find(text);
    bytes.push_back(found == byText.end() ? kNoSymbol : found->second);
  }
  put(plan::kPipeByteIds, bytes);
}

void PipelineWriter::writeModel() {
  MergeTable merges = buildMerges(from_.merges);
  header_.mergeSlots = static_cast<uint32_t>(merges.slots.size());
  header_.maxMergeProbe = merges.maxProbe;
  put(plan::kPipeMerges, merges.slots);
  std::vector<double> scores;
  std::vector<std::pair<std::string_view, uint32_t>> texts;
  if (isModel(plan::PipelineModel::kUnigram)) {
    for (uint32_t id = 0; id < from_.pieces.size(); ++id) {
      scores.push_back(from_.pieces[id].score);
      if (from_.pieces[id].inModel && !from_.pieces[id].text.empty())
        texts.emplace_back(from_.pieces[id].text, id);
    }
  }
  put(plan::kPipeScores, scores);
  putTrie(plan::kPipeModelRoots, buildTrie(std::move(texts)));
}

/// Added tokens; those of kPipeNormalRoots are matched in the form that normalisation gives them.
Status PipelineWriter::writeTokens(const std::vector<uint32_t> &tokens, uint32_t firstTable) {
  std::vector<std::pair<std::string_view, uint32_t>> texts;
  std::map<std::string_view, uint32_t> known;
  for (uint32_t id : tokens) {
    std::string_view text = from_.pieces[id].text;
    if (text.empty())
      continue;
    if (!known.emplace(text, id).second)
      return base::unsupported(
          "two added tokens are '" + std::string(text) + "' once they are normalised", name_);
    texts.emplace_back(text, id);
  }
  putTrie(firstTable, buildTrie(std::move(texts)));
  return Status::ok();
}

void PipelineWriter::writeProperties() {
  PagedMap<uint16_t> map;
  if (!from_.properties.empty()) {
    std::vector<uint16_t> bits(kCodePoints, 0);
    for (const PropertySet &property : from_.properties)
      for (auto [first, last] : property.set.ranges())
        for (uint32_t code = first; code <= last; ++code)
          bits[code] |= static_cast<uint16_t>(property.bits);
    map.add(bits);
  }
  put(plan::kPipePropertyPages, map.pages);
  put(plan::kPipePropertyBlocks, map.blocks);
  PagedMap<uint8_t> clusters;
  if (from_.clusters)
    clusters.add(graphemeClasses());
  put(plan::kPipeGraphemePages, clusters.pages);
  put(plan::kPipeGraphemeBlocks, clusters.blocks);
}

void PipelineWriter::writePatterns() {
  std::vector<plan::AutomatonHead> heads;
  std::vector<uint16_t> transitions, pages;
  std::vector<uint8_t> blocks;
  for (const CompiledPattern &pattern : from_.patterns) {
    heads.push_back({pattern.states, pattern.classes, static_cast<uint32_t>(transitions.size()),
                     static_cast<uint32_t>(blocks.size() / kPageSize),
                     static_cast<uint32_t>(pattern.blocks.size())});
    transitions.insert(transitions.end(), pattern.transitions.begin(), pattern.transitions.end());
    pages.insert(pages.end(), pattern.pages.begin(), pattern.pages.end());
    for (const auto &block : pattern.blocks)
      blocks.insert(blocks.end(), block.begin(), block.end());
  }
  put(plan::kPipeAutomata, heads);
  put(plan::kPipeTransitions, transitions);
  put(plan::kPipeClassPages, pages);
  put(plan::kPipeClassBlocks, blocks);
}

void PipelineWriter::writeMappings() {
  PagedMap<uint32_t> map;
  std::vector<uint32_t> pool;
  for (Mapping mapping : from_.mappings) {
    std::vector<uint32_t> entries(kCodePoints, 0);
    forEachMapping(mapping, [&](uint32_t code, const uint32_t *to, uint32_t count) {
      pool.push_back(count);
      entries[code] = static_cast<uint32_t>(pool.size());
      pool.insert(pool.end(), to, to + count);
    });
    map.add(entries);
  }
  put(plan::kPipeMappingPages, map.pages);
  put(plan::kPipeMappingBlocks, map.blocks);
  put(plan::kPipeMappingPool, pool);
  writeCombining();
}

/// What ordering and composing need, if there is anything to order.
void PipelineWriter::writeCombining() {
  PagedMap<uint8_t> combining;
  std::vector<plan::CompositionRecord> compositions;
  bool decomposes = std::any_of(from_.mappings.begin(), from_.mappings.end(),
                                [](Mapping mapping) { return mapping != Mapping::kLower; });
  if (decomposes) {
    std::vector<uint8_t> classes(kCodePoints, 0);
    forEachCombiningClass([&](uint32_t code, uint8_t value) { classes[code] = value; });
    combining.add(classes);
  }
  if (from_.composes)
    forEachComposition([&](uint32_t first, uint32_t second, uint32_t composed) {
      compositions.push_back({first, second, composed});
    });
  put(plan::kPipeCombiningPages, combining.pages);
  put(plan::kPipeCombiningBlocks, combining.blocks);
  put(plan::kPipeCompositions, compositions);
}

void PipelineWriter::writeTemplate() {
  std::vector<uint32_t> ids;
  auto add = [&](const std::vector<uint32_t> &part) {
    ids.insert(ids.end(), part.begin(), part.end());
    return static_cast<uint32_t>(part.size());
  };
  header_.before = add(from_.before), header_.after = add(from_.after);
  header_.pairBefore = add(from_.pairBefore);
  header_.pairBetween = add(from_.pairBetween);
  header_.pairAfter = add(from_.pairAfter);
  put(plan::kPipeTemplate, ids);
}

/// u32 bytes of the double array, the array, the replacements.
Status PipelineWriter::writeCharsMap() {
  uint32_t size = 0;
  std::string_view units, texts;
  if (!from_.charsMap.empty()) {
    if (from_.charsMap.size() >= sizeof(size))
      std::memcpy(&size, from_.charsMap.data(), sizeof(size));
    if (size == 0 || size % 4 != 0 || size > from_.charsMap.size() - sizeof(size))
      return base::corrupt("has a precompiled_charsmap that is cut short", name_);
    units = std::string_view(from_.charsMap).substr(sizeof(size), size);
    texts = std::string_view(from_.charsMap).substr(sizeof(size) + size);
    if (!base::isValidUtf8(texts))
      return base::corrupt("has a precompiled_charsmap whose replacements are no UTF-8", name_);
  }
  put(plan::kPipeCharsMapUnits, units);
  put(plan::kPipeCharsMapText, texts);
  return Status::ok();
}

} // namespace

Result<std::vector<std::byte>> writePipelineSection(const TokenizerPipeline &pipeline,
                                                    const std::string &name) {
  return PipelineWriter(pipeline, name).run();
}

} // namespace platen::compiler
