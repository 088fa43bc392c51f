// generation_config.json beside a model: which tokens begin and end a text.
#pragma once

#include "runtime/base/status.h"
#include "runtime/plan/plan.h"

#include <filesystem>

namespace platen::compiler {

/// Sets bos_token, eos_tokens and add_bos of `model` from <folder>/generation_config.json or
/// genai_config.json (keys bos_token_id, eos_token_id as number or list, add_bos). Neither file:
/// nothing is set. Errors: kCorrupt, kInvalidArgument for ids outside the vocabulary.
base::Status readGenerationConfig(const std::filesystem::path &folder, plan::ModelInfo &model);

/// Positions for which the model was made: context_length of generation_config.json or
/// genai_config.json, else max_position_embeddings of config.json; 0 if none of them says. Errors:
/// kCorrupt, kInvalidArgument.
base::Result<uint32_t> readContextLength(const std::filesystem::path &folder);

} // namespace platen::compiler
