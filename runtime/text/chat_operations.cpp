// Python's and Jinja's behaviour, value by value.
#include "runtime/text/chat_operations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "runtime/base/utf8.h"
#include "runtime/text/chat_syntax.h"

namespace platen::text::chat {

namespace {

constexpr size_t kMaxText = size_t{64} << 20;

bool isSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
char lowered(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
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

int compare(const Value &left, const Value &right) {
  if (left.isNumber() && right.isNumber())
    return left.number() < right.number() ? -1 : left.number() > right.number() ? 1 : 0;
  if (!left.isString() || !right.isString())
    fail("'" + std::string(left.typeName()) + "' and '" + std::string(right.typeName()) +
         "' cannot be ordered");
  int order = left.string()->compare(*right.string()); // bytes of UTF-8 sort as code points do
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

bool contains(const Value &where, const Value &what) {
  if (const std::string *text = where.string())
    return text->find(textOf(&what, "in")) != std::string::npos;
  if (where.dict() != nullptr)
    return what.isString() && where.find(*what.string()) != nullptr;
  if (where.list() == nullptr)
    fail("'in' needs something to look into, not '" + std::string(where.typeName()) + "'");
  return std::any_of(where.list()->begin(), where.list()->end(),
                     [&](const Value &v) { return equal(v, what); });
}

Value arithmetic(std::string_view op, const Value &left, const Value &right) {
  double a = left.number(), b = right.number();
  int64_t x = left.integer(), y = right.integer(), out = 0;
  if ((op == "/" || op == "//" || op == "%") && b == 0)
    fail("division by zero");
  if (op == "/")
    return Value(a / b);
  if (op == "**") {
    double power = std::pow(a, b);
    bool whole = !left.isFloat() && !right.isFloat() && y >= 0 && std::fabs(power) < 9e15;
    return whole ? Value(static_cast<int64_t>(power)) : Value(power);
  }
  if (left.isFloat() || right.isFloat()) {
    if (op == "%")
      return Value(a - std::floor(a / b) * b);
    return Value(op == "+" ? a + b : op == "-" ? a - b : op == "*" ? a * b : std::floor(a / b));
  }
  bool overflow = op == "+"   ? __builtin_add_overflow(x, y, &out)
                  : op == "-" ? __builtin_sub_overflow(x, y, &out)
                  : op == "*" ? __builtin_mul_overflow(x, y, &out)
                              : (x == std::numeric_limits<int64_t>::min() && y == -1);
  if (overflow)
    fail("a number beyond 64 bits");
  if (op == "//" || op == "%") {
    int64_t quotient = x / y - ((x % y != 0 && (x < 0) != (y < 0)) ? 1 : 0);
    out = op == "//" ? quotient : x - quotient * y;
  }
  return Value(out);
}

Value repeated(const Value &what, int64_t times) {
  size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  size_t size = what.isString() ? what.string()->size() : what.list()->size();
  if (size > 0 && count > kMaxText / 64 / size)
    throw ChatError{base::StatusCode::kResourceExhausted, "a repetition grows beyond 1 MiB"};
  std::string text;
  List items;
  for (size_t i = 0; i < count; ++i) {
    if (what.isString())
      text += *what.string();
    else
      items.insert(items.end(), what.list()->begin(), what.list()->end());
  }
  return what.isString() ? Value(text) : Value(items);
}

Value joined(const Value &value, const Arguments &arguments) {
  const Value *by = arguments.get(0, "d"), *name = arguments.get(1, "attribute");
  std::string separator = by != nullptr ? by->shown() : "", out;
  bool first = true;
  for (const Value &one : iterate(value)) {
    out += first ? "" : separator;
    out += (name != nullptr ? attribute(one, textOf(name, "attribute")) : one).shown();
    first = false;
  }
  return Value(out);
}

Value json(const Value &value, const Arguments &arguments) {
  JsonStyle style;
  if (const Value *indent = arguments.get(1, "indent"); indent != nullptr && indent->isInteger())
    style.indent = static_cast<int>(std::clamp<int64_t>(indent->integer(), 0, 64));
  if (const Value *ascii = arguments.get(0, "ensure_ascii"))
    style.ascii = ascii->truthy();
  if (const Value *sorted = arguments.get(3, "sort_keys"))
    style.sorted = sorted->truthy();
  if (const Value *marks = arguments.get(2, "separators");
      marks != nullptr && marks->list() != nullptr && marks->list()->size() == 2) {
    style.item = textOf(&(*marks->list())[0], "separators");
    style.key = textOf(&(*marks->list())[1], "separators");
  }
  if (value.isUndefined())
    fail("an undefined value has no JSON");
  return Value(toJson(value, style));
}

Value indented(const Value &value, const Arguments &arguments) {
  const Value *width = arguments.get(0, "width"), *first = arguments.get(1, "first"),
              *blank = arguments.get(2, "blank");
  std::string by = width != nullptr && width->isString()
                       ? *width->string()
                       : std::string(static_cast<size_t>(std::clamp<int64_t>(
                                         width != nullptr ? width->integer() : 4, 0, 1000)),
                                     ' ');
  std::string out = first != nullptr && first->truthy() ? by : "", text = value.shown();
  for (size_t at = 0;;) {
    size_t end = text.find('\n', at);
    out.append(text, at, end == std::string::npos ? end : end - at);
    if (end == std::string::npos)
      return Value(out);
    bool empty = end + 1 >= text.size() || text[end + 1] == '\n';
    out += '\n';
    out += empty && (blank == nullptr || !blank->truthy()) ? "" : by;
    at = end + 1;
  }
}

/// select, reject, selectattr, rejectattr.
Value selected(std::string_view name, const Value &value, const Arguments &arguments) {
  bool byMember = name.ends_with("attr"), keep = name.starts_with("select");
  size_t first = byMember ? 1 : 0;
  Arguments rest;
  for (size_t i = first + 1; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  const Value *test = arguments.get(first);
  std::string testName = test != nullptr ? textOf(test, name) : "";
  if (!testName.empty() && !isTest(testName))
    fail("the test '" + testName + "' is not implemented");
  List out;
  for (const Value &one : iterate(value)) {
    Value looked = byMember ? attribute(one, textOf(arguments.get(0), name)) : one;
    if ((test != nullptr ? applyTest(testName, looked, rest) : looked.truthy()) == keep)
      out.push_back(one);
  }
  return Value(out);
}

Value mapValues(const Value &value, const Arguments &arguments) {
  List out;
  Arguments rest;
  for (size_t i = 1; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  const Value *name = arguments.get(1000, "attribute"), *otherwise = arguments.get(1000, "default");
  for (const Value &one : iterate(value)) {
    if (name != nullptr) {
      Value found = attribute(one, textOf(name, "map"));
      out.push_back(found.isUndefined() && otherwise != nullptr ? *otherwise : found);
      continue;
    }
    std::string filter = textOf(arguments.get(0), "map");
    if (!isFilter(filter))
      fail("the filter '" + filter + "' is not implemented");
    out.push_back(applyFilter(filter, one, rest));
  }
  return Value(out);
}

Value sorted(const Value &value, const Arguments &arguments) {
  const Value *reverse = arguments.get(0, "reverse"), *name = arguments.get(2, "attribute"),
              *sensitive = arguments.get(1, "case_sensitive");
  List items = iterate(value);
  auto key = [&](const Value &one) {
    Value at = name != nullptr ? attribute(one, textOf(name, "sort")) : one;
    bool folds = at.isString() && (sensitive == nullptr || !sensitive->truthy());
    return folds ? Value(mapped(*at.string(), lowered)) : at;
  };
  bool down = reverse != nullptr && reverse->truthy();
  std::stable_sort(items.begin(), items.end(), [&](const Value &a, const Value &b) {
    return down ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
  });
  return Value(items);
}

List pairs(const Value &value) {
  List out;
  if (value.dict() == nullptr && !value.isUndefined())
    fail("'items' needs a mapping");
  for (size_t i = 0; value.dict() != nullptr && i < value.dict()->size(); ++i)
    out.emplace_back(Tuple{std::make_shared<const List>(
        List{Value((*value.dict())[i].first), (*value.dict())[i].second})});
  return out;
}

Value number(const Value &value, const Arguments &arguments, bool whole) {
  const Value *otherwise = arguments.get(0, "default");
  double parsed = value.number();
  if (const std::string *text = value.string()) {
    char *end = nullptr;
    std::string digits = stripped(*text, nullptr, true, true);
    parsed = std::strtod(digits.c_str(), &end);
    if (digits.empty() || *end != '\0')
      return otherwise != nullptr ? *otherwise : whole ? Value(int64_t{0}) : Value(0.0);
  }
  if (!whole)
    return Value(parsed);
  return std::fabs(parsed) < 9e18 ? Value(static_cast<int64_t>(parsed)) : Value(int64_t{0});
}

} // namespace

void fail(std::string message) {
  throw ChatError{base::StatusCode::kInvalidArgument, std::move(message)};
}

const Value *Arguments::get(size_t index, std::string_view name) const {
  if (index < positional.size())
    return &positional[index];
  for (const auto &[key, value] : named)
    if (key == name)
      return &value;
  return nullptr;
}

List iterate(const Value &value) {
  if (const List *items = value.list())
    return *items;
  if (const std::string *text = value.string())
    return characters(*text);
  List out;
  if (const Dict *members = value.dict())
    for (const auto &member : *members)
      out.emplace_back(member.first);
  else if (!value.isUndefined())
    fail("'" + std::string(value.typeName()) + "' cannot be gone through");
  return out;
}

int64_t length(const Value &value) {
  if (!value.isString() && value.list() == nullptr && value.dict() == nullptr &&
      !value.isUndefined())
    fail("'" + std::string(value.typeName()) + "' has no length");
  return static_cast<int64_t>(value.dict() != nullptr ? value.dict()->size()
                                                      : iterate(value).size());
}

Value attribute(const Value &value, std::string_view name) {
  if (const std::string *undefined = value.undefinedName())
    fail("'" + *undefined + "' is undefined");
  if (const Space *space = value.space())
    for (const auto &[key, member] : *space->members)
      if (key == name)
        return member;
  const Value *found = value.find(name);
  return found != nullptr ? *found : Value(Undefined{std::string(name)});
}

Value item(const Value &value, const Value &key) {
  if (key.isString())
    return attribute(value, *key.string());
  if (const std::string *undefined = value.undefinedName())
    fail("'" + *undefined + "' is undefined");
  if (!key.isInteger() || (value.list() == nullptr && !value.isString()))
    return Value(Undefined{key.shown()});
  List items = value.isString() ? characters(*value.string()) : List();
  const List &all = value.isString() ? items : *value.list();
  int64_t index = key.integer(), size = static_cast<int64_t>(all.size());
  index += index < 0 ? size : 0;
  return index >= 0 && index < size ? all[static_cast<size_t>(index)]
                                    : Value(Undefined{key.shown()});
}

Value slice(const Value &value, const Value *begin, const Value *end, const Value *step) {
  List all = iterate(value), out;
  int64_t size = static_cast<int64_t>(all.size());
  int64_t by = step != nullptr && step->isInteger() ? step->integer() : 1;
  if (by == 0)
    fail("a slice of step 0");
  auto bound = [&](const Value *at, int64_t otherwise) {
    if (at == nullptr || at->isNone())
      return otherwise;
    int64_t index = at->integer() + (at->integer() < 0 ? size : 0);
    return by > 0 ? std::clamp<int64_t>(index, 0, size) : std::clamp<int64_t>(index, -1, size - 1);
  };
  int64_t from = bound(begin, by > 0 ? 0 : size - 1), to = bound(end, by > 0 ? size : -1);
  by = std::clamp<int64_t>(by, -size - 1, size + 1);
  std::string text;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) {
    if (value.isString())
      text += *all[static_cast<size_t>(i)].string();
    else
      out.push_back(all[static_cast<size_t>(i)]);
  }
  return value.isString() ? Value(text) : Value(out);
}

Value applyOperator(std::string_view op, const Value &left, const Value &right) {
  if (op == "==" || op == "!=")
    return Value(equal(left, right) == (op == "=="));
  if (op == "in" || op == "not in")
    return Value(contains(right, left) == (op == "in"));
  if (op == "~") {
    if (left.shown().size() + right.shown().size() > kMaxText)
      throw ChatError{base::StatusCode::kResourceExhausted, "a text grows beyond 64 MiB"};
    return Value(left.shown() + right.shown());
  }
  for (const Value *side : {&left, &right})
    if (const std::string *undefined = side->undefinedName())
      fail("'" + *undefined + "' is undefined");
  if (op == "<" || op == "<=" || op == ">" || op == ">=") {
    int order = compare(left, right);
    return Value(op == "<"    ? order < 0
                 : op == "<=" ? order <= 0
                 : op == ">"  ? order > 0
                              : order >= 0);
  }
  if (left.isNumber() && right.isNumber())
    return arithmetic(op, left, right);
  if (op == "+" && left.isString() && right.isString()) {
    if (left.string()->size() + right.string()->size() > kMaxText)
      throw ChatError{base::StatusCode::kResourceExhausted, "a text grows beyond 64 MiB"};
    return Value(*left.string() + *right.string());
  }
  if (op == "+" && left.list() != nullptr && right.list() != nullptr) {
    List both = *left.list();
    both.insert(both.end(), right.list()->begin(), right.list()->end());
    return Value(both);
  }
  bool repeats = op == "*" && right.isInteger() && (left.isString() || left.list() != nullptr);
  if (repeats)
    return repeated(left, right.integer());
  fail("'" + std::string(op) + "' of '" + std::string(left.typeName()) + "' and '" +
       std::string(right.typeName()) + "'");
}

namespace {
constexpr std::array<std::string_view, 40> kFilters = {
    "tojson",     "trim",    "length",   "count",   "join",   "upper",  "lower",      "title",
    "capitalize", "default", "d",        "first",   "last",   "list",   "string",     "int",
    "float",      "items",   "dictsort", "map",     "select", "reject", "selectattr", "rejectattr",
    "replace",    "indent",  "safe",     "reverse", "sort",   "unique", "sum",        "abs",
    "min",        "max",     "",         "",        "",       "",       "",           ""};
constexpr std::array<std::string_view, 32> kTests = {
    "defined", "undefined", "none",    "string",   "number",   "integer", "float", "boolean",
    "true",    "false",     "mapping", "iterable", "sequence", "even",    "odd",   "divisibleby",
    "in",      "eq",        "equalto", "==",       "ne",       "!=",      "gt",    "ge",
    "lt",      "le",        "lower",   "upper",    "sameas",   "",        "",      ""};
constexpr std::array<std::string_view, 24> kMethods = {
    "strip", "lstrip", "rstrip", "split",      "rsplit",  "splitlines", "startswith", "endswith",
    "upper", "lower",  "title",  "capitalize", "replace", "find",       "rfind",      "join",
    "count", "items",  "keys",   "values",     "get",     "isdigit",    "index",      ""};
} // namespace

bool isFilter(std::string_view name) {
  return !name.empty() && std::find(kFilters.begin(), kFilters.end(), name) != kFilters.end();
}
bool isTest(std::string_view name) {
  return !name.empty() && std::find(kTests.begin(), kTests.end(), name) != kTests.end();
}
bool isMethod(std::string_view name) {
  return !name.empty() && std::find(kMethods.begin(), kMethods.end(), name) != kMethods.end();
}

Value applyFilter(std::string_view name, const Value &value, const Arguments &arguments) {
  if (name == "tojson")
    return json(value, arguments);
  if (name == "trim")
    return Value(stripped(value.shown(), arguments.get(0, "chars"), true, true));
  if (name == "length" || name == "count")
    return Value(length(value));
  if (name == "join")
    return joined(value, arguments);
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize")
    return Value(changeCase(name, value.shown()));
  if (name == "default" || name == "d") {
    const Value *otherwise = arguments.get(0, "default_value"),
                *falsy = arguments.get(1, "boolean");
    bool missing = value.isUndefined() || (falsy != nullptr && falsy->truthy() && !value.truthy());
    return missing ? (otherwise != nullptr ? *otherwise : Value(std::string())) : value;
  }
  if (name == "first" || name == "last") {
    List all = iterate(value);
    return all.empty()       ? Value(Undefined{std::string(name)})
           : name == "first" ? all.front()
                             : all.back();
  }
  if (name == "list")
    return Value(iterate(value));
  if (name == "string" || name == "safe")
    return Value(value.shown());
  if (name == "int" || name == "float")
    return number(value, arguments, name == "int");
  if (name == "items")
    return Value(pairs(value));
  if (name == "dictsort") {
    List all = pairs(value);
    std::stable_sort(all.begin(), all.end(), [](const Value &a, const Value &b) {
      return mapped(*(*a.list())[0].string(), lowered) < mapped(*(*b.list())[0].string(), lowered);
    });
    return Value(all);
  }
  if (name == "map")
    return mapValues(value, arguments);
  if (name.starts_with("select") || name.starts_with("reject"))
    return selected(name, value, arguments);
  if (name == "replace")
    return Value(replaced(value.shown(), textOf(arguments.get(0, "old"), name),
                          textOf(arguments.get(1, "new"), name)));
  if (name == "indent")
    return indented(value, arguments);
  if (name == "sort")
    return sorted(value, arguments);
  List all = name == "abs" ? List() : iterate(value);
  if (name == "reverse") {
    std::reverse(all.begin(), all.end());
    return value.isString() ? joined(Value(all), {}) : Value(all);
  }
  if (name == "unique") {
    List out;
    for (const Value &one : all)
      if (std::none_of(out.begin(), out.end(),
                       [&](const Value &known) { return equal(known, one); }))
        out.push_back(one);
    return Value(out);
  }
  if (name == "sum") {
    Value total(int64_t{0});
    for (const Value &one : all)
      total = applyOperator("+", total, one);
    return total;
  }
  if (name == "abs")
    return value.isFloat() ? Value(std::fabs(value.number()))
                           : applyOperator("*", value, Value(int64_t{value.number() < 0 ? -1 : 1}));
  if (all.empty()) // min, max
    return Value(Undefined{std::string(name)});
  auto less = [](const Value &a, const Value &b) { return compare(a, b) < 0; };
  return name == "min" ? *std::min_element(all.begin(), all.end(), less)
                       : *std::max_element(all.begin(), all.end(), less);
}

bool applyTest(std::string_view name, const Value &value, const Arguments &arguments) {
  static const Value kNone;
  const Value *given = arguments.get(0);
  const Value &other = given != nullptr ? *given : kNone;
  if (name == "defined" || name == "undefined")
    return value.isUndefined() == (name == "undefined");
  if (name == "none")
    return value.isNone();
  if (name == "string")
    return value.isString();
  if (name == "number")
    return value.isNumber();
  if (name == "integer")
    return value.isInteger();
  if (name == "float")
    return value.isFloat();
  if (name == "boolean")
    return value.isBool();
  if (name == "true" || name == "false")
    return value.isBool() && value.truthy() == (name == "true");
  if (name == "mapping")
    return value.dict() != nullptr;
  if (name == "iterable" || name == "sequence")
    return value.list() != nullptr || value.dict() != nullptr || value.isString() ||
           value.isUndefined();
  if (name == "in")
    return contains(other, value);
  if (name == "eq" || name == "equalto" || name == "==" || name == "sameas")
    return equal(value, other);
  if (name == "ne" || name == "!=")
    return !equal(value, other);
  if (name == "gt" || name == "ge" || name == "lt" || name == "le") {
    int order = compare(value, other);
    return name == "gt"   ? order > 0
           : name == "ge" ? order >= 0
           : name == "lt" ? order < 0
                          : order <= 0;
  }
  if (name == "lower" || name == "upper")
    return value.shown() == changeCase(name, value.shown());
  if (!value.isNumber() || (name == "divisibleby" && other.integer() == 0))
    fail("the test '" + std::string(name) + "' of no number");
  int64_t by = name == "divisibleby" ? other.integer() : 2;
  int64_t rest = applyOperator("%", value, Value(by)).integer();
  return name == "odd" ? rest != 0 : rest == 0;
}

namespace {

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

} // namespace

Value callMethod(std::string_view name, const Value &self, const Arguments &arguments) {
  if (const std::string *undefined = self.undefinedName())
    fail("'" + *undefined + "' is undefined");
  if (const std::string *text = self.string())
    return callString(name, *text, arguments);
  if (self.dict() != nullptr) {
    if (name == "items")
      return Value(pairs(self));
    if (name == "keys")
      return Value(iterate(self));
    if (name == "values") {
      List out;
      for (const auto &member : *self.dict())
        out.push_back(member.second);
      return Value(out);
    }
    if (name == "get") {
      const Value *key = arguments.get(0), *otherwise = arguments.get(1);
      const Value *found = key != nullptr && key->isString() ? self.find(*key->string()) : nullptr;
      return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value();
    }
  }
  if (const List *items = self.list();
      items != nullptr && arguments.get(0) != nullptr && (name == "count" || name == "index")) {
    int64_t count = 0;
    for (size_t i = 0; i < items->size(); ++i) {
      bool found = equal((*items)[i], *arguments.get(0));
      if (found && name == "index")
        return Value(static_cast<int64_t>(i));
      count += found ? 1 : 0;
    }
    return name == "count" ? Value(count) : (fail("value is not in the list"), Value());
  }
  fail("'" + std::string(self.typeName()) + "' has no method '" + std::string(name) + "'");
}

} // namespace platen::text::chat
