// Text as chat templates see it: what operators, filters and methods share.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/chat_operations.h"

namespace platen::text::chat {

/// Longest text that one operation may make.
inline constexpr size_t kMaxText = size_t{64} << 20;

char lowered(char c);
/// "lower", "upper", "title" or "capitalize".
std::string changeCase(std::string_view name, const std::string &text);
/// Without the characters of `what` (null: white space) at its ends.
std::string stripped(const std::string &text, const Value *what, bool left, bool right);
std::string replaced(const std::string &text, const std::string &from, const std::string &to);
/// The text of an argument; fails if it is none.
std::string textOf(const Value *value, std::string_view what);
List characters(const std::string &text);
/// Below 0, 0, above 0; fails for what has no order.
int compare(const Value &left, const Value &right);
Value joined(const Value &value, const Arguments &arguments);
/// (key, value) of a mapping.
List pairs(const Value &value);
Value callString(std::string_view name, const std::string &self, const Arguments &arguments);

} // namespace platen::text::chat
