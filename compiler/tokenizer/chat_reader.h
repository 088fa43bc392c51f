// The chat template of a model: what its folder says about conversations.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace platen::compiler {

struct ChatSource {
  std::string source;    ///< empty: the folder has no template
  std::string variables; ///< JSON: bos_token, eos_token, ... as tokenizer_config.json names them
};

/// chat_template.jinja, or the template in tokenizer_config.json (of several the one named
/// "default"). Errors: kUnsupported: what the template uses and platen does not implement;
/// kCorrupt: files that are none.
base::Result<ChatSource> readChat(const std::filesystem::path &folder);

/// Appends `chat` to a section, as runtime/plan/tokenizer_section.h says.
void appendChat(const ChatSource &chat, std::vector<std::byte> &section);

} // namespace platen::compiler
