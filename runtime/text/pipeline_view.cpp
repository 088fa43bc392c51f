// Checks a pipeline section table by table, then serves lookups from it. Only the few step records
// are copied.
#include "runtime/text/pipeline_view.h"

#include <string>

namespace platen::text {

using base::Result;
using base::Status;
using plan::kNoSymbol;
using plan::PipelineRecord;
using plan::PipelineStep;

namespace {

/// Longest chain of slots that a well-made table needs; more is one that wants to waste time.
constexpr uint32_t kMaxProbeLimit = 4096;
/// Steps of one tokenizer; real ones have a handful.
constexpr uint32_t kMaxSteps = 64;
constexpr uint32_t kMaxTemplate = 64;
/// Characters that one may become, and bytes that may replace something: no section makes a text
/// much longer than it was.
constexpr uint32_t kMaxMapped = 32, kMaxReplacement = 64;
constexpr uint32_t kMaxWordCharacters = 1000;

Status damaged(std::string message) {
  return base::corrupt(message + "; the plan is damaged, compile it again", "tokenizer section");
}

uint32_t code(PipelineStep step) { return static_cast<uint32_t>(step); }

} // namespace

/// The checks of PipelineView::open, one function a group of tables.
class PipelineCheck {
public:
  PipelineCheck(std::span<const std::byte> section, PipelineView &view)
      : section_(section), view_(view), header_(view.header_) {}

  Status run() {
    PLATEN_RETURN_IF_ERROR(header());
    PLATEN_RETURN_IF_ERROR(pieces());
    PLATEN_RETURN_IF_ERROR(model());
    PLATEN_RETURN_IF_ERROR(trie(plan::kPipeRawRoots, view_.raw_));
    PLATEN_RETURN_IF_ERROR(trie(plan::kPipeNormalRoots, view_.normal_));
    PLATEN_RETURN_IF_ERROR(map(plan::kPipePropertyPages, view_.properties_));
    PLATEN_RETURN_IF_ERROR(map(plan::kPipeGraphemePages, view_.graphemes_));
    PLATEN_RETURN_IF_ERROR(map(plan::kPipeCombiningPages, view_.combining_));
    PLATEN_RETURN_IF_ERROR(automata());
    PLATEN_RETURN_IF_ERROR(mappings());
    PLATEN_RETURN_IF_ERROR(table(plan::kPipeCharsMapUnits, view_.charsMapUnits_));
    PLATEN_RETURN_IF_ERROR(textTable(plan::kPipeCharsMapText, view_.charsMapText_));
    PLATEN_RETURN_IF_ERROR(templates());
    return steps();
  }

private:
  Status header();
  Status pieces();
  Status model();
  Status vocabulary();
  Status characters();
  Status trie(uint32_t first, TrieView &out);
  Status automata();
  Status mappings();
  Status templates();
  Status steps();
  Status step(const PipelineRecord &record, uint32_t first, uint32_t last);

  template <typename T> Status table(uint32_t index, Table<T> &out) const {
    plan::TokenizerExtent extent = header_.tables[index];
    if (extent.offset > section_.size() || extent.bytes > section_.size() - extent.offset)
      return damaged("table " + std::to_string(index) + " lies outside the section of " +
                     std::to_string(section_.size()) + " bytes");
    if (extent.bytes % sizeof(T) != 0)
      return damaged("table " + std::to_string(index) + " has a broken last element");
    out = {section_.data() + extent.offset, static_cast<size_t>(extent.bytes / sizeof(T))};
    return Status::ok();
  }
  template <typename T> Status table(uint32_t index, size_t count, Table<T> &out) const {
    PLATEN_RETURN_IF_ERROR(table(index, out));
    return out.size() == count
               ? Status::ok()
               : damaged("table " + std::to_string(index) + " has " + std::to_string(out.size()) +
                         " elements, not " + std::to_string(count));
  }
  Status textTable(uint32_t index, std::string_view &out) const {
    Table<char> characters;
    PLATEN_RETURN_IF_ERROR(table(index, characters));
    plan::TokenizerExtent extent = header_.tables[index];
    out = {reinterpret_cast<const char *>(section_.data() + extent.offset),
           static_cast<size_t>(extent.bytes)};
    return Status::ok();
  }
  /// Every page of `pages` lies inside `blocks`.
  template <typename T>
  Status checkPages(const Table<uint16_t> &pages, const Table<T> &blocks) const {
    size_t count = blocks.size() / 256;
    bool inside = true;
    for (size_t i = 0; i < pages.size(); ++i)
      inside &= pages[i] < count;
    return inside ? Status::ok() : damaged("has a character page that is not there");
  }
  /// A map that may be absent: no pages.
  template <typename T> Status map(uint32_t first, CodepointMap<T> &out) const {
    Table<uint16_t> pages;
    Table<T> blocks;
    PLATEN_RETURN_IF_ERROR(table(first, pages));
    PLATEN_RETURN_IF_ERROR(table(first + 1, blocks));
    if (pages.size() != 0 && pages.size() != plan::kCodepointPages)
      return damaged("has a character map of " + std::to_string(pages.size()) + " pages");
    out = {pages, blocks};
    return checkPages(pages, blocks);
  }

  std::span<const std::byte> section_;
  PipelineView &view_;
  plan::PipelineHeader &header_;
  size_t mappingCount_ = 0;
};

Status PipelineCheck::header() {
  if (section_.size() < sizeof(header_))
    return damaged("has " + std::to_string(section_.size()) + " bytes, less than its header");
  std::memcpy(&header_, section_.data(), sizeof(header_));
  if (header_.magic != plan::kTokenizerMagic)
    return damaged("does not start with the mark of a tokenizer section");
  if (header_.version != plan::kTokenizerVersion)
    return base::unsupported(
        "version " + std::to_string(header_.version) + ", this runtime reads version " +
            std::to_string(plan::kTokenizerVersion) + "; compile the plan again",
        "tokenizer section");
  if (header_.kind != static_cast<uint32_t>(plan::TokenizerKind::kPipeline))
    return base::unsupported("tokenizer kind " + std::to_string(header_.kind) +
                                 " is not known to this runtime",
                             "tokenizer section");
  if (header_.model < 1 || header_.model > 4)
    return base::unsupported("tokenizer model " + std::to_string(header_.model) +
                                 " is not known to this runtime",
                             "tokenizer section");
  if (header_.pieces == 0 || header_.pieces > INT32_MAX)
    return damaged("has an impossible count of pieces");
  auto pieces = static_cast<int32_t>(header_.pieces);
  for (int32_t id : {header_.bos, header_.eos, header_.unknown, header_.pad})
    if (id < -1 || id >= pieces)
      return damaged("names special piece " + std::to_string(id) + " of " + std::to_string(pieces));
  return Status::ok();
}

Status PipelineCheck::pieces() {
  PLATEN_RETURN_IF_ERROR(
      table(plan::kPipePieceOffsets, size_t{header_.pieces} + 1, view_.offsets_));
  PLATEN_RETURN_IF_ERROR(textTable(plan::kPipePieceText, view_.text_));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipePieceFlags, header_.pieces, view_.pieceFlags_));
  bool ascending = true;
  for (uint32_t i = 0; i < header_.pieces; ++i)
    ascending &= view_.offsets_[i] <= view_.offsets_[i + 1];
  return ascending && view_.offsets_[header_.pieces] <= view_.text_.size()
             ? Status::ok()
             : damaged("has piece offsets that do not ascend inside the piece text");
}

Status PipelineCheck::model() {
  auto kind = static_cast<plan::PipelineModel>(header_.model);
  PLATEN_RETURN_IF_ERROR(vocabulary());
  PLATEN_RETURN_IF_ERROR(characters());
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeMerges, header_.mergeSlots, view_.merges_));
  if (header_.mergeSlots == 0 || header_.maxMergeProbe > header_.mergeSlots ||
      header_.maxMergeProbe > kMaxProbeLimit)
    return damaged("has an impossible merge table");
  bool inside = true;
  for (size_t i = 0; i < view_.merges_.size(); ++i) {
    uint32_t merged = view_.merges_[i].merged;
    inside &= merged == kNoSymbol || merged < header_.pieces;
  }
  if (!inside)
    return damaged("has a merge of symbols that do not exist");
  bool unigram = kind == plan::PipelineModel::kUnigram;
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeScores, unigram ? header_.pieces : 0, view_.scores_));
  PLATEN_RETURN_IF_ERROR(trie(plan::kPipeModelRoots, view_.model_));
  if (unigram && header_.unknown < 0)
    return damaged("has a unigram model without an unknown piece");
  // Words that are no pieces need something to become.
  bool words = kind == plan::PipelineModel::kWordPiece || kind == plan::PipelineModel::kWordLevel;
  if (words && header_.unknown < 0)
    return damaged("has a model of words without an unknown piece");
  if (header_.maxWordCharacters > kMaxWordCharacters)
    return damaged("has words of " + std::to_string(header_.maxWordCharacters) + " characters");
  if (uint64_t{header_.wordPrefix} + header_.wordPrefixBytes >
      header_.tables[plan::kPipeStrings].bytes)
    return damaged("has a word prefix outside its strings");
  return Status::ok();
}

Status PipelineCheck::vocabulary() {
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeVocabulary, header_.vocabularySlots, view_.vocabulary_));
  if (header_.maxVocabularyProbe > header_.vocabularySlots ||
      header_.maxVocabularyProbe > kMaxProbeLimit)
    return damaged("has an impossible table of words");
  bool inside = true;
  for (size_t i = 0; i < view_.vocabulary_.size(); ++i)
    inside &= view_.vocabulary_[i] == kNoSymbol || view_.vocabulary_[i] < header_.pieces;
  return inside ? Status::ok() : damaged("has a word that is no piece");
}

Status PipelineCheck::characters() {
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeCodepointPages, view_.codepointPages_));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeCodepointSymbols, view_.codepoints_));
  if (view_.codepointPages_.size() != 0 && view_.codepointPages_.size() != plan::kCodepointPages)
    return damaged("has an impossible table of characters");
  PLATEN_RETURN_IF_ERROR(checkPages(view_.codepointPages_, view_.codepoints_));
  bool inside = true;
  for (size_t i = 0; i < view_.codepoints_.size(); ++i)
    inside &= view_.codepoints_[i] == kNoSymbol || view_.codepoints_[i] < header_.pieces;
  bool bytes = view_.has(plan::kPipeByteFallback);
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeByteIds, bytes ? 256 : 0, view_.byteIds_));
  for (size_t i = 0; i < view_.byteIds_.size(); ++i)
    inside &= view_.byteIds_[i] == kNoSymbol || view_.byteIds_[i] < header_.pieces;
  return inside ? Status::ok() : damaged("gives a character a piece that does not exist");
}

Status PipelineCheck::trie(uint32_t first, TrieView &out) {
  Table<uint32_t> roots;
  Table<plan::TrieNode> nodes;
  Table<plan::TrieEdge> edges;
  PLATEN_RETURN_IF_ERROR(table(first, 256, roots));
  PLATEN_RETURN_IF_ERROR(table(first + 1, nodes));
  PLATEN_RETURN_IF_ERROR(table(first + 2, edges));
  bool inside = true;
  for (size_t i = 0; i < roots.size(); ++i)
    inside &= roots[i] == 0 || roots[i] < nodes.size();
  for (size_t i = 0; i < nodes.size(); ++i)
    inside &= uint64_t{nodes[i].firstEdge} + nodes[i].edgeCount <= edges.size() &&
              nodes[i].piecePlusOne <= header_.pieces;
  for (size_t i = 0; i < edges.size(); ++i)
    inside &= edges[i].node < nodes.size();
  out = {roots, nodes, edges};
  return inside ? Status::ok() : damaged("has a trie that points outside itself");
}

Status PipelineCheck::automata() {
  Table<plan::AutomatonHead> heads;
  Table<uint16_t> transitions, pages;
  Table<uint8_t> blocks;
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeAutomata, heads));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeTransitions, transitions));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeClassPages, heads.size() * plan::kCodepointPages, pages));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeClassBlocks, blocks));
  const std::byte *pageData = section_.data() + header_.tables[plan::kPipeClassPages].offset;
  const std::byte *blockData = section_.data() + header_.tables[plan::kPipeClassBlocks].offset;
  for (size_t i = 0; i < heads.size() && i < kMaxSteps; ++i) {
    plan::AutomatonHead head = heads[i];
    uint64_t entries = uint64_t{head.states} * head.classes;
    if (head.states < 2 || head.states >= plan::kAutomatonMatch || head.classes == 0 ||
        head.firstTransition + entries > transitions.size() ||
        (uint64_t{head.firstBlock} + head.blocks) * 256 > blocks.size())
      return damaged("has a pattern that does not fit its tables");
    bool inside = true;
    for (size_t t = 0; t < entries; ++t)
      inside &=
          (transitions[head.firstTransition + t] & ~uint32_t{plan::kAutomatonMatch}) < head.states;
    Table<uint8_t> own(blockData + size_t{head.firstBlock} * 256, size_t{head.blocks} * 256);
    for (size_t b = 0; b < own.size(); ++b)
      inside &= own[b] < head.classes;
    Table<uint16_t> ownPages(pageData + i * plan::kCodepointPages * sizeof(uint16_t),
                             plan::kCodepointPages);
    PLATEN_RETURN_IF_ERROR(checkPages(ownPages, own));
    if (!inside)
      return damaged("has a pattern that leaves its states");
    view_.automata_.emplace_back(transitions, head.firstTransition, head.classes,
                                 CodepointMap<uint8_t>(ownPages, own));
  }
  return Status::ok();
}

Status PipelineCheck::mappings() {
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeMappingPages, view_.mappingPages_));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeMappingBlocks, view_.mappingBlocks_));
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeMappingPool, view_.mappingPool_));
  PLATEN_RETURN_IF_ERROR(checkPages(view_.mappingPages_, view_.mappingBlocks_));
  mappingCount_ = view_.mappingPages_.size() / plan::kCodepointPages;
  bool inside = true;
  size_t pool = view_.mappingPool_.size();
  for (size_t i = 0; i < view_.mappingBlocks_.size(); ++i) {
    uint32_t entry = view_.mappingBlocks_[i];
    inside &= entry == 0 || (entry <= pool && view_.mappingPool_[entry - 1] <= pool - entry &&
                             view_.mappingPool_[entry - 1] <= kMaxMapped);
  }
  for (size_t i = 0; i < pool; ++i)
    inside &= view_.mappingPool_[i] < 0x110000;
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeCompositions, view_.compositions_));
  for (size_t i = 0; i < view_.compositions_.size(); ++i)
    inside &= view_.compositions_[i].composed < 0x110000;
  return inside ? Status::ok() : damaged("has a mapping of characters that leads nowhere");
}

Status PipelineCheck::templates() {
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeTemplate, view_.template_));
  uint64_t count = 0;
  for (uint32_t part :
       {header_.before, header_.after, header_.pairBefore, header_.pairBetween, header_.pairAfter})
    count += part;
  bool inside = count == view_.template_.size() && count <= kMaxTemplate;
  for (size_t i = 0; i < view_.template_.size(); ++i)
    inside &= view_.template_[i] >= 0 && static_cast<uint32_t>(view_.template_[i]) < header_.pieces;
  return inside ? Status::ok() : damaged("has a template of pieces that do not exist");
}

Status PipelineCheck::steps() {
  Table<PipelineRecord> records;
  PLATEN_RETURN_IF_ERROR(table(plan::kPipeSteps, records));
  PLATEN_RETURN_IF_ERROR(textTable(plan::kPipeStrings, view_.strings_));
  uint64_t count = uint64_t{header_.normalizers} + header_.preTokenizers + header_.decoders;
  if (count != records.size() || count > kMaxSteps)
    return damaged("has an impossible count of steps");
  for (size_t i = 0; i < records.size(); ++i) {
    bool normalizer = i < header_.normalizers;
    bool decoder = i >= size_t{header_.normalizers} + header_.preTokenizers;
    uint32_t first = normalizer ? 1
                     : decoder  ? code(PipelineStep::kDecodeReplace)
                                : code(PipelineStep::kSplitText);
    uint32_t last = normalizer ? code(PipelineStep::kCharsMap)
                    : decoder  ? code(PipelineStep::kDecodeSpaces)
                               : code(PipelineStep::kMetaspace);
    PLATEN_RETURN_IF_ERROR(step(records[i], first, last));
    view_.steps_.push_back(records[i]);
  }
  return Status::ok();
}

/// `record` is one of the steps `first` to `last` and its operands exist.
Status PipelineCheck::step(const PipelineRecord &record, uint32_t first, uint32_t last) {
  uint32_t number = code(record.step);
  bool both =
      record.step == PipelineStep::kByteCharacters && first != code(PipelineStep::kDecodeReplace);
  if ((number < first || number > last) && !both)
    return base::unsupported("step " + std::to_string(number) + " is not known to this runtime",
                             "tokenizer section");
  uint64_t a = record.a, b = record.b, c = record.c, bytes = view_.strings_.size();
  bool fits = true;
  switch (record.step) {
  case PipelineStep::kDecompose:
  case PipelineStep::kMapCharacters:
    fits = a < mappingCount_;
    break;
  case PipelineStep::kReplaceText:
  case PipelineStep::kDecodeReplace:
    fits = b > 0 && c <= kMaxReplacement && a + b + c <= bytes;
    break;
  case PipelineStep::kReplaceMatch:
    fits = a < view_.automata_.size() && c <= kMaxReplacement && b + c <= bytes;
    break;
  case PipelineStep::kSplitMatch:
    fits = a < view_.automata_.size();
    break;
  case PipelineStep::kSplitText:
  case PipelineStep::kMetaspace:
  case PipelineStep::kDecodeMetaspace:
  case PipelineStep::kDecodeSuffix:
  case PipelineStep::kDecodeStrip:
    fits = b > 0 && b <= kMaxReplacement && a + b <= bytes;
    break;
  case PipelineStep::kPrepend:
  case PipelineStep::kDecodeWordPiece:
    fits = b <= kMaxReplacement && a + b <= bytes;
    break;
  default:
    break;
  }
  return fits ? Status::ok()
              : damaged("has step " + std::to_string(number) + " without its operands");
}

Result<PipelineView> PipelineView::open(std::span<const std::byte> section) {
  PipelineView view;
  PLATEN_RETURN_IF_ERROR(PipelineCheck(section, view).run());
  return view;
}

uint32_t PipelineView::find(std::string_view text) const {
  uint32_t slots = header_.vocabularySlots;
  if (slots == 0)
    return kNoSymbol;
  uint32_t index = static_cast<uint32_t>((uint64_t{plan::textHash(text)} * slots) >> 32);
  for (uint32_t probe = 0; probe < header_.maxVocabularyProbe; ++probe) {
    uint32_t piece = vocabulary_[index];
    if (piece == kNoSymbol)
      break;
    if (pieceText(piece) == text)
      return piece;
    index = index + 1 == slots ? 0 : index + 1;
  }
  return kNoSymbol;
}

plan::MergeSlot PipelineView::merge(uint32_t left, uint32_t right) const {
  uint32_t slots = header_.mergeSlots, index = plan::mergeHash(left, right, slots);
  for (uint32_t probe = 0; probe < header_.maxMergeProbe; ++probe) {
    plan::MergeSlot slot = merges_[index];
    if (slot.left == left && slot.right == right)
      return slot;
    if (slot.merged == kNoSymbol)
      break;
    index = index + 1 == slots ? 0 : index + 1;
  }
  return {};
}

char32_t PipelineView::compose(char32_t first, char32_t second) const {
  size_t low = 0, high = compositions_.size();
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    plan::CompositionRecord row = compositions_[middle];
    if (row.first == first && row.second == second)
      return row.composed;
    if (row.first < first || (row.first == first && row.second < second))
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

bool PipelineView::charsMap(std::string_view text, std::string_view &to) const {
  size_t node = 0;
  auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 512U) >> 6); };
  if (charsMapUnits_.size() == 0)
    return false;
  node ^= offset(charsMapUnits_[0]);
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (byte == 0 || node >= charsMapUnits_.size())
      return false;
    uint32_t unit = charsMapUnits_[node];
    if ((unit & 0x800000FFU) != byte)
      return false;
    node ^= offset(unit);
    if (node >= charsMapUnits_.size())
      return false;
    if ((unit >> 8 & 1) != 0) {
      size_t begin = charsMapUnits_[node] & 0x7FFFFFFFU;
      if (begin > charsMapText_.size())
        return false;
      to = charsMapText_.substr(begin);
      to = to.substr(0, to.substr(0, kMaxReplacement * 4).find('\0'));
      return to.size() <= kMaxReplacement * 4;
    }
  }
  return false;
}

} // namespace platen::text
