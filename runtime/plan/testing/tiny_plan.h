// A complete, tiny plan with real machine code, written without the compiler: for tests of the
// runtime.
//
// Its model looks up a row of integers for each token, keeps it in the paged KV cache, sums the
// rows of all positions of the sequence, and gives logit 1 to one token that depends on that sum, 0
// to the others. So the next token depends on the whole history through the cache, and
// tinyNextToken() says which it must be. x86-64
// and, if asked for, CUDA.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"
#include "runtime/plan/writer.h"

namespace platen::plan::testing {

struct TinyTarget {
  std::string name = "x86-64";
  std::vector<std::string> features{};
};

struct TinyPlanOptions {
  uint32_t vocabulary = 32;
  Limits limits{.context_tokens = 64,
                .step_tokens = 16,
                .step_rows = 8,
                .step_sequences = 8,
                .page_tokens = 4};
  std::vector<uint32_t> eos_tokens{};
  int32_t bos_token = -1;
  bool add_bos = false;
  std::vector<TinyTarget> targets{TinyTarget{}};
  /// If there are any, the plan has a second program, for CUDA devices, whose images are PTX for
  /// compute capability 8.0 whatever the features say.
  std::vector<TinyTarget> cuda_targets{};
  bool cuda_sampler = true; ///< tokens can be drawn on the device, greedily
  /// In place of that sampler: a kernel and its image.
  std::optional<Kernel> sampler{};
  std::string sampler_image{};
  /// Where this token would come next, its logit is NaN.
  int32_t broken_token = -1;
  /// With a kind, `tokenizer` becomes the tokenizer's section.
  std::string tokenizer_kind{};
  std::string tokenizer{};
  /// Added to the weights section, to make the file larger.
  uint64_t extra_weight_bytes = 0;
};

/// Writes the plan to `path`.
base::Status writeTinyPlan(const std::string &path, const TinyPlanOptions &options = {});

/// Appends the tiny plan's sections to `writer` and returns the manifest that finish() needs; tests
/// change it first.
base::Result<Manifest> buildTinyPlan(PlanWriter &writer, const TinyPlanOptions &options = {});

/// The row of `token` in the embedding table: 4 values.
int32_t tinyEmbedding(int32_t token, int column);
/// The hidden state after `history`: column sums of the embeddings, as int32 bits.
int32_t tinyHidden(std::span<const int32_t> history, int column);
/// The token whose logit is 1 after `history` (not empty).
int32_t tinyNextToken(std::span<const int32_t> history, uint32_t vocabulary);

} // namespace platen::plan::testing
