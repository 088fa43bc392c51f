// Checks a tokenizer section table by table, then serves lookups from it. No table is copied.
#include "runtime/text/section_view.h"

#include <algorithm>
#include <bit>
#include <string>

namespace platen::text {

using base::Result;
using base::Status;
using plan::kNoSymbol;

static_assert(std::endian::native == std::endian::little, "sections are little-endian");

/// Longest chain of slots that a well-made merge table needs; more is a table that wants to waste
/// time.
constexpr uint32_t kMaxProbeLimit = 4096;

namespace {

Status damaged(std::string message) {
  return base::corrupt(message + "; the plan is damaged, compile it again", "tokenizer section");
}

int hexDigit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// The byte that "<0xE2>" names, or -1.
int parseBytePiece(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>')
    return -1;
  int high = hexDigit(text[3]), low = hexDigit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

} // namespace

/// The checks of SectionView::open, one function a table.
class SectionCheck {
public:
  SectionCheck(std::span<const std::byte> section, SectionView &view)
      : section_(section), view_(view), header_(view.header_) {}

  Status run() {
    PLATEN_RETURN_IF_ERROR(header());
    PLATEN_RETURN_IF_ERROR(pieces());
    PLATEN_RETURN_IF_ERROR(bytePieces());
    PLATEN_RETURN_IF_ERROR(codepoints());
    PLATEN_RETURN_IF_ERROR(merges());
    PLATEN_RETURN_IF_ERROR(table(plan::kSpacePredecessors, view_.spacePredecessors_));
    PLATEN_RETURN_IF_ERROR(trie(plan::kUserRoots, view_.user_));
    PLATEN_RETURN_IF_ERROR(trie(plan::kRawRoots, view_.raw_));
    return textTable(plan::kUnknownSurface, view_.unknownSurface_);
  }

private:
  Status header();
  Status pieces();
  Status bytePieces();
  Status codepoints();
  Status merges();
  Status trie(uint32_t first, TrieView &out);

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
    if (out.size() != count)
      return damaged("table " + std::to_string(index) + " has " + std::to_string(out.size()) +
                     " elements instead of " + std::to_string(count));
    return Status::ok();
  }
  Status textTable(uint32_t index, std::string_view &out) const {
    Table<char> chars;
    PLATEN_RETURN_IF_ERROR(table(index, chars));
    out = {reinterpret_cast<const char *>(section_.data()) + header_.tables[index].offset,
           chars.size()};
    return Status::ok();
  }

  std::span<const std::byte> section_;
  SectionView &view_;
  plan::TokenizerHeader &header_;
};

Status SectionCheck::header() {
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
  if (header_.kind != static_cast<uint32_t>(plan::TokenizerKind::kSentencePieceBpe))
    return base::unsupported("tokenizer kind " + std::to_string(header_.kind) +
                                 " is not known to this runtime",
                             "tokenizer section");
  if (header_.pieces == 0 || header_.pieces > INT32_MAX || header_.symbols < header_.pieces ||
      header_.symbols == kNoSymbol)
    return damaged("has impossible counts of pieces or symbols");
  auto pieces = static_cast<int32_t>(header_.pieces);
  for (int32_t id : {header_.bos, header_.eos, header_.unknown, header_.pad})
    if (id < -1 || id >= pieces)
      return damaged("names special piece " + std::to_string(id) + " of " + std::to_string(pieces));
  return Status::ok();
}

Status SectionCheck::pieces() {
  PLATEN_RETURN_IF_ERROR(table(plan::kPieceOffsets, size_t{header_.pieces} + 1, view_.offsets_));
  PLATEN_RETURN_IF_ERROR(textTable(plan::kPieceText, view_.text_));
  PLATEN_RETURN_IF_ERROR(table(plan::kPieceTypes, header_.pieces, view_.types_));
  bool ascending = true, known = true, unused = false;
  for (uint32_t i = 0; i < header_.pieces; ++i) {
    ascending &= view_.offsets_[i] < view_.offsets_[i + 1];
    known &= view_.types_[i] >= 1 && view_.types_[i] <= 6;
    unused |= view_.pieceType(i) == plan::PieceType::kUnused;
  }
  view_.hasUnused_ = unused;
  if (!ascending || view_.offsets_[header_.pieces] > view_.text_.size())
    return damaged("has piece offsets that do not ascend inside the piece text");
  return known ? Status::ok() : damaged("has a piece of unknown type");
}

Status SectionCheck::bytePieces() {
  bool fallback = view_.has(plan::kByteFallback);
  PLATEN_RETURN_IF_ERROR(table(plan::kByteIds, fallback ? 256 : 0, view_.byteIds_));
  if (!fallback && header_.unknown < 0)
    return damaged("has neither byte pieces nor an unknown piece");
  for (uint32_t byte = 0; byte < view_.byteIds_.size(); ++byte)
    if (uint32_t id = view_.byteIds_[byte];
        id >= header_.pieces || view_.pieceType(id) != plan::PieceType::kByte)
      return damaged("has no piece for byte " + std::to_string(byte));
  for (uint32_t i = 0; i < header_.pieces; ++i)
    if (view_.pieceType(i) == plan::PieceType::kByte && parseBytePiece(view_.pieceText(i)) < 0)
      return damaged("has byte piece " + std::to_string(i) + " whose text names no byte");
  return Status::ok();
}

Status SectionCheck::codepoints() {
  PLATEN_RETURN_IF_ERROR(table(plan::kCodepointPageIndex, plan::kCodepointPages, view_.pages_));
  PLATEN_RETURN_IF_ERROR(table(plan::kCodepointSymbols, view_.codepoints_));
  for (size_t i = 0; i < view_.pages_.size(); ++i)
    if ((size_t{view_.pages_[i]} + 1) * 256 > view_.codepoints_.size())
      return damaged("has no character page " + std::to_string(view_.pages_[i]));
  bool inside = true;
  for (size_t i = 0; i < view_.codepoints_.size(); ++i)
    inside &= view_.codepoints_[i] < header_.symbols || view_.codepoints_[i] == kNoSymbol;
  return inside ? Status::ok() : damaged("gives a character a symbol that does not exist");
}

Status SectionCheck::merges() {
  PLATEN_RETURN_IF_ERROR(table(plan::kMerges, header_.mergeSlots, view_.merges_));
  if (header_.mergeSlots == 0 || header_.maxProbe > header_.mergeSlots ||
      header_.maxProbe > kMaxProbeLimit)
    return damaged("has an impossible merge table");
  bool inside = true;
  for (size_t i = 0; i < view_.merges_.size(); ++i) {
    plan::MergeSlot slot = view_.merges_[i];
    inside &=
        slot.merged == kNoSymbol || (slot.merged < header_.pieces && slot.left < header_.symbols &&
                                     slot.right < header_.symbols);
  }
  return inside ? Status::ok() : damaged("has a merge of symbols that do not exist");
}

Status SectionCheck::trie(uint32_t first, TrieView &out) {
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
  return inside ? Status::ok() : damaged("has a symbol trie that points outside itself");
}

Result<SectionView> SectionView::open(std::span<const std::byte> section) {
  SectionView view;
  PLATEN_RETURN_IF_ERROR(SectionCheck(section, view).run());
  return view;
}

uint32_t TrieView::child(const plan::TrieNode &node, uint32_t label) const {
  uint32_t low = node.firstEdge, high = node.firstEdge + node.edgeCount;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    plan::TrieEdge edge = edges_[middle];
    if (edge.label == label)
      return edge.node;
    if (edge.label < label)
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

unsigned char SectionView::byteOf(uint32_t piece) const {
  return static_cast<unsigned char>(parseBytePiece(pieceText(piece)));
}

plan::MergeSlot SectionView::merge(uint32_t left, uint32_t right) const {
  uint32_t slots = header_.mergeSlots, index = plan::mergeHash(left, right, slots);
  for (uint32_t probe = 0; probe < header_.maxProbe; ++probe) {
    plan::MergeSlot slot = merges_[index];
    if (slot.left == left && slot.right == right)
      return slot;
    if (slot.merged == kNoSymbol)
      break;
    index = index + 1 == slots ? 0 : index + 1;
  }
  return {};
}

bool SectionView::mayPrecedeSpace(char32_t codepoint) const {
  size_t low = 0, high = spacePredecessors_.size();
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (spacePredecessors_[middle] < codepoint)
      low = middle + 1;
    else
      high = middle;
  }
  return low < spacePredecessors_.size() && spacePredecessors_[low] == codepoint;
}

} // namespace platen::text
