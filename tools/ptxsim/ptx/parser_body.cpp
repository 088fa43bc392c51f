// What stands inside a function: scopes, registers, labels, instructions and their operands.
#include "tools/ptxsim/ptx/parser_state.h"

namespace platen::ptxsim::ptx {
namespace {

constexpr uint32_t kMaxRegisters = 1u << 20, kMaxScopeDepth = 256;

} // namespace

bool Parser::registers(Scope &scope) {
  advance();
  Type type = Type::kNone;
  while (token_.kind == Kind::kDirective) {
    type = typeFromName(token_.text.substr(1));
    if (type == Type::kNone)
      return fail("unknown register type");
    advance();
  }
  if (type == Type::kNone)
    return fail("expected a register type");
  do {
    std::string_view name;
    if (!word(name, "a register name"))
      return false;
    Register reg{type, 0};
    if (accept('<')) {
      uint64_t count = 0;
      if (!integer(count, "a register count"))
        return false;
      if (count > kMaxRegisters)
        return fail("too many registers");
      reg.count = static_cast<uint32_t>(count);
      if (!expect('>'))
        return false;
      if (count == 0)
        continue;
    }
    scope.registers[name] = reg;
  } while (accept(','));
  return expect(';');
}

bool Parser::body(Function &function) {
  if (!expect('{'))
    return false;
  scope_ = 0;
  open_.clear();
  while (true) {
    if (accept('{')) {
      if (open_.size() >= kMaxScopeDepth)
        return fail("scopes are nested too deep");
      open_.push_back(scope_);
      function.scopes.emplace_back().parent = scope_;
      scope_ = static_cast<uint32_t>(function.scopes.size() - 1);
    } else if (accept('}')) {
      if (open_.empty())
        return true;
      scope_ = open_.back();
      open_.pop_back();
    } else if (token_.kind == Kind::kDirective) {
      if (!bodyDirective(function))
        return false;
    } else if (!accept(';') && !instructionOrLabel(function)) {
      return false;
    }
  }
}

bool Parser::bodyDirective(Function &function) {
  Scope &scope = function.scopes[scope_];
  if (directive(".reg"))
    return registers(scope);
  if (directive(".pragma") || directive(".callprototype"))
    return skipTo(';');
  if (directive(".loc")) {
    uint32_t line = token_.line;
    while (token_.kind != Kind::kEnd && token_.line == line)
      advance();
    return true;
  }
  if (directive(".maxntid") || directive(".reqntid") || directive(".minnctapersm"))
    return performance(function);
  bool isExternal = directive(".extern");
  if (isExternal)
    advance();
  bool ok = true;
  Space space = spaceFromName(token_.text, ok);
  if (!ok)
    return fail("unknown directive in a function body");
  return variables(function.variables, space, isExternal, &scope);
}

bool Parser::labelled(Function &function, std::string_view name) {
  if (directive(".branchtargets")) {
    advance();
    BranchTable table{scope_, {}};
    do {
      if (!word(table.labels.emplace_back(), "a label"))
        return false;
    } while (accept(','));
    function.tables[name] = std::move(table);
    return expect(';');
  }
  if (directive(".callprototype") || directive(".calltargets"))
    return skipTo(';');
  auto index = static_cast<uint32_t>(function.instructions.size());
  if (!function.scopes[scope_].labels.emplace(name, index).second)
    return fail("label '" + std::string(name) + "' is defined twice");
  return true;
}

bool Parser::instructionOrLabel(Function &function) {
  Instruction instruction;
  instruction.line = token_.line;
  instruction.scope = scope_;
  const char *begin = token_.text.data();
  if (accept('@')) {
    instruction.guardNegated = accept('!');
    if (!word(instruction.guard, "a predicate"))
      return false;
  }
  if (!word(instruction.opcode, "an instruction"))
    return false;
  if (instruction.guard.empty() && accept(':'))
    return labelled(function, instruction.opcode);
  return this->instruction(function, std::move(instruction), begin);
}

bool Parser::instruction(Function &function, Instruction instruction, const char *begin) {
  std::string_view rest = instruction.opcode;
  while (true) {
    size_t dot = rest.find('.');
    instruction.parts.push_back(rest.substr(0, dot));
    if (dot == std::string_view::npos)
      break;
    rest.remove_prefix(dot + 1);
  }
  while (!token_.is(';')) {
    if (token_.kind == Kind::kEnd || token_.kind == Kind::kBad)
      return fail("expected ';' after an instruction");
    if (!operand(instruction.operands.emplace_back(), 0))
      return false;
    if (!accept(',') && !token_.is(';'))
      return fail("expected ',' or ';' after an operand");
  }
  instruction.text = {begin, static_cast<size_t>(token_.text.data() - begin)};
  advance();
  function.instructions.push_back(std::move(instruction));
  return true;
}

bool Parser::number(Operand &operand, bool negative) {
  Number value;
  if (!parseNumber(token_.text, value))
    return fail("malformed number");
  advance();
  operand.bits = value.bits;
  operand.kind = Operand::Kind::kInteger;
  if (value.kind == Number::Kind::kFloat32) {
    operand.kind = Operand::Kind::kFloat32;
    operand.bits ^= negative ? 0x80000000u : 0;
  } else if (value.kind == Number::Kind::kFloat64) {
    operand.kind = Operand::Kind::kFloat64;
    operand.bits ^= negative ? uint64_t{1} << 63 : 0;
  } else if (negative) {
    operand.bits = 0 - operand.bits;
  }
  return true;
}

bool Parser::list(Operand &operand, char end, uint32_t depth) {
  advance();
  while (!token_.is(end)) {
    if (!this->operand(operand.elements.emplace_back(), depth + 1))
      return false;
    if (!accept(',') && !token_.is(end))
      return fail(std::string("expected ',' or '") + end + "'");
  }
  advance();
  return true;
}

/// [base], [base + imm], [base + -imm], [imm], [base, {…}] and [base], [mbarrier] forms.
bool Parser::address(Operand &operand, uint32_t depth) {
  operand.kind = Operand::Kind::kAddress;
  advance();
  if (!this->operand(operand.elements.emplace_back(), depth + 1))
    return false;
  while (token_.is('+') || token_.is('-')) {
    bool negative = token_.is('-');
    advance();
    negative ^= accept('-');
    uint64_t value = 0;
    if (!integer(value, "an offset"))
      return false;
    operand.offset = static_cast<int64_t>(static_cast<uint64_t>(operand.offset) +
                                          (negative ? 0 - value : value));
  }
  while (accept(','))
    if (!this->operand(operand.elements.emplace_back(), depth + 1))
      return false;
  return expect(']');
}

bool Parser::operand(Operand &operand, uint32_t depth) {
  if (depth > kMaxOperandDepth)
    return fail("operands are nested too deep");
  if (token_.is('{') || token_.is('(')) {
    bool braces = token_.is('{');
    operand.kind = braces ? Operand::Kind::kVector : Operand::Kind::kList;
    return list(operand, braces ? '}' : ')', depth);
  }
  if (token_.is('['))
    return address(operand, depth);
  bool negative = false;
  if (token_.is('!') || token_.is('-')) {
    negative = true;
    advance();
  }
  if (token_.kind == Kind::kNumber)
    return number(operand, negative);
  operand.negated = negative;
  if (!word(operand.name, "an operand"))
    return false;
  if (depth == 0 && token_.is('|')) {
    Operand first = std::move(operand);
    operand = Operand{};
    operand.kind = Operand::Kind::kPair;
    operand.elements.push_back(std::move(first));
    advance();
    return this->operand(operand.elements.emplace_back(), depth + 1);
  }
  // Offsets of plain names, e.g. `mov.u64 %rd1, table+8;`
  if (depth == 0 && token_.is('+')) {
    advance();
    uint64_t value = 0;
    if (!integer(value, "an offset"))
      return false;
    operand.offset = static_cast<int64_t>(value);
  }
  return true;
}

} // namespace platen::ptxsim::ptx
