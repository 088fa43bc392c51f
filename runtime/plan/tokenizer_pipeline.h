// The tokenizer section of kind "pipeline": normalizers, pre-tokenizers, a model, decoders and
// added tokens as Hugging Face's tokenizer.json lists them, every step a record over flat tables.
//
// The compiler resolves what needs Unicode data: sets of characters become bits of one property
// table, regular expressions become automata over classes of characters, normal forms become
// mappings. Loading checks bounds; encoding interprets the records. Little-endian, as
// tokenizer_section.h, whose magic and trie and merge records it shares.
#pragma once

#include <cstdint>

#include "runtime/plan/tokenizer_section.h"

namespace platen::plan {

inline constexpr std::string_view kPipelineName = "pipeline";

/// How pieces of text become ids. Numbers are stored.
enum class PipelineModel : uint32_t { kBpe = 1, kUnigram = 2, kWordPiece = 3, kWordLevel = 4 };

/// One step. Texts are (offset, bytes) in kPipeStrings.
enum class PipelineStep : uint32_t {
  // Normalizers.
  kDecompose = 1,  ///< a: mapping; b: 1 to compose canonically afterwards
  kMapCharacters,  ///< a: mapping
  kDropProperty,   ///< a: property bits; characters that have one vanish
  kSpaceProperty,  ///< a: property bits; characters that have one become ' '
  kSpaceAround,    ///< a: property bits; characters that have one get a space on both sides
  kStrip,          ///< a, b: 1 to strip white space on the left, right
  kReplaceText,    ///< a, b: text; what replaces it follows it, c bytes
  kReplaceMatch,   ///< a: automaton; b, c: what replaces a match
  kPrepend,        ///< a, b: text put before what is not empty
  kByteCharacters, ///< every byte becomes the character that stands for it (also a pre-tokenizer)
  kCharsMap,       ///< sentencepiece's precompiled map, as the Hugging Face library applies it
  // Pre-tokenizers.
  kSplitText = 32, ///< a, b: text; c: PipelineSplit, with kSplitInverted
  kSplitMatch,     ///< a: automaton; b: PipelineSplit, with kSplitInverted
  kSplitProperty,  ///< a: property bits; b: PipelineSplit
  kSplitWords,     ///< words and runs of other characters, without white space
  kPrefixSpace,    ///< a space before what does not begin with one
  kMetaspace,      ///< a, b: what spaces become; c: PipelinePrefix, with kMetaspaceSplits
  // Decoders, in the order in which they work.
  kDecodeReplace = 64, ///< a, b: text, one character; what replaces it follows it, c bytes
  kDecodeMetaspace,    ///< a, b: what becomes ' '; c: 1 if the first token loses it
  kDecodeWordPiece,    ///< a, b: prefix of what continues a word; c: 1 to tidy up spaces
  kDecodeSuffix,       ///< a, b: end of a word, which becomes a space but at the very end
  kDecodeByteCharacters,
  kDecodeByteFallback,
  kDecodeFuse,
  kDecodeStrip,  ///< a, b: one character; c: how many of it go at the start
  kDecodeSpaces, ///< tokens are joined by spaces
};

enum PipelineSplit : uint32_t {
  kSplitRemoved = 0,
  kSplitIsolated = 1,
  kSplitMergedWithPrevious = 2,
  kSplitMergedWithNext = 3,
  kSplitContiguous = 4,
  kSplitInverted = 256, ///< what lies between matches is the match
};

enum PipelinePrefix : uint32_t {
  kPrefixNever = 0,
  kPrefixFirst = 1, ///< at the start of the text
  kPrefixAlways = 2,
  kMetaspaceSplits = 256,
};

/// Bits of the property table.
enum PipelineProperty : uint32_t {
  kPropertySpace = 1,
  kPropertyPunctuation = 2,
  kPropertyNumeric = 4,
  kPropertyWord = 8,
  kPropertyAccent = 16,
  kPropertyBertAccent = 32,
  kPropertyBertRemoved = 64,
  kPropertyBertSpace = 128,
  kPropertyChinese = 256,
  kPropertyNmtRemoved = 512,
  kPropertyNmtSpace = 1024,
  kPropertyDelimiter = 2048, ///< the one character of a CharDelimiterSplit
};

/// Bits of PipelineHeader::flags.
enum PipelineFlag : uint32_t {
  kPipeIgnoreMerges = 1, ///< a whole piece that is in the vocabulary is not merged together
  kPipeFuseUnknown = 2,  ///< neighbouring unknown characters share one id
  kPipeByteFallback = 4, ///< table kPipeByteIds is there
  kPipeHasDecoder = 8,
};

/// Bits of kPipePieceFlags.
enum PipelinePieceFlag : uint32_t {
  kPieceSpecial = 1, ///< carries meaning and no text
  kPieceAdded = 2,
  kPieceStripLeft = 4, ///< matched together with white space on its left
  kPieceStripRight = 8,
  kPieceSingleWord = 16, ///< matched only between what is no word
  kPieceAbsent = 32,     ///< an id that nothing has
};

enum PipelineTable : uint32_t {
  kPipeSteps,            ///< PipelineRecord: normalizers, pre-tokenizers, decoders
  kPipeStrings,          ///< bytes
  kPipePieceOffsets,     ///< u32 [pieces + 1]
  kPipePieceText,        ///< UTF-8
  kPipePieceFlags,       ///< u8 [pieces]
  kPipeVocabulary,       ///< u32 [slots]: model's piece by textHash(), kNoSymbol: none
  kPipeCodepointPages,   ///< u16 [kCodepointPages]
  kPipeCodepointSymbols, ///< u32 [pages][256]: piece of a single character, or kNoSymbol
  kPipeByteIds,          ///< u32 [256]: piece "<0x..>", or kNoSymbol
  kPipeMerges,           ///< MergeSlot
  kPipeScores,           ///< f64 [pieces]
  kPipeModelRoots,       ///< trie of a unigram model's pieces
  kPipeModelNodes,
  kPipeModelEdges,
  kPipeRawRoots, ///< trie of added tokens matched before normalisation
  kPipeRawNodes,
  kPipeRawEdges,
  kPipeNormalRoots, ///< trie of added tokens matched after it
  kPipeNormalNodes,
  kPipeNormalEdges,
  kPipePropertyPages,   ///< u16 [kCodepointPages], or empty
  kPipePropertyBlocks,  ///< u16 [pages][256]: PipelineProperty
  kPipeGraphemePages,   ///< u16 [kCodepointPages], or empty
  kPipeGraphemeBlocks,  ///< u8 [pages][256]: GraphemeClass, as runtime/text/graphemes.h has it
  kPipeAutomata,        ///< AutomatonHead
  kPipeTransitions,     ///< u16
  kPipeClassPages,      ///< u16 [automata][kCodepointPages], into the automaton's own blocks
  kPipeClassBlocks,     ///< u8 [blocks][256]
  kPipeMappingPages,    ///< u16 [mappings][kCodepointPages], into all blocks
  kPipeMappingBlocks,   ///< u32 [blocks][256]: 0, or 1 + place in the pool
  kPipeMappingPool,     ///< u32: a count, then so many code points
  kPipeCombiningPages,  ///< u16 [kCodepointPages], or empty
  kPipeCombiningBlocks, ///< u8 [pages][256]: canonical combining class
  kPipeCompositions,    ///< CompositionRecord, ascending
  kPipeTemplate,        ///< i32: ids around one text and around two (PipelineHeader::template*)
  kPipeCharsMapUnits,   ///< u32: units of a double array
  kPipeCharsMapText,    ///< bytes: replacements, each ending with NUL
  kPipelineTableCount,
};

struct PipelineRecord {
  PipelineStep step = PipelineStep::kDecompose;
  uint32_t a = 0, b = 0, c = 0;
};

/// One regular expression: transitions[(first + state * classes) + class] is the next state, with
/// kAutomatonMatch when a match ends before the character of that class. State 0 is dead, 1 starts;
/// class 0 is the end of the text.
struct AutomatonHead {
  uint32_t states = 0, classes = 0;
  uint32_t firstTransition = 0;
  uint32_t firstBlock = 0, blocks = 0;
};
inline constexpr uint16_t kAutomatonMatch = 0x8000;

struct CompositionRecord {
  uint32_t first = 0, second = 0, composed = 0;
};

struct PipelineHeader {
  uint32_t magic = kTokenizerMagic;
  uint32_t version = kTokenizerVersion;
  uint32_t kind = 0; ///< TokenizerKind::kPipeline
  uint32_t flags = 0;
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1;
  uint32_t pieces = 0;
  uint32_t model = 0; ///< PipelineModel
  uint32_t mergeSlots = 0, maxMergeProbe = 0;
  uint32_t vocabularySlots = 0, maxVocabularyProbe = 0;
  uint32_t normalizers = 0, preTokenizers = 0, decoders = 0; ///< records of each, in this order
  uint32_t maxWordCharacters = 0;               ///< WordPiece: longer words are unknown
  uint32_t wordPrefix = 0, wordPrefixBytes = 0; ///< WordPiece: before what continues a word
  /// kPipeTemplate holds this many ids before and after one text; then before, between and after
  /// two.
  uint32_t before = 0, after = 0, pairBefore = 0, pairBetween = 0, pairAfter = 0;
  uint32_t reserved = 0;
  double unknownScore = 0; ///< unigram: of a character that no piece covers
  TokenizerExtent tables[kPipelineTableCount];
};

/// FNV-1a, folded; the same in compiler and runtime.
constexpr uint32_t textHash(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (char c : text)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

static_assert(sizeof(PipelineHeader) == 112 + 16 * kPipelineTableCount);
static_assert(sizeof(PipelineRecord) == 16 && sizeof(AutomatonHead) == 20 &&
              sizeof(CompositionRecord) == 12);

} // namespace platen::plan
