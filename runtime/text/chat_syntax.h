// Syntax tree of a chat template, and its parser.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/chat_value.h"

namespace platen::text::chat {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Argument {
  std::string name; ///< empty: by position
  ExpressionPtr value;
};

struct Expression {
  enum Kind : uint8_t {
    kConstant,  ///< value
    kName,      ///< text
    kList,      ///< parts
    kTuple,     ///< parts
    kDict,      ///< parts: key, value, key, ...
    kAttribute, ///< parts[0].text
    kItem,      ///< parts[0][parts[1]]
    kSlice,     ///< parts[0][parts[1]:parts[2]:parts[3]], null where nothing stands
    kCall,      ///< parts[0](arguments)
    kFilter,    ///< parts[0] | text(arguments); parts[0] null: of a block
    kTest,      ///< parts[0] is text(arguments)
    kUnary,     ///< text: "not", "-", "+"
    kBinary,    ///< text: an operator; "and" and "or" evaluate the right side when they must
    kChoice,    ///< parts[0] if parts[1] else parts[2]; the last may be null
  } kind = kConstant;
  uint32_t line = 0;
  uint32_t depth = 1; ///< of the tree below
  std::string text;
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<Argument> arguments;
};

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
  enum Kind : uint8_t {
    kText,     ///< text
    kOutput,   ///< value
    kIf,       ///< value, body, otherwise
    kFor,      ///< names in value, `condition` or all; body, otherwise
    kSet,      ///< names (or name.member) = value
    kSetBlock, ///< names[0] = what body renders, through the filters of `value` if any
    kMacro,    ///< text: name; parameters with defaults or null; body
    kGroup,    ///< body alone (generation)
    kBreak,
    kContinue,
  } kind = kText;
  uint32_t line = 0;
  std::string text;
  std::vector<std::string> names;
  std::string member; ///< kSet on a namespace
  ExpressionPtr value, condition;
  std::vector<Argument> parameters;
  Block body, otherwise;
};

/// `source` with the whitespace rules of trim_blocks and lstrip_blocks. Errors: kUnsupported names
/// what platen does not implement, with its line; kInvalidArgument: no template at all.
base::Result<Block> parseTemplate(std::string_view source);

/// Whether such a filter, test, or method exists; the parser refuses others.
bool isFilter(std::string_view name);
bool isTest(std::string_view name);
bool isMethod(std::string_view name);

} // namespace platen::text::chat
