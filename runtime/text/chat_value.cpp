// Python's way of showing values, and JSON in both directions.
#include "runtime/text/chat_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "runtime/base/utf8.h"
#include "runtime/text/normalizers.h"

namespace platen::text::chat {

using base::Result;

namespace {

constexpr uint32_t kMaxDepth = 100;

std::string quoted(const std::string &text) {
  char quote =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    char hex[8];
    if (c == quote || c == '\\')
      out.append("\\").append(1, c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 0x20 || byte == 0x7F)
      out.append(hex, static_cast<size_t>(std::snprintf(hex, sizeof(hex), "\\x%02x", byte)));
    else
      out += c;
  }
  return out + quote;
}

std::string joined(const List &items) {
  std::string out;
  for (const Value &item : items)
    out += (out.empty() ? "" : ", ") + item.repr();
  return out;
}

} // namespace

/// repr() of a float: the shortest digits that give it back.
std::string floatText(double value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value < 0 ? "-inf" : "inf";
  char buffer[64];
  double size = std::fabs(value);
  bool scientific = size != 0 && (size >= 1e16 || size < 1e-4);
  auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, format).ptr;
  std::string text(buffer, end);
  return scientific || text.find('.') != std::string::npos ? text : text + ".0";
}

bool Value::truthy() const {
  if (isUndefined() || isNone())
    return false;
  if (isNumber())
    return number() != 0;
  if (const std::string *text = string())
    return !text->empty();
  if (const List *items = list())
    return !items->empty();
  const Dict *members = dict();
  return members == nullptr || !members->empty();
}

std::string Value::shown() const {
  if (const std::string *text = string())
    return *text;
  return isUndefined() ? "" : repr();
}

std::string Value::repr() const {
  if (const std::string *text = string())
    return quoted(*text);
  if (isBool())
    return integer() != 0 ? "True" : "False";
  if (isInteger())
    return std::to_string(integer());
  if (isFloat())
    return floatText(number());
  if (const List *items = list())
    return isTuple() ? "(" + joined(*items) + (items->size() == 1 ? ",)" : ")")
                     : "[" + joined(*items) + "]";
  if (const Dict *members = dict()) {
    std::string out;
    for (const auto &[key, value] : *members)
      out += (out.empty() ? "" : ", ") + quoted(key) + ": " + value.repr();
    return "{" + out + "}";
  }
  return isNone() ? "None" : isUndefined() ? "Undefined" : "<" + std::string(typeName()) + ">";
}

std::string_view Value::typeName() const {
  constexpr std::string_view kNames[] = {"Undefined", "NoneType",  "bool", "int",
                                         "float",     "str",       "list", "dict",
                                         "tuple",     "Namespace", "Macro"};
  return kNames[data_.index()];
}

const Value *Value::find(std::string_view key) const {
  const Dict *members = dict();
  for (size_t i = 0; members != nullptr && i < members->size(); ++i)
    if ((*members)[i].first == key)
      return &(*members)[i].second;
  return nullptr;
}

bool equal(const Value &left, const Value &right) {
  if (left.isNumber() && right.isNumber())
    return left.number() == right.number();
  if (left.isString() && right.isString())
    return *left.string() == *right.string();
  if (left.list() != nullptr && right.list() != nullptr && left.isTuple() == right.isTuple())
    return std::equal(left.list()->begin(), left.list()->end(), right.list()->begin(),
                      right.list()->end(), equal);
  if (left.dict() != nullptr && right.dict() != nullptr) {
    for (const auto &[key, value] : *left.dict()) {
      const Value *other = right.find(key);
      if (other == nullptr || !equal(value, *other))
        return false;
    }
    return left.dict()->size() == right.dict()->size();
  }
  return (left.isNone() && right.isNone()) || (left.isUndefined() && right.isUndefined());
}

// ---------------------------------------------------------------- JSON

namespace {

class JsonReader {
public:
  explicit JsonReader(std::string_view text) : text_(text) {}
  Result<Value> run() {
    Value value;
    bool good = base::isValidUtf8(text_) && read(value, 0);
    skip();
    if (!good || at_ != text_.size())
      return base::invalidArgument("is no valid JSON (see byte " + std::to_string(at_) + ")");
    return value;
  }

private:
  void skip() {
    while (at_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  bool take(std::string_view what) {
    bool found = text_.substr(at_).starts_with(what);
    at_ += found ? what.size() : 0;
    return found;
  }
  bool read(Value &out, uint32_t depth) {
    skip();
    if (depth > kMaxDepth || at_ >= text_.size())
      return false;
    if (take("null"))
      return out = Value(), true;
    if (take("true"))
      return out = Value(true), true;
    if (take("false"))
      return out = Value(false), true;
    if (text_[at_] == '"') {
      std::string text;
      bool good = readString(text);
      return out = Value(std::move(text)), good;
    }
    if (take("["))
      return readList(out, depth);
    return take("{") ? readDict(out, depth) : readNumber(out);
  }
  bool readList(Value &out, uint32_t depth) {
    List items;
    for (skip(); !take("]"); skip()) {
      if (!items.empty() && !take(","))
        return false;
      items.emplace_back();
      if (!read(items.back(), depth + 1))
        return false;
    }
    return out = Value(std::move(items)), true;
  }
  bool readDict(Value &out, uint32_t depth) {
    Dict members;
    bool first = true;
    for (skip(); !take("}"); skip(), first = false) {
      std::string key;
      Value value;
      if (!first && !take(","))
        return false;
      skip();
      if (!readString(key))
        return false;
      skip();
      if (!take(":") || !read(value, depth + 1))
        return false;
      auto known = std::find_if(members.begin(), members.end(),
                                [&](const auto &m) { return m.first == key; });
      if (known == members.end())
        members.emplace_back(std::move(key), std::move(value));
      else
        known->second = std::move(value); // the last of equal keys counts
    }
    return out = Value(std::move(members)), true;
  }
  bool readNumber(Value &out) {
    size_t end = std::min(text_.find_first_not_of("+-.0123456789eE", at_), text_.size());
    std::string_view digits = text_.substr(at_, end - at_);
    const char *last = digits.data() + digits.size();
    bool isFloat = digits.find_first_of(".eE") != std::string_view::npos;
    int64_t integer = 0;
    double number = 0;
    auto result = isFloat ? std::from_chars(digits.data(), last, number)
                          : std::from_chars(digits.data(), last, integer);
    if (digits.empty() || digits[0] == '+' || result.ec != std::errc() || result.ptr != last)
      return false;
    at_ = end;
    return out = isFloat ? Value(number) : Value(integer), true;
  }
  bool hex(char32_t &code) {
    uint32_t value = 0;
    std::string_view digits = text_.substr(at_, 4);
    auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    at_ += 4;
    code = value;
    return digits.size() == 4 && result.ptr == digits.data() + 4;
  }
  bool readString(std::string &out) {
    if (!take("\""))
      return false;
    while (at_ < text_.size() && text_[at_] != '"') {
      char c = text_[at_++];
      if (static_cast<unsigned char>(c) < 0x20)
        return false;
      if (c != '\\') {
        out += c;
        continue;
      }
      constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
      char e = at_ < text_.size() ? text_[at_++] : '\0';
      char32_t code = 0, low = 0;
      if (size_t known = kFrom.find(e); e != '\0' && known != std::string_view::npos) {
        out += kTo[known];
      } else if (e != 'u' || !hex(code)) {
        return false;
      } else {
        if (code >= 0xD800 && code < 0xDC00 && take("\\u") && hex(low) && low >= 0xDC00 &&
            low < 0xE000)
          code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        appendUtf8(code, out);
      }
    }
    return take("\"");
  }

  std::string_view text_;
  size_t at_ = 0;
};

void appendJsonString(const std::string &text, bool ascii, std::string &out) {
  char buffer[16];
  auto escape = [&](char32_t code) {
    out.append(buffer, static_cast<size_t>(std::snprintf(buffer, sizeof(buffer), "\\u%04x",
                                                         static_cast<unsigned>(code))));
  };
  out += '"';
  for (std::string_view rest = text; !rest.empty();) {
    base::Utf8Char c = base::decodeUtf8(rest);
    size_t bytes = std::max(c.bytes, 1U);
    constexpr std::string_view kFrom = "\"\\\b\f\n\r\t", kTo = "\"\\bfnrt";
    size_t known = bytes == 1 ? kFrom.find(rest[0]) : std::string_view::npos;
    if (known != std::string_view::npos)
      out.append("\\").append(1, kTo[known]);
    else if (c.codepoint < 0x20 ||
             (ascii && c.codepoint >= 0x7F && c.codepoint < 0x10000 && c.codepoint != 0x7F))
      escape(c.codepoint);
    else if (ascii && c.codepoint >= 0x10000)
      escape(0xD800 + ((c.codepoint - 0x10000) >> 10)), escape(0xDC00 + (c.codepoint & 0x3FF));
    else
      out += rest.substr(0, bytes);
    rest.remove_prefix(bytes);
  }
  out += '"';
}

class JsonWriter {
public:
  JsonWriter(const JsonStyle &style, std::string &out) : style_(style), out_(out) {}
  void write(const Value &value, uint32_t depth) {
    if (const std::string *text = value.string())
      return appendJsonString(*text, style_.ascii, out_);
    if (const List *items = value.list())
      return group('[', ']', items->size(), depth,
                   [&](size_t i) { write((*items)[i], depth + 1); });
    if (const Dict *members = value.dict()) {
      std::vector<const std::pair<std::string, Value> *> order;
      for (const auto &member : *members)
        order.push_back(&member);
      if (style_.sorted)
        std::stable_sort(order.begin(), order.end(),
                         [](auto *a, auto *b) { return a->first < b->first; });
      return group('{', '}', order.size(), depth, [&](size_t i) {
        appendJsonString(order[i]->first, style_.ascii, out_);
        out_ += style_.key;
        write(order[i]->second, depth + 1);
      });
    }
    if (value.isBool())
      out_ += value.integer() != 0 ? "true" : "false";
    else if (value.isNumber())
      out_ += value.repr();
    else
      out_ += "null";
  }

private:
  template <typename F> void group(char open, char close, size_t count, uint32_t depth, F item) {
    out_ += open;
    for (size_t i = 0; i < count; ++i) {
      if (style_.indent >= 0)
        newLine(i > 0 ? "," : "", depth + 1);
      else if (i > 0)
        out_ += style_.item;
      item(i);
    }
    if (style_.indent >= 0 && count > 0)
      newLine("", depth);
    out_ += close;
  }
  void newLine(const char *before, uint32_t depth) {
    out_ += before;
    out_ += '\n';
    out_.append(static_cast<size_t>(style_.indent) * depth, ' ');
  }
  const JsonStyle &style_;
  std::string &out_;
};

} // namespace

Result<Value> parseJson(std::string_view text) { return JsonReader(text).run(); }

std::string toJson(const Value &value, const JsonStyle &style) {
  std::string out;
  JsonWriter(style, out).write(value, 0);
  return out;
}

} // namespace platen::text::chat
