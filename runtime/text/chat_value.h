// Values of chat templates: what JSON has, and what templates make of it. Shown and compared as
// Python does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/status.h"

namespace platen::text::chat {

class Value;
using List = std::vector<Value>;
/// In order of insertion; keys are strings.
using Dict = std::vector<std::pair<std::string, Value>>;
struct Undefined {
  std::string name; ///< for messages
};
struct None {};
struct Macro; // chat_render.cpp's
/// A list that prints in parentheses.
struct Tuple {
  std::shared_ptr<const List> items;
};
/// The one thing that a template may change: namespace().
struct Space {
  std::shared_ptr<Dict> members;
};

class Value {
public:
  Value() : data_(None{}) {}
  Value(Undefined value) : data_(std::move(value)) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(List value) : data_(std::make_shared<const List>(std::move(value))) {}
  Value(Dict value) : data_(std::make_shared<const Dict>(std::move(value))) {}
  Value(Tuple value) : data_(std::move(value)) {}
  Value(Space value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Macro> value) : data_(std::move(value)) {}

  bool isUndefined() const { return std::holds_alternative<Undefined>(data_); }
  bool isNone() const { return std::holds_alternative<None>(data_); }
  bool isBool() const { return std::holds_alternative<bool>(data_); }
  bool isInteger() const { return std::holds_alternative<int64_t>(data_); }
  bool isFloat() const { return std::holds_alternative<double>(data_); }
  bool isNumber() const { return isInteger() || isFloat() || isBool(); }
  bool isString() const { return string() != nullptr; }

  const std::string *undefinedName() const {
    auto *value = std::get_if<Undefined>(&data_);
    return value ? &value->name : nullptr;
  }
  const std::string *string() const { return pointer<std::string>(); }
  const Dict *dict() const { return pointer<Dict>(); }
  const Space *space() const { return std::get_if<Space>(&data_); }
  const Macro *macro() const { return pointer<Macro>(); }
  bool isTuple() const { return std::holds_alternative<Tuple>(data_); }
  /// Of a list or tuple, else null.
  const List *list() const {
    if (auto *tuple = std::get_if<Tuple>(&data_))
      return tuple->items.get();
    return pointer<List>();
  }
  /// Of a bool or an integer, else 0.
  int64_t integer() const {
    if (auto *value = std::get_if<bool>(&data_))
      return *value ? 1 : 0;
    auto *value = std::get_if<int64_t>(&data_);
    return value ? *value : 0;
  }
  double number() const {
    auto *value = std::get_if<double>(&data_);
    return value ? *value : static_cast<double>(integer());
  }

  bool truthy() const;
  /// str() and repr() of Python.
  std::string shown() const;
  std::string repr() const;
  /// "str", "int", ...
  std::string_view typeName() const;
  /// Of a dict; null without the key.
  const Value *find(std::string_view key) const;

private:
  template <typename T> const T *pointer() const {
    auto *value = std::get_if<std::shared_ptr<const T>>(&data_);
    return value ? value->get() : nullptr;
  }
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, Tuple, Space,
               std::shared_ptr<const Macro>>
      data_;
};

bool equal(const Value &left, const Value &right);

/// Errors: kInvalidArgument: no JSON, or nested too deeply.
base::Result<Value> parseJson(std::string_view text);
/// As json.dumps writes it. `indent` < 0: on one line; `separators` are those of one line.
struct JsonStyle {
  int indent = -1;
  bool ascii = false, sorted = false;
  std::string item = ", ", key = ": ";
};
std::string toJson(const Value &value, const JsonStyle &style);
std::string floatText(double value);

} // namespace platen::text::chat
