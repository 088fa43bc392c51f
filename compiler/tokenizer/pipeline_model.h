// A tokenizer of kind "pipeline" between its file and the plan; see
// runtime/plan/tokenizer_pipeline.h for what each part means.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/tokenizer/code_set.h"
#include "compiler/tokenizer/pattern.h"
#include "compiler/tokenizer/tokenizer_model.h"
#include "runtime/base/status.h"
#include "runtime/plan/tokenizer_pipeline.h"

namespace platen::compiler {

struct PipelinePiece {
  std::string text;    ///< as decoding sees it; empty where no token has the id
  std::string spelled; ///< of an added token: as the file spells it
  uint8_t flags = plan::kPieceAbsent;
  bool inModel = false; ///< of the model's vocabulary, not only an added token
  double score = 0;
};

struct PropertySet {
  uint32_t bits;
  CodeSet set;
};

struct TokenizerPipeline {
  plan::PipelineModel model = plan::PipelineModel::kBpe;
  uint32_t flags = 0;
  std::vector<PipelinePiece> pieces; ///< by id
  std::vector<TokenizerMerge> merges;
  std::vector<uint32_t> rawTokens, normalTokens; ///< added tokens
  std::vector<plan::PipelineRecord> normalizers, preTokenizers, decoders;
  std::string strings;
  std::vector<CompiledPattern> patterns;
  std::vector<Mapping> mappings; ///< what records call mapping 0, 1, ...
  std::vector<PropertySet> properties;
  bool composes = false, clusters = false;
  std::string charsMap; ///< sentencepiece's precompiled characters map, as it is stored
  std::vector<uint32_t> before, after, pairBefore, pairBetween, pairAfter;
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1;
  uint32_t maxWordCharacters = 0;
  std::string wordPrefix;
  double unknownScore = 0;
};

/// `contents` is a tokenizer.json, `name` stands in messages.
base::Result<TokenizerPipeline> readPipeline(std::string_view contents, const std::string &name);

/// The section's bytes; a pure function of `pipeline`. Errors: kUnsupported: tables too large.
base::Result<std::vector<std::byte>> writePipelineSection(const TokenizerPipeline &pipeline,
                                                          const std::string &name);

} // namespace platen::compiler
