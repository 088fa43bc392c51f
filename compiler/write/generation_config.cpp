// See generation_config.h. A text begins with bos whenever the configuration names one, unless
// add_bos says no: that is what the tokenizers of such models do.
#include "compiler/write/generation_config.h"

#include <nlohmann/json.hpp>

#include <fstream>

namespace platen::compiler {

using base::Status;

namespace {

Status readToken(const nlohmann::json &value, uint32_t vocabulary, const std::string &key,
                 uint32_t &token) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= vocabulary)
    return base::invalidArgument("'" + key + "' is " + value.dump() +
                                 "; it must be a token id below " + std::to_string(vocabulary));
  token = value.get<uint32_t>();
  return Status::ok();
}

Status readTokens(const nlohmann::json &config, plan::ModelInfo &model) {
  if (auto eos = config.find("eos_token_id"); eos != config.end() && !eos->is_null()) {
    nlohmann::json list = eos->is_array() ? *eos : nlohmann::json::array({*eos});
    for (const nlohmann::json &value : list)
      PLATEN_RETURN_IF_ERROR(
          readToken(value, model.vocabulary, "eos_token_id", model.eos_tokens.emplace_back()));
  }
  if (auto bos = config.find("bos_token_id"); bos != config.end() && !bos->is_null()) {
    uint32_t token = 0;
    PLATEN_RETURN_IF_ERROR(readToken(*bos, model.vocabulary, "bos_token_id", token));
    model.bos_token = static_cast<int32_t>(token);
    model.add_bos = true;
  }
  if (auto add = config.find("add_bos"); add != config.end() && add->is_boolean())
    model.add_bos = add->get<bool>() && model.bos_token >= 0;
  return Status::ok();
}

/// The object of a JSON file, that under "model" where there is one (genai); null if there is no
/// such file.
base::Result<nlohmann::json> readObject(const std::filesystem::path &path) {
  std::ifstream file(path);
  if (!file)
    return nlohmann::json();
  nlohmann::json config = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object())
    return base::corrupt("is no JSON object", path.string());
  auto model = config.find("model");
  return model != config.end() && model->is_object() ? nlohmann::json(*model) : config;
}

} // namespace

Status readGenerationConfig(const std::filesystem::path &folder, plan::ModelInfo &model) {
  for (const char *name : {"generation_config.json", "genai_config.json"}) {
    PLATEN_ASSIGN_OR_RETURN(nlohmann::json config, readObject(folder / name));
    if (!config.is_null())
      return readTokens(config, model).at((folder / name).string());
  }
  return Status::ok();
}

base::Result<uint32_t> readContextLength(const std::filesystem::path &folder) {
  for (auto [name, key] : {std::pair("generation_config.json", "context_length"),
                           std::pair("genai_config.json", "context_length"),
                           std::pair("config.json", "max_position_embeddings")}) {
    PLATEN_ASSIGN_OR_RETURN(nlohmann::json config, readObject(folder / name));
    auto found = config.is_null() ? config.end() : config.find(key);
    if (found == config.end() || found->is_null())
      continue;
    if (!found->is_number_unsigned() || *found == 0 || *found > uint64_t{1} << 24)
      return base::invalidArgument("'" + std::string(key) + "' is " + found->dump() +
                                       "; it must be a number of tokens",
                                   (folder / name).string());
    return found->get<uint32_t>();
  }
  return uint32_t{0};
}

} // namespace platen::compiler
