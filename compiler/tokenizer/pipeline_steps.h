// The steps of a tokenizer.json (normalizers, pre-tokenizers, post-processor, decoders) as records
// of a pipeline.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "compiler/tokenizer/pipeline_model.h"

namespace platen::compiler {

/// Each appends to `pipeline`. Errors: kUnsupported names the step.
base::Status readNormalizers(const nlohmann::json &value, const std::string &name,
                             TokenizerPipeline &pipeline);
base::Status readPreTokenizers(const nlohmann::json &value, const std::string &name,
                               TokenizerPipeline &pipeline);
base::Status readDecoders(const nlohmann::json &value, const std::string &name,
                          TokenizerPipeline &pipeline);
/// Needs pipeline.pieces.
base::Status readPostProcessor(const nlohmann::json &value, const std::string &name,
                               TokenizerPipeline &pipeline);

} // namespace platen::compiler
