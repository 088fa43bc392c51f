// Operators, subscripts, tests and methods of values, as Python and Jinja have them.
#include "runtime/text/chat_operations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "runtime/text/chat_syntax.h"
#include "runtime/text/chat_text.h"

namespace platen::text::chat {

namespace {

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

int compare(const Value &left, const Value &right) {
  if (left.isNumber() && right.isNumber())
    return left.number() < right.number() ? -1 : left.number() > right.number() ? 1 : 0;
  if (!left.isString() || !right.isString())
    fail("'" + std::string(left.typeName()) + "' and '" + std::string(right.typeName()) +
         "' cannot be ordered");
  int order = left.string()->compare(*right.string()); // bytes of UTF-8 sort as code points do
  return order < 0 ? -1 : order > 0 ? 1 : 0;
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

bool isFilter(std::string_view name) {
  return !name.empty() && std::find(kFilters.begin(), kFilters.end(), name) != kFilters.end();
}

bool isTest(std::string_view name) {
  return !name.empty() && std::find(kTests.begin(), kTests.end(), name) != kTests.end();
}

bool isMethod(std::string_view name) {
  return !name.empty() && std::find(kMethods.begin(), kMethods.end(), name) != kMethods.end();
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
