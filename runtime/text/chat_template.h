// Chat templates: conversations to prompts, as transformers' apply_chat_template renders them.
//
// A subset of Jinja (sandboxed, trim_blocks, lstrip_blocks) large enough for the templates that
// published models carry; what it lacks is refused by name when the template is parsed. Rendering
// is bounded: no template runs without end or fills memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace platen::text {

struct ChatContext {
  /// JSON: the list of messages, [{"role": ..., "content": ...}, ...].
  std::string messages = {};
  /// JSON: a list of tools; empty: none.
  std::string tools = {};
  /// JSON: an object of further variables ("bos_token", "enable_thinking", ...); empty: none.
  std::string variables = {};
  /// The same; what it holds goes before `variables`.
  std::string moreVariables = {};
  bool addGenerationPrompt = false;
  /// What strftime_now() tells: seconds since 1970, in UTC; -1: now.
  int64_t now = -1;
};

/// Immutable; safe to call from several threads.
class ChatTemplate {
public:
  /// Errors: kUnsupported (a construct, with its line), kInvalidArgument (no template).
  static base::Result<ChatTemplate> parse(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate &&) noexcept;
  ChatTemplate &operator=(ChatTemplate &&) noexcept;

  /// Errors: kInvalidArgument: JSON that is none, or what the template itself raises or does not
  /// allow; kResourceExhausted: it runs or grows without measure.
  base::Result<std::string> render(const ChatContext &context) const;

private:
  struct Tree;
  explicit ChatTemplate(std::unique_ptr<const Tree> tree);
  std::unique_ptr<const Tree> tree_;
};

} // namespace platen::text
