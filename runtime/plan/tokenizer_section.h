// The tokenizer section of a plan: what the compiler writes and runtime/text reads.
//
// Flat little-endian tables behind one header; every lookup structure is prebuilt, so that loading
// only checks bounds. A 262144-piece vocabulary with 513511 merges takes about 17 MB, of which text
// touches a small part. Evolution: tables are appended and `version` grows when an old reader must
// refuse.
//
// Words: a *piece* is an entry of the vocabulary (its index is the token id); a *symbol* is a piece
// or a single character that takes part in merges without being a piece (ids from `pieces` on); a
// *merge* joins two adjacent symbols.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace platen::plan {

inline constexpr uint32_t kTokenizerMagic = 0x4B4F5450; // "PTOK"
inline constexpr uint32_t kTokenizerVersion = 1;
inline constexpr uint32_t kChatMagic = 0x54484350; // "PCHT"
inline constexpr uint32_t kNoSymbol = 0xFFFFFFFF;
inline constexpr uint32_t kCodepointPages = 0x110000 / 256;

/// How text becomes tokens. Numbers are stored and never change; only kinds that exist here can be
/// read.
enum class TokenizerKind : uint32_t {
  kSentencePieceBpe = 1,
  kPipeline = 2, ///< runtime/plan/tokenizer_pipeline.h
};
inline constexpr std::string_view kSentencePieceBpeName = "sentencepiece-bpe";

/// As sentencepiece's piece types; the numbers are stored.
enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

/// Bits of TokenizerHeader::flags.
enum TokenizerFlag : uint32_t {
  kAddDummyPrefix = 1,         ///< a space before (after, with kSpaceIsSuffix) every non-empty text
  kRemoveExtraWhitespaces = 2, ///< spaces at both ends go, runs of spaces become one
  kEscapeWhitespaces = 4,      ///< ' ' becomes U+2581
  kSpaceIsSuffix = 8,
  kByteFallback = 16,   ///< unknown characters become byte pieces; table kByteIds is there
  kRawUserSymbols = 32, ///< the raw trie holds user-defined pieces, matched without parseSpecial
};

enum TokenizerTable : uint32_t {
  kPieceOffsets,       ///< u32 [pieces + 1], ascending: piece i is text [offset i, offset i+1) of
                       ///< kPieceText
  kPieceText,          ///< UTF-8, concatenated
  kPieceTypes,         ///< u8 [pieces], PieceType
  kByteIds,            ///< u32 [256]: the piece of each byte; empty without kByteFallback
  kCodepointPageIndex, ///< u16 [kCodepointPages]: page of code points 256 i ..
  kCodepointSymbols,   ///< u32 [used pages][256]: symbol of that character, or kNoSymbol
  kMerges, ///< MergeSlot [merge slots]: open addressing from mergeHash(), step 1, with wrap-around
  kSpacePredecessors, ///< u32 [n], ascending: characters that stand right before U+2581 inside some
                      ///< piece
  kUserRoots,         ///< u32 [256]: trie matched on normalised text: node of each first byte, or 0
  kUserNodes,         ///< TrieNode [n]; node 0 is unused
  kUserEdges,         ///< TrieEdge [n]
  kRawRoots, ///< u32 [256]: trie matched on raw text: control pieces, and user-defined ones with
             ///< kRawUserSymbols
  kRawNodes, ///< TrieNode [n]
  kRawEdges, ///< TrieEdge [n]
  kUnknownSurface, ///< UTF-8: what decoding shows for the unknown piece
  kTokenizerTableCount,
};

struct TokenizerExtent {
  uint64_t offset = 0; ///< from the start of the section
  uint64_t bytes = 0;
};

struct TokenizerHeader {
  uint32_t magic = kTokenizerMagic;
  uint32_t version = kTokenizerVersion;
  uint32_t kind = 0; ///< TokenizerKind
  uint32_t flags = 0;
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1; ///< pieces, or -1
  uint32_t pieces = 0;
  uint32_t symbols = 0;    ///< at least `pieces`
  uint32_t mergeSlots = 0; ///< at least 1
  uint32_t maxProbe = 0;   ///< slots that a lookup looks at before it gives up
  TokenizerExtent tables[kTokenizerTableCount];
};

/// Merge of `left` and `right` into `merged`; the smallest `rank` goes first, the leftmost among
/// equals. Empty: merged kNoSymbol.
struct MergeSlot {
  uint32_t left = kNoSymbol, right = kNoSymbol, merged = kNoSymbol, rank = 0;
};

/// `piece` + 1 when a symbol ends here, else 0. Its edges ascend by label.
struct TrieNode {
  uint32_t firstEdge = 0, edgeCount = 0, piecePlusOne = 0;
};
struct TrieEdge {
  uint32_t label = 0, node = 0;
};

/// The very end of a section of either kind, when it carries a chat template: before this record
/// stand `templateBytes` of the template's source and `variablesBytes` of a JSON object of the
/// variables that it reads ("bos_token", ...).
struct ChatTrailer {
  uint64_t templateBytes = 0, variablesBytes = 0;
  uint32_t version = 1;
  uint32_t magic = kChatMagic;
};

/// First slot to look at for (left, right).
constexpr uint32_t mergeHash(uint32_t left, uint32_t right, uint32_t slots) {
  uint64_t mixed = ((uint64_t{left} << 32) | right) * 0x9E3779B97F4A7C15ULL;
  return static_cast<uint32_t>(((mixed >> 32) * slots) >> 32);
}

static_assert(sizeof(TokenizerHeader) == 48 + 16 * kTokenizerTableCount);
static_assert(sizeof(ChatTrailer) == 24);
static_assert(sizeof(MergeSlot) == 16 && sizeof(TrieNode) == 12 && sizeof(TrieEdge) == 8);

} // namespace platen::plan
