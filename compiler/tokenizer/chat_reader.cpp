// See chat_reader.h. A template is parsed here, so that what cannot be rendered never gets into a
// plan.
#include "compiler/tokenizer/chat_reader.h"

#include <cstring>
#include <fstream>
#include <iterator>

#include "compiler/tokenizer/json_access.h"
#include "runtime/plan/tokenizer_section.h"
#include "runtime/text/chat_template.h"

namespace platen::compiler {

using base::Result;
using nlohmann::json;

namespace {

std::string readAll(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A token is its text, or an object whose "content" is.
std::string tokenText(const json &value) {
  return value.is_object() ? text(child(value, "content")) : text(value);
}

std::string templateOf(const json &config) {
  const json &entry = child(config, "chat_template");
  if (!entry.is_array())
    return text(entry);
  for (const json &named : entry)
    if (child(named, "name") == "default")
      return text(child(named, "template"));
  return "";
}

} // namespace

Result<ChatSource> readChat(const std::filesystem::path &folder) {
  std::filesystem::path config = folder / "tokenizer_config.json";
  std::filesystem::path file = folder / "chat_template.jinja", origin = file;
  json values = json::object();
  if (std::filesystem::exists(config)) {
    values = json::parse(readAll(config), nullptr, /*allow_exceptions=*/false);
    if (!values.is_object())
      return base::corrupt("is no JSON object", config.string());
  }
  ChatSource chat;
  if (std::filesystem::exists(file))
    chat.source = readAll(file);
  else
    chat.source = templateOf(values), origin = config;
  if (chat.source.empty())
    return chat;
  auto parsed = text::ChatTemplate::parse(chat.source);
  if (!parsed.isOk())
    return parsed.status().at(origin.string());
  json variables = json::object();
  for (const char *name : {"bos_token", "eos_token", "pad_token", "unk_token"})
    if (std::string token = tokenText(child(values, name)); !token.empty())
      variables[name] = token;
  chat.variables = variables.dump(-1, ' ', false, json::error_handler_t::replace);
  return chat;
}

void appendChat(const ChatSource &chat, std::vector<std::byte> &section) {
  if (chat.source.empty())
    return;
  plan::ChatTrailer trailer;
  trailer.templateBytes = chat.source.size();
  trailer.variablesBytes = chat.variables.size();
  auto put = [&](const void *data, size_t bytes) {
    const auto *begin = static_cast<const std::byte *>(data);
    section.insert(section.end(), begin, begin + bytes);
  };
  put(chat.source.data(), chat.source.size());
  put(chat.variables.data(), chat.variables.size());
  put(&trailer, sizeof(trailer));
}

} // namespace platen::compiler
