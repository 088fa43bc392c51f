// The parser's state and the methods of its files: parser.cpp reads modules, functions and
// variables, parser_body.cpp what stands inside a function.
#pragma once

#include "tools/ptxsim/ptx/ast.h"
#include "tools/ptxsim/ptx/lexer.h"

#include "runtime/base/status.h"

#include <string>
#include <utility>
#include <vector>

namespace platen::ptxsim::ptx {

inline constexpr uint32_t kMaxOperandDepth = 4;

/// One pass over the tokens. Every method returns false after it has noted the first error.
class Parser {
public:
  explicit Parser(Module &module) : module_(module), lexer_(module.text) { advance(); }
  bool module();
  base::Status error() const {
    return base::corrupt(message_, "PTX line " + std::to_string(line_));
  }

private:
  using Kind = Token::Kind;
  void advance() { token_ = lexer_.next(); }
  bool fail(std::string what) {
    if (message_.empty()) {
      line_ = token_.line;
      message_ = std::move(what);
      std::string_view near = token_.text.substr(0, 40);
      message_ += token_.kind == Kind::kEnd ? " (at the end of the text)"
                                            : " (at '" + std::string(near) + "')";
    }
    return false;
  }
  bool expect(char c) {
    if (!token_.is(c))
      return fail(std::string("expected '") + c + "'");
    advance();
    return true;
  }
  bool accept(char c) {
    if (!token_.is(c))
      return false;
    advance();
    return true;
  }
  bool directive(std::string_view name) const {
    return token_.kind == Kind::kDirective && token_.text == name;
  }
  bool word(std::string_view &name, const char *what) {
    if (token_.kind != Kind::kWord)
      return fail(std::string("expected ") + what);
    name = token_.text;
    advance();
    return true;
  }
  bool integer(uint64_t &value, const char *what);
  bool skipTo(char end);
  bool skipBlock();
  bool topLevel();
  bool version();
  bool target();
  bool function(bool isEntry, bool isExternal);
  bool parameters(std::vector<Variable> &list);
  bool performance(Function &function);
  bool triple(uint32_t (&values)[3]);
  bool variableTail(Variable &variable);
  bool variables(std::vector<Variable> &list, Space space, bool isExternal, Scope *scope);
  bool initialiser(Variable &variable, uint32_t depth);
  bool body(Function &function);
  bool bodyDirective(Function &function);
  bool registers(Scope &scope);
  bool instructionOrLabel(Function &function);
  bool labelled(Function &function, std::string_view name);
  bool instruction(Function &function, Instruction instruction, const char *begin);
  bool operand(Operand &operand, uint32_t depth);
  bool address(Operand &operand, uint32_t depth);
  bool list(Operand &operand, char end, uint32_t depth);
  bool number(Operand &operand, bool negative);

  Module &module_;
  Lexer lexer_;
  Token token_;
  std::string message_;
  uint32_t line_ = 0, scope_ = 0, depth_ = 0;
  std::vector<uint32_t> open_;
};

/// The state space that a directive names; `ok` becomes false where it names none.
Space spaceFromName(std::string_view name, bool &ok);

} // namespace platen::ptxsim::ptx
