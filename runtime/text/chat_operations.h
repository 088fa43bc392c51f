// What chat templates do with values: operators, filters, tests, methods.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/text/chat_value.h"

namespace platen::text::chat {

/// Ends a rendering; never leaves runtime/text.
struct ChatError {
  base::StatusCode code;
  std::string message;
};
[[noreturn]] void fail(std::string message);

/// Evaluated arguments.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// The argument at `index` or of that name, or null.
  const Value *get(size_t index, std::string_view name = {}) const;
};

Value applyOperator(std::string_view op, const Value &left, const Value &right);
Value applyFilter(std::string_view name, const Value &value, const Arguments &arguments);
bool applyTest(std::string_view name, const Value &value, const Arguments &arguments);
Value callMethod(std::string_view name, const Value &self, const Arguments &arguments);
/// value.name and value[name].
Value attribute(const Value &value, std::string_view name);
Value item(const Value &value, const Value &key);
Value slice(const Value &value, const Value *begin, const Value *end, const Value *step);
/// What a loop runs over.
List iterate(const Value &value);
int64_t length(const Value &value);

} // namespace platen::text::chat
