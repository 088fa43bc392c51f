// Renders a parsed template: scopes, loops, macros, and the limits that keep a hostile template
// from running or growing without end.
#include "runtime/text/chat_template.h"

#include <ctime>
#include <map>

#include "runtime/text/chat_operations.h"
#include "runtime/text/chat_syntax.h"

namespace platen::text {

using base::Result;
using base::StatusCode;

namespace chat {

/// What can be called: a macro of the template, or a function that every template has.
struct Macro {
  const Statement *definition = nullptr; ///< null: `builtin` names the function
  std::string builtin;
};

namespace {

constexpr uint64_t kMaxSteps = 2'000'000;
constexpr size_t kMaxOutput = size_t{256} << 20;
constexpr uint32_t kMaxCalls = 60;
constexpr int64_t kMaxRange = 100'000; // as the sandbox of the reference limits it

enum class Flow : uint8_t { kOn, kBreak, kContinue };

using Scope = std::map<std::string, Value, std::less<>>;

class Renderer {
public:
  explicit Renderer(int64_t now) : now_(now) {
    for (const char *name : {"raise_exception", "strftime_now", "namespace", "dict", "range"})
      define(name, Value(std::shared_ptr<const Macro>(new Macro{nullptr, name})));
  }

  void define(std::string name, Value value) { scopes_[0][std::move(name)] = std::move(value); }
  std::string run(const Block &block) {
    std::string out;
    render(block, out);
    return out;
  }

private:
  void step() {
    if (++steps_ > kMaxSteps)
      throw ChatError{StatusCode::kResourceExhausted, "the template runs too long"};
  }
  void put(const std::string &text, std::string &out) {
    out += text;
    if ((written_ += text.size()) > kMaxOutput)
      throw ChatError{StatusCode::kResourceExhausted, "the template writes more than 256 MiB"};
  }

  Flow render(const Block &block, std::string &out);
  Flow loop(const Statement &statement, std::string &out);
  void bind(const std::vector<std::string> &names, const Value &value);
  void assign(const Statement &statement, Value value);
  Value evaluate(const Expression &e);
  Value name(const Expression &e);
  Value binary(const Expression &e);
  Value call(const Expression &e);
  Value callBuiltin(const std::string &name, const Arguments &arguments);
  Value callMacro(const Macro &macro, const Arguments &arguments);
  Value filtered(const Expression &e, const Value *block);
  Arguments arguments(const std::vector<Argument> &list);
  Value timeNow(const Arguments &arguments) const;

  int64_t now_;
  std::vector<Scope> scopes_{1};
  uint64_t steps_ = 0;
  size_t written_ = 0;
  uint32_t calls_ = 0;
};

Flow Renderer::render(const Block &block, std::string &out) {
  for (const Statement &statement : block) {
    step();
    Flow flow = Flow::kOn;
    switch (statement.kind) {
    case Statement::kText:
      put(statement.text, out);
      break;
    case Statement::kOutput:
      put(evaluate(*statement.value).shown(), out);
      break;
    case Statement::kIf:
      flow =
          render(evaluate(*statement.value).truthy() ? statement.body : statement.otherwise, out);
      break;
    case Statement::kFor:
      flow = loop(statement, out);
      break;
    case Statement::kSet:
      assign(statement, evaluate(*statement.value));
      break;
    case Statement::kSetBlock: {
      std::string inner;
      scopes_.emplace_back();
      render(statement.body, inner);
      scopes_.pop_back();
      Value value(std::move(inner));
      assign(statement, statement.value ? filtered(*statement.value, &value) : value);
      break;
    }
    case Statement::kMacro:
      scopes_.back()[statement.text] =
          Value(std::shared_ptr<const Macro>(new Macro{&statement, {}}));
      break;
    case Statement::kGroup:
      flow = render(statement.body, out);
      break;
    case Statement::kBreak:
      return Flow::kBreak;
    case Statement::kContinue:
      return Flow::kContinue;
    }
    if (flow != Flow::kOn)
      return flow;
  }
  return Flow::kOn;
}

Flow Renderer::loop(const Statement &statement, std::string &out) {
  List items;
  for (Value &one : iterate(evaluate(*statement.value))) {
    step();
    if (statement.condition) {
      scopes_.emplace_back();
      bind(statement.names, one);
      bool wanted = evaluate(*statement.condition).truthy();
      scopes_.pop_back();
      if (!wanted)
        continue;
    }
    items.push_back(std::move(one));
  }
  bool completed = false; // an iteration reached its end: neither break nor continue cut all short
  auto size = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < size; ++i) {
    auto at = [&](int64_t index) {
      return index >= 0 && index < size ? items[static_cast<size_t>(index)]
                                        : Value(Undefined{"loop"});
    };
    scopes_.emplace_back();
    scopes_.back()["loop"] = Value(Dict{{"index", Value(i + 1)},
                                        {"index0", Value(i)},
                                        {"revindex", Value(size - i)},
                                        {"revindex0", Value(size - i - 1)},
                                        {"first", Value(i == 0)},
                                        {"last", Value(i + 1 == size)},
                                        {"length", Value(size)},
                                        {"previtem", at(i - 1)},
                                        {"nextitem", at(i + 1)}});
    bind(statement.names, items[static_cast<size_t>(i)]);
    Flow flow = render(statement.body, out);
    scopes_.pop_back();
    completed |= flow == Flow::kOn;
    if (flow == Flow::kBreak)
      break;
  }
  return completed ? Flow::kOn : render(statement.otherwise, out);
}

/// One name takes the value, several take its parts.
void Renderer::bind(const std::vector<std::string> &names, const Value &value) {
  if (names.size() == 1) {
    scopes_.back()[names[0]] = value;
    return;
  }
  List parts = iterate(value);
  if (parts.size() != names.size())
    fail(std::to_string(parts.size()) + " values for " + std::to_string(names.size()) + " names");
  for (size_t i = 0; i < names.size(); ++i)
    scopes_.back()[names[i]] = parts[i];
}

void Renderer::assign(const Statement &statement, Value value) {
  if (statement.member.empty())
    return bind(statement.names, value);
  for (size_t i = scopes_.size(); i-- > 0;) {
    auto found = scopes_[i].find(statement.names[0]);
    if (found == scopes_[i].end())
      continue;
    const Space *space = found->second.space();
    if (space == nullptr)
      break;
    for (auto &[name, member] : *space->members)
      if (name == statement.member) {
        member = std::move(value);
        return;
      }
    space->members->emplace_back(statement.member, std::move(value));
    return;
  }
  fail("'" + statement.names[0] + "' is no namespace, so it has no members to set");
}

Value Renderer::evaluate(const Expression &e) {
  step();
  switch (e.kind) {
  case Expression::kConstant:
    return e.value;
  case Expression::kName:
    return name(e);
  case Expression::kList:
  case Expression::kTuple: {
    List items;
    for (const ExpressionPtr &part : e.parts)
      items.push_back(evaluate(*part));
    return e.kind == Expression::kList
               ? Value(std::move(items))
               : Value(Tuple{std::make_shared<const List>(std::move(items))});
  }
  case Expression::kDict: {
    Dict members;
    for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
      Value key = evaluate(*e.parts[i]);
      if (!key.isString())
        fail("a key that is no string is not implemented");
      members.emplace_back(*key.string(), evaluate(*e.parts[i + 1]));
    }
    return Value(std::move(members));
  }
  case Expression::kAttribute:
    return attribute(evaluate(*e.parts[0]), e.text);
  case Expression::kItem:
    return item(evaluate(*e.parts[0]), evaluate(*e.parts[1]));
  case Expression::kSlice: {
    Value value = evaluate(*e.parts[0]), bounds[3];
    for (size_t i = 0; i < 3; ++i)
      if (e.parts[i + 1])
        bounds[i] = evaluate(*e.parts[i + 1]);
    return slice(value, &bounds[0], &bounds[1], &bounds[2]);
  }
  case Expression::kCall:
    return call(e);
  case Expression::kFilter:
    return filtered(e, nullptr);
  case Expression::kTest:
    return Value(applyTest(e.text, evaluate(*e.parts[0]), arguments(e.arguments)));
  case Expression::kUnary: {
    Value value = evaluate(*e.parts[0]);
    if (e.text == "not")
      return Value(!value.truthy());
    return applyOperator("*", value, Value(int64_t{e.text == "-" ? -1 : 1}));
  }
  case Expression::kBinary:
    return binary(e);
  case Expression::kChoice:
    if (evaluate(*e.parts[1]).truthy())
      return evaluate(*e.parts[0]);
    return e.parts[2] ? evaluate(*e.parts[2]) : Value(Undefined{"the other choice"});
  }
  return {};
}

Value Renderer::name(const Expression &e) {
  for (size_t i = scopes_.size(); i-- > 0;)
    if (auto found = scopes_[i].find(e.text); found != scopes_[i].end())
      return found->second;
  return Value(Undefined{e.text});
}

Value Renderer::binary(const Expression &e) {
  Value left = evaluate(*e.parts[0]);
  if (e.text == "and")
    return left.truthy() ? evaluate(*e.parts[1]) : left;
  if (e.text == "or")
    return left.truthy() ? left : evaluate(*e.parts[1]);
  return applyOperator(e.text, left, evaluate(*e.parts[1]));
}

Arguments Renderer::arguments(const std::vector<Argument> &list) {
  Arguments out;
  for (const Argument &argument : list) {
    Value value = evaluate(*argument.value);
    if (argument.name.empty())
      out.positional.push_back(std::move(value));
    else
      out.named.emplace_back(argument.name, std::move(value));
  }
  return out;
}

Value Renderer::filtered(const Expression &e, const Value *block) {
  Value value = e.parts[0] == nullptr                     ? *block
                : e.parts[0]->kind == Expression::kFilter ? filtered(*e.parts[0], block)
                                                          : evaluate(*e.parts[0]);
  return applyFilter(e.text, value, arguments(e.arguments));
}

Value Renderer::call(const Expression &e) {
  const Expression &callee = *e.parts[0];
  if (callee.kind == Expression::kAttribute)
    return callMethod(callee.text, evaluate(*callee.parts[0]), arguments(e.arguments));
  Value target = evaluate(callee);
  if (const Macro *macro = target.macro())
    return macro->definition != nullptr ? callMacro(*macro, arguments(e.arguments))
                                        : callBuiltin(macro->builtin, arguments(e.arguments));
  if (const std::string *undefined = target.undefinedName())
    fail("'" + *undefined + "' is undefined");
  fail("'" + std::string(target.typeName()) + "' cannot be called");
}

Value Renderer::callMacro(const Macro &macro, const Arguments &given) {
  if (++calls_ > kMaxCalls)
    throw ChatError{StatusCode::kResourceExhausted, "macros call each other too deeply"};
  const Statement &definition = *macro.definition;
  if (given.positional.size() > definition.parameters.size())
    fail("macro '" + definition.text + "' takes at most " +
         std::to_string(definition.parameters.size()) + " arguments");
  // A macro sees what stands at the top of the template, and its own parameters.
  std::vector<Scope> outer(std::make_move_iterator(scopes_.begin() + 1),
                           std::make_move_iterator(scopes_.end()));
  scopes_.resize(1);
  scopes_.emplace_back();
  for (size_t i = 0; i < definition.parameters.size(); ++i) {
    const Argument &parameter = definition.parameters[i];
    const Value *value = given.get(i, parameter.name);
    scopes_.back()[parameter.name] = value != nullptr  ? *value
                                     : parameter.value ? evaluate(*parameter.value)
                                                       : Value(Undefined{parameter.name});
  }
  std::string out;
  render(definition.body, out);
  scopes_.resize(1);
  scopes_.insert(scopes_.end(), std::make_move_iterator(outer.begin()),
                 std::make_move_iterator(outer.end()));
  --calls_;
  return Value(std::move(out));
}

Value Renderer::callBuiltin(const std::string &name, const Arguments &given) {
  if (name == "raise_exception")
    fail(given.get(0) != nullptr ? given.get(0)->shown() : "the template raised an exception");
  if (name == "strftime_now")
    return timeNow(given);
  if (name == "namespace" || name == "dict") {
    auto members = std::make_shared<Dict>(given.named);
    if (const Value *from = given.get(0); from != nullptr && from->dict() != nullptr)
      members->insert(members->begin(), from->dict()->begin(), from->dict()->end());
    return name == "dict" ? Value(*members) : Value(Space{members});
  }
  int64_t from = 0, to = given.get(0) != nullptr ? given.get(0)->integer() : 0, by = 1;
  if (const Value *end = given.get(1))
    from = to, to = end->integer();
  if (const Value *stride = given.get(2))
    by = stride->integer();
  if (by == 0)
    fail("range() of step 0");
  List out;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) {
    if (static_cast<int64_t>(out.size()) >= kMaxRange)
      fail("range() of more than 100000 numbers");
    out.emplace_back(i);
    if ((by > 0 && i > INT64_MAX - by) || (by < 0 && i < INT64_MIN - by))
      break;
  }
  return Value(out);
}

Value Renderer::timeNow(const Arguments &given) const {
  time_t seconds = now_ < 0 ? time(nullptr) : static_cast<time_t>(now_);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char buffer[256];
  std::string format = given.get(0) != nullptr ? given.get(0)->shown() : "";
  return Value(std::string(buffer, strftime(buffer, sizeof(buffer), format.c_str(), &parts)));
}

} // namespace
} // namespace chat

struct ChatTemplate::Tree {
  chat::Block block;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Tree> tree) : tree_(std::move(tree)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate &&) noexcept = default;
ChatTemplate &ChatTemplate::operator=(ChatTemplate &&) noexcept = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  auto block = chat::parseTemplate(source);
  if (!block.isOk())
    return block.status().at("chat template");
  auto tree = std::make_unique<Tree>();
  tree->block = std::move(*block);
  return ChatTemplate(std::move(tree));
}

Result<std::string> ChatTemplate::render(const ChatContext &context) const {
  chat::Renderer renderer(context.now);
  auto json = [](const std::string &text, const char *what) {
    auto value = chat::parseJson(text);
    return value.isOk() ? value : Result<chat::Value>(value.status().at(what));
  };
  PLATEN_ASSIGN_OR_RETURN(chat::Value messages, json(context.messages, "messages"));
  chat::Value tools;
  if (!context.tools.empty()) {
    PLATEN_ASSIGN_OR_RETURN(tools, json(context.tools, "tools"));
  }
  renderer.define("messages", std::move(messages));
  renderer.define("tools", std::move(tools));
  renderer.define("documents", chat::Value());
  renderer.define("add_generation_prompt", chat::Value(context.addGenerationPrompt));
  for (const std::string *text : {&context.variables, &context.moreVariables}) {
    if (text->empty())
      continue;
    PLATEN_ASSIGN_OR_RETURN(chat::Value variables, json(*text, "variables"));
    if (variables.dict() == nullptr)
      return base::invalidArgument("is no JSON object", "variables");
    for (const auto &[name, value] : *variables.dict())
      renderer.define(name, value);
  }
  try {
    return renderer.run(tree_->block);
  } catch (const chat::ChatError &error) {
    return base::Status(error.code, error.message, "chat template");
  }
}

} // namespace platen::text
