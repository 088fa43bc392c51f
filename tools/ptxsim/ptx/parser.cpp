#include "tools/ptxsim/ptx/parser.h"

#include "tools/ptxsim/ptx/parser_state.h"

#include <algorithm>
#include <bit>

namespace platen::ptxsim::ptx {
namespace {

constexpr size_t kMaxTextBytes = size_t{64} << 20;
constexpr uint64_t kMaxVariableElements = uint64_t{1} << 32, kMaxAlignment = 65536;

} // namespace

Space spaceFromName(std::string_view name, bool &ok) {
  constexpr std::pair<std::string_view, Space> kSpaces[] = {
      {".global", Space::kGlobal}, {".shared", Space::kShared}, {".shared::cta", Space::kShared},
      {".const", Space::kConst},   {".local", Space::kLocal},   {".param", Space::kParam}};
  for (const auto &[text, space] : kSpaces)
    if (text == name)
      return space;
  ok = false;
  return Space::kReg;
}

bool Parser::integer(uint64_t &value, const char *what) {
  Number number;
  if (token_.kind != Kind::kNumber || !parseNumber(token_.text, number) ||
      number.kind != Number::Kind::kInteger)
    return fail(std::string("expected ") + what);
  value = number.bits;
  advance();
  return true;
}

bool Parser::skipTo(char end) {
  while (!token_.is(end)) {
    if (token_.kind == Kind::kEnd || token_.kind == Kind::kBad)
      return fail(std::string("expected '") + end + "'");
    advance();
  }
  advance();
  return true;
}

bool Parser::skipBlock() {
  while (!token_.is('{'))
    if (token_.kind == Kind::kEnd)
      return fail("expected '{'");
    else
      advance();
  return expect('{') && skipTo('}');
}

bool Parser::module() {
  while (token_.kind != Kind::kEnd)
    if (!topLevel())
      return false;
  if (module_.version == 0)
    return fail("no .version directive: this is no PTX module");
  return true;
}

bool Parser::version() {
  advance();
  // "8.8" or "9.0": one number token.
  std::string_view text = token_.text;
  size_t dot = text.find('.');
  if (token_.kind != Kind::kNumber || dot == std::string_view::npos || dot > 3 ||
      text.size() - dot > 3)
    return fail("expected a version such as 8.8");
  for (size_t i = 0; i < text.size(); ++i)
    if (i != dot) {
      if (text[i] < '0' || text[i] > '9')
        return fail("expected a version such as 8.8");
      module_.version = module_.version * 10 + (text[i] - '0');
    }
  advance();
  return true;
}

bool Parser::target() {
  advance();
  if (!word(module_.target, "a target such as sm_90"))
    return false;
  while (accept(',')) {
    std::string_view ignored;
    if (!word(ignored, "a target option"))
      return false;
  }
  return true;
}

bool Parser::topLevel() {
  if (directive(".version"))
    return version();
  if (directive(".target"))
    return target();
  if (directive(".address_size")) {
    advance();
    uint64_t bits = 0;
    if (!integer(bits, "an address size"))
      return false;
    if (bits != 64)
      return fail("only 64-bit addresses are executed");
    return true;
  }
  if (directive(".file")) {
    uint32_t line = token_.line;
    while (token_.kind != Kind::kEnd && token_.line == line)
      advance();
    return true;
  }
  if (directive(".section"))
    return skipBlock();
  if (directive(".pragma") || directive(".alias"))
    return skipTo(';');
  bool isExternal = false;
  while (directive(".visible") || directive(".extern") || directive(".weak") ||
         directive(".common")) {
    isExternal |= directive(".extern");
    advance();
  }
  if (directive(".entry") || directive(".func"))
    return function(directive(".entry"), isExternal);
  bool ok = true;
  Space space = spaceFromName(token_.text, ok);
  if (token_.kind != Kind::kDirective || !ok)
    return fail("expected .entry, .func or a variable");
  return variables(module_.variables, space, isExternal, nullptr);
}

bool Parser::triple(uint32_t (&values)[3]) {
  advance();
  for (int i = 0; i < 3; ++i)
    values[i] = 1;
  for (int i = 0; i < 3; ++i) {
    uint64_t value = 0;
    if (!integer(value, "a number of threads or blocks"))
      return false;
    if (value == 0 || value > 65535)
      return fail("a size between 1 and 65535 is needed");
    values[i] = static_cast<uint32_t>(value);
    if (!accept(','))
      return true;
  }
  return true;
}

/// Everything between the parameter list and the body.
bool Parser::performance(Function &function) {
  while (token_.kind == Kind::kDirective) {
    if (directive(".maxntid")) {
      if (!triple(function.maxThreads))
        return false;
    } else if (directive(".reqntid")) {
      if (!triple(function.requiredThreads))
        return false;
    } else if (directive(".reqnctapercluster")) {
      if (!triple(function.cluster))
        return false;
    } else if (directive(".pragma")) {
      if (!skipTo(';'))
        return false;
    } else {
      advance(); // .minnctapersm 2, .maxnreg 64, .explicitcluster, .noreturn, .abi_preserve 3 …
      while (token_.kind == Kind::kNumber) {
        advance();
        accept(',');
      }
    }
  }
  return true;
}

bool Parser::parameters(std::vector<Variable> &list) {
  if (!expect('('))
    return false;
  while (!token_.is(')')) {
    Variable variable;
    variable.line = token_.line;
    if (directive(".param"))
      variable.space = Space::kParam;
    else if (directive(".reg"))
      variable.space = Space::kReg;
    else
      return fail("expected .param or .reg");
    advance();
    if (!variableTail(variable))
      return false;
    list.push_back(std::move(variable));
    if (!accept(',') && !token_.is(')'))
      return fail("expected ',' or ')'");
  }
  return expect(')');
}

bool Parser::function(bool isEntry, bool isExternal) {
  Function function;
  function.isEntry = isEntry;
  function.line = token_.line;
  advance();
  while (token_.kind == Kind::kDirective)
    advance(); // .attribute-like directives before the name
  if (!isEntry && token_.is('(') && !parameters(function.results))
    return false;
  if (!word(function.name, "a function name"))
    return false;
  if (token_.is('(') && !parameters(function.parameters))
    return false;
  if (!performance(function))
    return false;
  function.scopes.emplace_back();
  if (accept(';')) {
    if (!isExternal && isEntry)
      return fail("an entry needs a body");
    module_.functions.push_back(std::move(function));
    return true;
  }
  function.hasBody = true;
  if (!body(function))
    return false;
  module_.functions.push_back(std::move(function));
  return true;
}

/// From after the space: alignment, type, name, array size. Attributes of pointers are skipped.
bool Parser::variableTail(Variable &variable) {
  bool aligned = false;
  while (token_.kind == Kind::kDirective) {
    std::string_view text = token_.text.substr(1);
    Type type = typeFromName(text);
    if (type != Type::kNone) {
      variable.type = type;
    } else if (text == "v2" || text == "v4" || text == "v8") {
      variable.vector = static_cast<uint32_t>(text[1] - '0');
    } else if (text == "align") {
      advance();
      if (!integer(variable.alignment, "an alignment"))
        return false;
      if (!std::has_single_bit(variable.alignment) || variable.alignment > kMaxAlignment)
        return fail("an alignment is a power of two up to 65536");
      aligned = variable.type == Type::kNone || aligned; // after the type it is the pointee's
      continue;
    } else if (text == "texref" || text == "samplerref" || text == "surfref") {
      return fail("texture and surface references are not executed");
    } else if (text == "attribute") {
      advance();
      if (!expect('(') || !skipTo(')'))
        return false;
      continue;
    } // else .ptr, .global, .shared … of a pointer parameter
    advance();
  }
  if (variable.type == Type::kNone)
    return fail("expected a type");
  if (!aligned)
    variable.alignment = std::max(1u, bitsOf(variable.type) / 8) * variable.vector;
  if (!word(variable.name, "a variable name"))
    return false;
  while (accept('[')) {
    uint64_t count = 0;
    if (!token_.is(']') && !integer(count, "an array size"))
      return false;
    if (count > kMaxVariableElements ||
        (variable.isArray && count != 0 && variable.count > kMaxVariableElements / count))
      return fail("the array is too large");
    variable.count = variable.isArray ? variable.count * count : count;
    variable.isArray = true;
    if (!expect(']'))
      return false;
  }
  return true;
}

bool Parser::initialiser(Variable &variable, uint32_t depth) {
  if (depth > kMaxOperandDepth)
    return fail("initialisers are nested too deep");
  if (accept('{')) {
    while (!token_.is('}')) {
      if (!initialiser(variable, depth + 1))
        return false;
      if (!accept(',') && !token_.is('}'))
        return fail("expected ',' or '}'");
    }
    return expect('}');
  }
  Initialiser value;
  bool negative = accept('-');
  if (token_.kind == Kind::kNumber) {
    Operand literal;
    if (!number(literal, negative))
      return false;
    value.bits = literal.bits;
    if (variable.type == Type::kF32 && literal.kind == Operand::Kind::kFloat64)
      value.bits = std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(literal.bits)));
  } else {
    value.kind = Initialiser::Kind::kSymbol;
    if (!word(value.symbol, "a number or a symbol"))
      return false;
    bool generic = value.symbol == "generic" && accept('(');
    if (generic && !word(value.symbol, "a symbol"))
      return false;
    if (accept('+') && !integer(value.bits, "an offset"))
      return false;
    if (generic && !expect(')'))
      return false;
    if (accept('+') && !integer(value.bits, "an offset"))
      return false;
  }
  if (variable.initialisers.size() >= std::max<uint64_t>(1, variable.count) * variable.vector &&
      variable.count != 0)
    return fail("more initialisers than elements");
  variable.initialisers.push_back(value);
  return true;
}

bool Parser::variables(std::vector<Variable> &list, Space space, bool isExternal, Scope *scope) {
  advance();
  Variable prototype;
  prototype.space = space;
  prototype.isExternal = isExternal;
  prototype.line = token_.line;
  do {
    Variable variable = prototype;
    if (!variableTail(variable))
      return false;
    prototype.type = variable.type;
    prototype.alignment = variable.alignment;
    prototype.vector = variable.vector;
    if (accept('=') && !initialiser(variable, 0))
      return false;
    if (variable.isArray && variable.count == 0 && !variable.initialisers.empty())
      variable.count = variable.initialisers.size() / variable.vector;
    if (scope)
      scope->variables[variable.name] = static_cast<uint32_t>(list.size());
    list.push_back(std::move(variable));
  } while (accept(','));
  return expect(';');
}

base::Result<std::unique_ptr<Module>> parse(std::string text) {
  if (text.size() > kMaxTextBytes)
    return base::corrupt("the PTX text has " + std::to_string(text.size()) +
                         " bytes, more than the limit of 64 MiB");
  // The driver API passes a terminating zero along.
  while (!text.empty() && text.back() == '\0')
    text.pop_back();
  auto module = std::make_unique<Module>();
  module->text = std::move(text);
  Parser parser(*module);
  if (!parser.module())
    return parser.error();
  return module;
}

} // namespace platen::ptxsim::ptx
