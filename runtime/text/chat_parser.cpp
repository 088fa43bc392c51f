// Recursive descent, with Jinja's precedences.
#include "runtime/text/chat_lexer.h"
#include "runtime/text/chat_syntax.h"

#include <algorithm>
#include <charconv>

namespace platen::text::chat {

using base::Result;
using base::Status;

namespace {

constexpr uint32_t kMaxDepth = 100, kMaxTree = 1000;

using Kind = Expression::Kind;

class Parser {
public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Block> run() {
    Block block;
    PLATEN_RETURN_IF_ERROR(statements(block, {}));
    return block;
  }

private:
  const Token &now() const { return tokens_[at_]; }
  const Token &next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(Token::Kind kind, std::string_view text = {}) const {
    return now().kind == kind && (text.empty() || now().text == text);
  }
  bool accept(Token::Kind kind, std::string_view text = {}) {
    bool found = is(kind, text);
    at_ += found ? 1 : 0;
    return found;
  }
  bool op(std::string_view text) { return accept(Token::kOperator, text); }
  bool word(std::string_view text) { return accept(Token::kName, text); }
  Status fail(const std::string &what) const {
    return base::invalidArgument("line " + std::to_string(now().line) + ": " + what);
  }
  Status refuse(const std::string &what) const {
    return base::unsupported("line " + std::to_string(now().line) + ": " + what +
                             " is none that platen's chat templates implement");
  }
  Status expect(std::string_view text) {
    return op(text) ? Status::ok()
                    : fail("'" + std::string(text) + "' is missing before '" + now().text + "'");
  }
  Status endTag() {
    return accept(Token::kEndTag) ? Status::ok()
                                  : fail("a tag has more than it takes: '" + now().text + "'");
  }
  ExpressionPtr make(Kind kind, std::string text = {}) const {
    auto node = std::make_unique<Expression>();
    node->kind = kind, node->text = std::move(text), node->line = now().line;
    return node;
  }

  /// Sets the depth of a node whose parts are complete; chains nest as brackets do.
  Status seal(Expression &node) const {
    auto take = [&node](const ExpressionPtr &part) {
      if (part)
        node.depth = std::max(node.depth, part->depth + 1);
    };
    for (const ExpressionPtr &part : node.parts)
      take(part);
    for (const Argument &argument : node.arguments)
      take(argument.value);
    return node.depth > kMaxTree ? refuse("an expression nested so deeply") : Status::ok();
  }

  Status statements(Block &block, std::initializer_list<std::string_view> ends);
  Status tag(Block &block, const std::string &name);
  Status ifTag(Statement &statement);
  Status forTag(Statement &statement);
  Status setTag(Statement &statement);
  Status macroTag(Statement &statement);
  Status names(std::vector<std::string> &names);

  Result<ExpressionPtr> expression(bool choice = true);
  Result<ExpressionPtr> tuple();
  Result<ExpressionPtr> binary(uint32_t level);
  Result<ExpressionPtr> notLevel();
  Result<ExpressionPtr> compare();
  Result<ExpressionPtr> unary(bool filters);
  Result<ExpressionPtr> primary();
  Result<ExpressionPtr> bracket();
  Result<ExpressionPtr> postfix(ExpressionPtr node);
  Result<ExpressionPtr> subscript(ExpressionPtr node);
  Result<ExpressionPtr> filtersAndTests(ExpressionPtr node);
  Result<ExpressionPtr> filter(ExpressionPtr node);
  Result<ExpressionPtr> test(ExpressionPtr node);
  Status arguments(std::vector<Argument> &arguments);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  uint32_t depth_ = 0;
};

/// Counts nesting, so that no template overflows the stack.
struct Deeper {
  explicit Deeper(uint32_t &depth) : depth_(++depth) {}
  ~Deeper() { --depth_; }
  uint32_t &depth_;
};

// ---------------------------------------------------------------- statements

/// Up to a tag of one of the names `ends`, whose name is left to read.
Status Parser::statements(Block &block, std::initializer_list<std::string_view> ends) {
  Deeper deeper(depth_);
  if (depth_ > kMaxDepth)
    return refuse("a tag nested so deeply");
  while (!is(Token::kEnd)) {
    if (is(Token::kText)) {
      block.emplace_back();
      block.back().text = take().text;
      continue;
    }
    if (accept(Token::kBeginPrint)) {
      Statement output;
      output.kind = Statement::kOutput, output.line = now().line;
      PLATEN_ASSIGN_OR_RETURN(output.value, tuple());
      if (!accept(Token::kEndPrint))
        return fail("'}}' is missing before '" + now().text + "'");
      block.push_back(std::move(output));
      continue;
    }
    ++at_; // the beginning of a tag
    if (std::find(ends.begin(), ends.end(), now().text) != ends.end())
      return Status::ok();
    PLATEN_RETURN_IF_ERROR(tag(block, take().text));
  }
  return ends.size() == 0
             ? Status::ok()
             : fail("the template ends before '" + std::string(*(ends.end() - 1)) + "'");
}

Status Parser::tag(Block &block, const std::string &name) {
  Statement statement;
  statement.line = now().line;
  if (name == "if")
    PLATEN_RETURN_IF_ERROR(ifTag(statement));
  else if (name == "for")
    PLATEN_RETURN_IF_ERROR(forTag(statement));
  else if (name == "set")
    PLATEN_RETURN_IF_ERROR(setTag(statement));
  else if (name == "macro")
    PLATEN_RETURN_IF_ERROR(macroTag(statement));
  else if (name == "generation") {
    statement.kind = Statement::kGroup;
    PLATEN_RETURN_IF_ERROR(endTag());
    PLATEN_RETURN_IF_ERROR(statements(statement.body, {"endgeneration"}));
    ++at_;
    PLATEN_RETURN_IF_ERROR(endTag());
  } else if (name == "break" || name == "continue") {
    statement.kind = name == "break" ? Statement::kBreak : Statement::kContinue;
    PLATEN_RETURN_IF_ERROR(endTag());
  } else {
    return refuse("the tag '" + name + "'");
  }
  block.push_back(std::move(statement));
  return Status::ok();
}

/// After 'if' or 'elif'; an elif becomes an if in the else branch.
Status Parser::ifTag(Statement &statement) {
  statement.kind = Statement::kIf;
  PLATEN_ASSIGN_OR_RETURN(statement.value, tuple());
  PLATEN_RETURN_IF_ERROR(endTag());
  PLATEN_RETURN_IF_ERROR(statements(statement.body, {"elif", "else", "endif"}));
  std::string how = take().text;
  if (how == "elif") {
    Deeper deeper(depth_);
    if (depth_ > kMaxDepth)
      return refuse("such a long chain of 'elif'");
    statement.otherwise.emplace_back();
    return ifTag(statement.otherwise.back());
  }
  PLATEN_RETURN_IF_ERROR(endTag());
  if (how == "endif")
    return Status::ok();
  PLATEN_RETURN_IF_ERROR(statements(statement.otherwise, {"endif"}));
  ++at_;
  return endTag();
}

Status Parser::names(std::vector<std::string> &names) {
  bool group = op("(");
  do {
    if (!is(Token::kName))
      return fail("a name is missing before '" + now().text + "'");
    names.push_back(take().text);
  } while (op(","));
  return group ? expect(")") : Status::ok();
}

Status Parser::forTag(Statement &statement) {
  statement.kind = Statement::kFor;
  PLATEN_RETURN_IF_ERROR(names(statement.names));
  if (!word("in"))
    return fail("'in' is missing before '" + now().text + "'");
  PLATEN_ASSIGN_OR_RETURN(statement.value, expression(false));
  if (word("if")) {
    PLATEN_ASSIGN_OR_RETURN(statement.condition, expression());
  }
  if (is(Token::kName, "recursive"))
    return refuse("a recursive loop");
  PLATEN_RETURN_IF_ERROR(endTag());
  PLATEN_RETURN_IF_ERROR(statements(statement.body, {"else", "endfor"}));
  bool otherwise = take().text == "else";
  PLATEN_RETURN_IF_ERROR(endTag());
  if (!otherwise)
    return Status::ok();
  PLATEN_RETURN_IF_ERROR(statements(statement.otherwise, {"endfor"}));
  ++at_;
  return endTag();
}

Status Parser::setTag(Statement &statement) {
  statement.kind = Statement::kSet;
  PLATEN_RETURN_IF_ERROR(names(statement.names));
  if (statement.names.size() == 1 && op(".")) {
    if (!is(Token::kName))
      return fail("a name is missing before '" + now().text + "'");
    statement.member = take().text;
  }
  if (op("=")) {
    PLATEN_ASSIGN_OR_RETURN(statement.value, tuple());
    return endTag();
  }
  statement.kind = Statement::kSetBlock;
  while (is(Token::kOperator, "|")) {
    PLATEN_ASSIGN_OR_RETURN(statement.value, filter(std::move(statement.value)));
    PLATEN_RETURN_IF_ERROR(seal(*statement.value));
  }
  PLATEN_RETURN_IF_ERROR(endTag());
  PLATEN_RETURN_IF_ERROR(statements(statement.body, {"endset"}));
  ++at_;
  return endTag();
}

Status Parser::macroTag(Statement &statement) {
  statement.kind = Statement::kMacro;
  if (!is(Token::kName))
    return fail("a macro has no name");
  statement.text = take().text;
  PLATEN_RETURN_IF_ERROR(expect("("));
  while (!op(")")) {
    if (!statement.parameters.empty())
      PLATEN_RETURN_IF_ERROR(expect(","));
    if (!is(Token::kName))
      return fail("a parameter has no name");
    statement.parameters.push_back({take().text, nullptr});
    if (op("=")) {
      PLATEN_ASSIGN_OR_RETURN(statement.parameters.back().value, expression());
    }
  }
  PLATEN_RETURN_IF_ERROR(endTag());
  PLATEN_RETURN_IF_ERROR(statements(statement.body, {"endmacro"}));
  ++at_;
  return endTag();
}

// ---------------------------------------------------------------- expressions

/// An expression, or several with commas between them.
Result<ExpressionPtr> Parser::tuple() {
  PLATEN_ASSIGN_OR_RETURN(ExpressionPtr first, expression());
  if (!is(Token::kOperator, ","))
    return first;
  ExpressionPtr all = make(Kind::kTuple);
  all->parts.push_back(std::move(first));
  while (op(",") && !is(Token::kEndPrint) && !is(Token::kEndTag) && !is(Token::kOperator, ")")) {
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr more, expression());
    all->parts.push_back(std::move(more));
  }
  return all;
}

/// `choice`: "a if b else c" may stand here.
Result<ExpressionPtr> Parser::expression(bool choice) {
  Deeper deeper(depth_);
  if (depth_ > kMaxDepth)
    return refuse("an expression nested so deeply");
  PLATEN_ASSIGN_OR_RETURN(ExpressionPtr node, binary(0));
  while (choice && word("if")) {
    ExpressionPtr whole = make(Kind::kChoice);
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr condition, binary(0));
    ExpressionPtr otherwise;
    if (word("else")) {
      PLATEN_ASSIGN_OR_RETURN(otherwise, expression());
    }
    whole->parts.push_back(std::move(node));
    whole->parts.push_back(std::move(condition));
    whole->parts.push_back(std::move(otherwise));
    PLATEN_RETURN_IF_ERROR(seal(*whole));
    node = std::move(whole);
  }
  return node;
}

/// Left-associative operators, loosest first: or; and; not and comparisons; + -; ~; * / // %; **.
Result<ExpressionPtr> Parser::binary(uint32_t level) {
  constexpr std::string_view kOperators[] = {" or ", " and ",      "",    " + - ",
                                             " ~ ",  " * / // % ", " ** "};
  if (level == 2)
    return notLevel();
  if (level == 7)
    return unary(true);
  PLATEN_ASSIGN_OR_RETURN(ExpressionPtr node, binary(level + 1));
  while ((is(Token::kOperator) || is(Token::kName)) &&
         kOperators[level].find(" " + now().text + " ") != std::string_view::npos) {
    ExpressionPtr whole = make(Kind::kBinary, take().text);
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr right, binary(level + 1));
    whole->parts.push_back(std::move(node));
    whole->parts.push_back(std::move(right));
    PLATEN_RETURN_IF_ERROR(seal(*whole));
    node = std::move(whole);
  }
  return node;
}

Result<ExpressionPtr> Parser::notLevel() {
  if (!is(Token::kName, "not"))
    return compare();
  Deeper deeper(depth_);
  if (depth_ > kMaxDepth)
    return refuse("an expression nested so deeply");
  ExpressionPtr whole = make(Kind::kUnary, take().text);
  PLATEN_ASSIGN_OR_RETURN(ExpressionPtr inner, notLevel());
  whole->parts.push_back(std::move(inner));
  PLATEN_RETURN_IF_ERROR(seal(*whole));
  return whole;
}

Result<ExpressionPtr> Parser::compare() {
  PLATEN_ASSIGN_OR_RETURN(ExpressionPtr node, binary(3));
  bool chained = false;
  for (;; chained = true) {
    std::string what;
    if (is(Token::kOperator) &&
        std::string_view(" == != < <= > >= ").find(" " + now().text + " ") !=
            std::string_view::npos)
      what = take().text;
    else if (word("in"))
      what = "in";
    else if (is(Token::kName, "not") && next().text == "in" && next().kind == Token::kName)
      what = "not in", at_ += 2;
    else
      return node;
    if (chained)
      return refuse("a chain of comparisons");
    ExpressionPtr whole = make(Kind::kBinary, what);
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr right, binary(3));
    whole->parts.push_back(std::move(node));
    whole->parts.push_back(std::move(right));
    PLATEN_RETURN_IF_ERROR(seal(*whole));
    node = std::move(whole);
  }
}

Result<ExpressionPtr> Parser::unary(bool filters) {
  Deeper deeper(depth_);
  if (depth_ > kMaxDepth)
    return refuse("an expression nested so deeply");
  ExpressionPtr node;
  if (is(Token::kOperator, "-") || is(Token::kOperator, "+")) {
    node = make(Kind::kUnary, take().text);
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr inner, unary(false));
    node->parts.push_back(std::move(inner));
  } else {
    PLATEN_ASSIGN_OR_RETURN(node, primary());
  }
  PLATEN_RETURN_IF_ERROR(seal(*node));
  PLATEN_ASSIGN_OR_RETURN(node, postfix(std::move(node)));
  return filters ? filtersAndTests(std::move(node)) : Result<ExpressionPtr>(std::move(node));
}

Result<ExpressionPtr> Parser::primary() {
  ExpressionPtr node = make(Kind::kConstant);
  if (is(Token::kString)) {
    std::string text = take().text;
    while (is(Token::kString)) // neighbours join
      text += take().text;
    node->value = Value(std::move(text));
    return node;
  }
  if (is(Token::kInteger) || is(Token::kFloat)) {
    Token token = take();
    const char *end = token.text.data() + token.text.size();
    int64_t integer = 0;
    double number = 0;
    bool isFloat = token.kind == Token::kFloat;
    auto result = isFloat ? std::from_chars(token.text.data(), end, number)
                          : std::from_chars(token.text.data(), end, integer);
    if (result.ec != std::errc())
      return fail("the number " + token.text + " is too large");
    node->value = isFloat ? Value(number) : Value(integer);
    return node;
  }
  if (is(Token::kName)) {
    std::string name = take().text;
    if (name == "true" || name == "True" || name == "false" || name == "False")
      node->value = Value((name[0] | 32) == 't');
    else if (name != "none" && name != "None")
      node->kind = Kind::kName, node->text = name;
    return node;
  }
  return bracket();
}

/// ( ), [ ] or { }.
Result<ExpressionPtr> Parser::bracket() {
  ExpressionPtr node = make(Kind::kTuple);
  if (op("(")) {
    if (op(")"))
      return node;
    PLATEN_ASSIGN_OR_RETURN(node, tuple());
    PLATEN_RETURN_IF_ERROR(expect(")"));
    return node;
  }
  bool list = op("[");
  if (!list && !op("{"))
    return fail("an expression is missing before '" + now().text + "'");
  node->kind = list ? Kind::kList : Kind::kDict;
  std::string_view close = list ? "]" : "}";
  while (!op(close)) {
    if (!node->parts.empty()) {
      PLATEN_RETURN_IF_ERROR(expect(","));
      if (op(close))
        break;
    }
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr part, expression());
    node->parts.push_back(std::move(part));
    if (list)
      continue;
    PLATEN_RETURN_IF_ERROR(expect(":"));
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr value, expression());
    node->parts.push_back(std::move(value));
  }
  return node;
}

Result<ExpressionPtr> Parser::postfix(ExpressionPtr node) {
  for (;;) {
    if (op(".")) {
      ExpressionPtr whole = make(is(Token::kInteger) ? Kind::kItem : Kind::kAttribute);
      if (is(Token::kInteger))
        return refuse("an index after '.'");
      if (!is(Token::kName))
        return fail("a name is missing after '.'");
      whole->text = take().text;
      if (is(Token::kOperator, "(") && !isMethod(whole->text))
        return refuse("the method '" + whole->text + "'");
      whole->parts.push_back(std::move(node));
      PLATEN_RETURN_IF_ERROR(seal(*whole));
      node = std::move(whole);
    } else if (op("[")) {
      PLATEN_ASSIGN_OR_RETURN(node, subscript(std::move(node)));
      PLATEN_RETURN_IF_ERROR(seal(*node));
    } else if (op("(")) {
      ExpressionPtr whole = make(Kind::kCall);
      PLATEN_RETURN_IF_ERROR(arguments(whole->arguments));
      whole->parts.push_back(std::move(node));
      PLATEN_RETURN_IF_ERROR(seal(*whole));
      node = std::move(whole);
    } else {
      return node;
    }
  }
}

/// After '['.
Result<ExpressionPtr> Parser::subscript(ExpressionPtr node) {
  ExpressionPtr whole = make(Kind::kItem);
  whole->parts.push_back(std::move(node));
  ExpressionPtr part;
  if (!is(Token::kOperator, ":")) {
    PLATEN_ASSIGN_OR_RETURN(part, expression());
    if (op("]")) {
      whole->parts.push_back(std::move(part));
      return whole;
    }
  }
  whole->kind = Kind::kSlice;
  whole->parts.push_back(std::move(part));
  while (whole->parts.size() < 4 && op(":")) {
    part = nullptr;
    if (!is(Token::kOperator, ":") && !is(Token::kOperator, "]")) {
      PLATEN_ASSIGN_OR_RETURN(part, expression());
    }
    whole->parts.push_back(std::move(part));
  }
  PLATEN_RETURN_IF_ERROR(expect("]"));
  whole->parts.resize(4);
  return whole;
}

/// After '('.
Status Parser::arguments(std::vector<Argument> &arguments) {
  while (!op(")")) {
    if (!arguments.empty()) {
      PLATEN_RETURN_IF_ERROR(expect(","));
      if (op(")"))
        break;
    }
    if (is(Token::kOperator, "*") || is(Token::kOperator, "**"))
      return refuse("an argument with '*'");
    Argument argument;
    if (is(Token::kName) && next().kind == Token::kOperator && next().text == "=") {
      argument.name = take().text;
      ++at_;
    }
    PLATEN_ASSIGN_OR_RETURN(argument.value, expression());
    arguments.push_back(std::move(argument));
  }
  return Status::ok();
}

Result<ExpressionPtr> Parser::filtersAndTests(ExpressionPtr node) {
  for (;;) {
    if (is(Token::kOperator, "|")) {
      PLATEN_ASSIGN_OR_RETURN(node, filter(std::move(node)));
      PLATEN_RETURN_IF_ERROR(seal(*node));
    } else if (is(Token::kName, "is")) {
      PLATEN_ASSIGN_OR_RETURN(node, test(std::move(node)));
      PLATEN_RETURN_IF_ERROR(seal(*node->parts[0]));
      PLATEN_RETURN_IF_ERROR(seal(*node));
    } else {
      return node;
    }
    PLATEN_ASSIGN_OR_RETURN(node, postfix(std::move(node)));
  }
}

Result<ExpressionPtr> Parser::filter(ExpressionPtr node) {
  ++at_; // '|'
  ExpressionPtr whole = make(Kind::kFilter, take().text);
  if (!isFilter(whole->text))
    return refuse("the filter '" + whole->text + "'");
  if (op("("))
    PLATEN_RETURN_IF_ERROR(arguments(whole->arguments));
  whole->parts.push_back(std::move(node));
  return whole;
}

Result<ExpressionPtr> Parser::test(ExpressionPtr node) {
  ++at_; // 'is'
  bool negative = word("not");
  ExpressionPtr whole = make(Kind::kTest, take().text);
  if (!isTest(whole->text))
    return refuse("the test '" + whole->text + "'");
  whole->parts.push_back(std::move(node));
  bool word = is(Token::kName) && now().text != "and" && now().text != "or" &&
              now().text != "else" && now().text != "if" && now().text != "is" &&
              now().text != "not" && now().text != "in";
  if (op("(")) {
    PLATEN_RETURN_IF_ERROR(arguments(whole->arguments));
  } else if (word || is(Token::kString) || is(Token::kInteger) || is(Token::kFloat) ||
             is(Token::kOperator, "[")) {
    PLATEN_ASSIGN_OR_RETURN(ExpressionPtr operand, primary());
    PLATEN_ASSIGN_OR_RETURN(operand, postfix(std::move(operand)));
    whole->arguments.push_back({"", std::move(operand)});
  }
  if (!negative)
    return whole;
  ExpressionPtr inverted = make(Kind::kUnary, "not");
  inverted->parts.push_back(std::move(whole));
  return inverted;
}

} // namespace

Result<Block> parseTemplate(std::string_view source) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

} // namespace platen::text::chat
