// Strings of chat templates and their methods, as Python has them.
#include "runtime/text/chat_text.h"

#include <algorithm>

#include "runtime/base/utf8.h"

namespace platen::text::chat {

namespace {

bool isSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

char raised(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }

template <typename F> std::string mapped(std::string text, F f) {
  std::transform(text.begin(), text.end(), text.begin(), f);
  return text;
}

/// Letters outside ASCII would need Unicode's tables; they are refused rather than left as they
/// are.
void requireAscii(const std::string &text, std::string_view what) {
  for (char c : text)
    if (static_cast<unsigned char>(c) >= 0x80)
      fail("'" + std::string(what) + "' of text outside ASCII is not implemented");
}

List split(const std::string &text, const Arguments &arguments) {
  const Value *separator = arguments.get(0, "sep"), *limit = arguments.get(1, "maxsplit");
  int64_t left = limit != nullptr ? limit->integer() : -1;
  List out;
  size_t at = 0;
  if (separator == nullptr || separator->isNone()) {
    for (;;) {
      while (at < text.size() && isSpace(text[at]))
        ++at;
      if (at == text.size())
        return out;
      size_t end = at;
      while (end < text.size() && !isSpace(text[end]))
        ++end;
      if (left-- == 0)
        return out.emplace_back(stripped(text.substr(at), nullptr, false, true)), out;
      out.emplace_back(text.substr(at, end - at));
      at = end;
    }
  }
  std::string by = textOf(separator, "split");
  if (by.empty())
    fail("splitting at the empty text");
  for (size_t found; left-- != 0 && (found = text.find(by, at)) != std::string::npos;
       at = found + by.size())
    out.emplace_back(text.substr(at, found - at));
  out.emplace_back(text.substr(at));
  return out;
}

List splitFromEnd(const std::string &text, const Arguments &arguments) {
  const Value *limit = arguments.get(1, "maxsplit");
  if (limit == nullptr)
    return split(text, arguments);
  std::string by = textOf(arguments.get(0, "sep"), "rsplit");
  List out;
  size_t end = text.size();
  for (int64_t left = limit->integer(); left != 0 && !by.empty() && end >= by.size(); --left) {
    size_t found = text.rfind(by, end - by.size());
    if (found == std::string::npos)
      break;
    out.insert(out.begin(), Value(text.substr(found + by.size(), end - found - by.size())));
    end = found;
  }
  out.insert(out.begin(), Value(text.substr(0, end)));
  return out;
}

List lines(const std::string &text) {
  List out;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    std::string line = text.substr(at, end == std::string::npos ? end : end - at);
    at = end == std::string::npos ? text.size() : end + 1;
    out.emplace_back(std::move(line));
  }
  return out;
}

bool hasAffix(const std::string &text, const Value *what, bool front) {
  if (what != nullptr && what->list() != nullptr)
    return std::any_of(what->list()->begin(), what->list()->end(),
                       [&](const Value &one) { return hasAffix(text, &one, front); });
  std::string affix = textOf(what, front ? "startswith" : "endswith");
  return front ? text.starts_with(affix) : text.ends_with(affix);
}

} // namespace

char lowered(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string changeCase(std::string_view name, const std::string &text) {
  requireAscii(text, name);
  if (name == "upper")
    return mapped(text, raised);
  std::string out = mapped(text, lowered);
  bool start = true;
  for (char &c : out) {
    bool letter = c >= 'a' && c <= 'z';
    if (name != "lower" && start && letter)
      c = raised(c);
    start = name == "title" ? !letter : false;
  }
  return out;
}

std::string stripped(const std::string &text, const Value *what, bool left, bool right) {
  const std::string *set = what != nullptr ? what->string() : nullptr;
  if (set != nullptr)
    requireAscii(*set, "strip");
  auto gone = [set](char c) {
    return set != nullptr ? set->find(c) != std::string::npos : isSpace(c);
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end && gone(text[begin]))
    ++begin;
  while (right && end > begin && gone(text[end - 1]))
    --end;
  return text.substr(begin, end - begin);
}

std::string replaced(const std::string &text, const std::string &from, const std::string &to) {
  std::string out;
  if (from.empty())
    fail("replacing the empty text is not implemented");
  for (size_t at = 0;;) {
    size_t found = text.find(from, at);
    out.append(text, at, found == std::string::npos ? found : found - at);
    if (found == std::string::npos)
      return out;
    out += to;
    if (out.size() > kMaxText)
      throw ChatError{base::StatusCode::kResourceExhausted, "a text grows beyond 64 MiB"};
    at = found + from.size();
  }
}

std::string textOf(const Value *value, std::string_view what) {
  if (value == nullptr || !value->isString())
    fail("'" + std::string(what) + "' needs a string");
  return *value->string();
}

List characters(const std::string &text) {
  List out;
  for (std::string_view rest = text; !rest.empty();) {
    size_t bytes = std::max(base::decodeUtf8(rest).bytes, 1U);
    out.emplace_back(std::string(rest.substr(0, bytes)));
    rest.remove_prefix(bytes);
  }
  return out;
}

Value callString(std::string_view name, const std::string &self, const Arguments &arguments) {
  const Value *first = arguments.get(0);
  if (name == "strip" || name == "lstrip" || name == "rstrip")
    return Value(stripped(self, first, name != "rstrip", name != "lstrip"));
  if (name == "split")
    return Value(split(self, arguments));
  if (name == "rsplit")
    return Value(splitFromEnd(self, arguments));
  if (name == "splitlines")
    return Value(lines(self));
  if (name == "startswith" || name == "endswith")
    return Value(hasAffix(self, first, name == "startswith"));
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize")
    return Value(changeCase(name, self));
  if (name == "replace")
    return Value(replaced(self, textOf(first, name), textOf(arguments.get(1), name)));
  if (name == "join")
    return joined(first != nullptr ? *first : Value(), {{Value(self)}, {}});
  if (name == "isdigit")
    return Value(!self.empty() && std::all_of(self.begin(), self.end(),
                                              [](char c) { return c >= '0' && c <= '9'; }));
  if (name == "find" || name == "rfind" || name == "index") {
    size_t at = name == "rfind" ? self.rfind(textOf(first, name)) : self.find(textOf(first, name));
    if (at == std::string::npos && name == "index")
      fail("substring not found");
    return at == std::string::npos
               ? Value(int64_t{-1})
               : Value(static_cast<int64_t>(characters(self.substr(0, at)).size()));
  }
  if (name == "count") {
    int64_t count = 0;
    std::string what = textOf(first, name);
    for (size_t at = 0; !what.empty() && (at = self.find(what, at)) != std::string::npos;
         at += what.size())
      ++count;
    return Value(count);
  }
  fail("a string has no method '" + std::string(name) + "'");
}

} // namespace platen::text::chat
