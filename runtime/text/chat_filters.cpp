// Filters of chat templates, as Jinja has them.
#include "runtime/text/chat_operations.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "runtime/text/chat_syntax.h"
#include "runtime/text/chat_text.h"

namespace platen::text::chat {

namespace {

/// What sorting compares when case does not count.
std::string folded(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), lowered);
  return text;
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
    return folds ? Value(folded(*at.string())) : at;
  };
  bool down = reverse != nullptr && reverse->truthy();
  std::stable_sort(items.begin(), items.end(), [&](const Value &a, const Value &b) {
    return down ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
  });
  return Value(items);
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

List pairs(const Value &value) {
  List out;
  if (value.dict() == nullptr && !value.isUndefined())
    fail("'items' needs a mapping");
  for (size_t i = 0; value.dict() != nullptr && i < value.dict()->size(); ++i)
    out.emplace_back(Tuple{std::make_shared<const List>(
        List{Value((*value.dict())[i].first), (*value.dict())[i].second})});
  return out;
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
      return folded(*(*a.list())[0].string()) < folded(*(*b.list())[0].string());
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

} // namespace platen::text::chat
