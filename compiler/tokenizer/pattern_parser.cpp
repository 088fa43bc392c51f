// Recursive descent over Oniguruma's (Ruby's) syntax.
#include "compiler/tokenizer/pattern_parser.h"

#include <algorithm>
#include <optional>
#include <string>

#include "runtime/base/utf8.h"

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

constexpr uint32_t kMaxRepeat = 1000, kMaxDepth = 100;
constexpr uint32_t kLongS = 0x17F, kKelvin = 0x212A; // what 's' and 'k' fold to outside ASCII

class Parser {
public:
  explicit Parser(std::string_view pattern) : text_(pattern) {}

  Result<PatternNode> run() {
    PLATEN_ASSIGN_OR_RETURN(PatternNode node, alternatives(false, 0));
    if (more())
      return refuse("a ')' that nothing opened");
    return node;
  }

private:
  Status refuse(const std::string &what) const {
    return base::unsupported("regular expression '" + std::string(text_) + "' has " + what +
                             " at byte " + std::to_string(at_) +
                             ", which platen's tokenizers do not implement");
  }
  bool more() const { return at_ < text_.size(); }
  bool take(std::string_view what) {
    bool found = text_.substr(at_).starts_with(what);
    at_ += found ? what.size() : 0;
    return found;
  }
  Result<uint32_t> character() {
    base::Utf8Char c = base::decodeUtf8(text_.substr(at_));
    if (c.bytes == 0)
      return refuse("no character");
    at_ += c.bytes;
    return uint32_t{c.codepoint};
  }

  Result<PatternNode> alternatives(bool fold, uint32_t depth);
  Result<PatternNode> sequence(bool fold, uint32_t depth);
  Result<PatternNode> repeated(PatternNode item);
  Result<PatternNode> repetition(PatternNode item);
  Result<std::pair<uint32_t, uint32_t>> counts();
  Result<PatternNode> atom(bool fold, uint32_t depth);
  Result<PatternNode> group(bool fold, uint32_t depth);
  Result<PatternNode> ahead(bool negative, bool fold, uint32_t depth);
  Result<CodeSet> classBody(bool fold, uint32_t depth);
  Result<CodeSet> classItem(bool fold, uint32_t depth, bool &single);
  Result<CodeSet> escape(bool fold, bool &single);
  Result<CodeSet> property(bool negative, bool fold);
  Result<uint32_t> hex(size_t digits);
  Result<CodeSet> literal(uint32_t code, bool fold);

  std::string_view text_;
  size_t at_ = 0;
};

PatternNode setNode(CodeSet set) {
  PatternNode node;
  node.kind = PatternNode::kSet;
  node.set = std::move(set);
  return node;
}

PatternNode aheadNode(CodeSet set, bool negative, bool orEnd) {
  PatternNode node = setNode(std::move(set));
  node.kind = PatternNode::kAhead;
  node.negative = negative, node.orEnd = orEnd;
  return node;
}

/// The one ASCII letter that a folded set stands for, in lower case, or 0.
char foldedLetter(const PatternNode &node) {
  if (node.kind != PatternNode::kSet || node.set.ranges().empty())
    return 0;
  uint32_t first = node.set.ranges().front().first;
  return first >= 'A' && first <= 'Z' && node.set.contains(first + 32)
             ? static_cast<char>(first + 32)
             : 0;
}

/// Letters that fold together to one character (a ligature, a sharp s), which a folded pattern
/// would have to match too.
bool foldsTogether(char left, char right) {
  return (left == 's' && (right == 's' || right == 't')) ||
         (left == 'f' && (right == 'f' || right == 'i' || right == 'l'));
}

Result<PatternNode> Parser::alternatives(bool fold, uint32_t depth) {
  if (depth > kMaxDepth)
    return refuse("groups nested too deeply");
  PatternNode node;
  node.kind = PatternNode::kEither;
  do {
    PLATEN_ASSIGN_OR_RETURN(PatternNode branch, sequence(fold, depth));
    node.children.push_back(std::move(branch));
  } while (take("|"));
  if (node.children.size() > 1)
    return node;
  PatternNode only = std::move(node.children[0]);
  return only;
}

Result<PatternNode> Parser::sequence(bool fold, uint32_t depth) {
  PatternNode node;
  while (more() && text_[at_] != '|' && text_[at_] != ')') {
    PLATEN_ASSIGN_OR_RETURN(PatternNode item, atom(fold, depth));
    PLATEN_ASSIGN_OR_RETURN(item, repeated(std::move(item)));
    if (fold && !node.children.empty() &&
        foldsTogether(foldedLetter(node.children.back()), foldedLetter(item)))
      return refuse("letters that fold to a ligature, without regard to case,");
    node.children.push_back(std::move(item));
  }
  if (node.children.size() != 1)
    return node;
  PatternNode only = std::move(node.children[0]);
  return only;
}

Result<PatternNode> Parser::repeated(PatternNode item) {
  while (more() && std::string_view("*+?{").find(text_[at_]) != std::string_view::npos) {
    if (item.kind == PatternNode::kAhead)
      return refuse("a repeated lookahead");
    PLATEN_ASSIGN_OR_RETURN(item, repetition(std::move(item)));
  }
  return item;
}

Result<PatternNode> Parser::repetition(PatternNode item) {
  PatternNode node;
  node.kind = PatternNode::kRepeat;
  node.most = UINT32_MAX;
  bool counted = text_[at_] == '{', possessive = false;
  if (counted) {
    PLATEN_ASSIGN_OR_RETURN(auto range, counts());
    node.least = range.first, node.most = range.second;
    // A '+' here would repeat again, a '?' means different things in different syntaxes.
    if (more() && text_[at_] == '?')
      return refuse("a lazy counted repetition");
  } else {
    char how = text_[at_++];
    node.least = how == '+' ? 1 : 0;
    node.most = how == '?' ? 1 : UINT32_MAX;
    node.lazy = take("?");
    possessive = !node.lazy && take("+");
  }
  bool single = item.kind == PatternNode::kSet;
  CodeSet set = item.set;
  node.children.push_back(std::move(item));
  if (!possessive)
    return node;
  if (!single)
    return refuse("a possessive repetition of more than one character");
  // Nothing is given back: what follows the repetition is none of the set, unless it is full.
  PatternNode whole;
  if (node.most == 1) {
    whole.kind = PatternNode::kEither;
    whole.children.push_back(setNode(set));
  } else {
    whole.children.push_back(std::move(node));
  }
  whole.children.push_back(aheadNode(std::move(set), /*negative=*/true, /*orEnd=*/true));
  return whole;
}

Result<std::pair<uint32_t, uint32_t>> Parser::counts() {
  size_t end = text_.find('}', at_);
  std::string_view inside =
      end == std::string_view::npos ? "" : text_.substr(at_ + 1, end - at_ - 1);
  auto number = [](std::string_view digits) {
    uint32_t value = 0;
    for (char c : digits)
      value = c < '0' || c > '9' || value > kMaxRepeat
                  ? kMaxRepeat + 1
                  : value * 10 + static_cast<uint32_t>(c - '0');
    return value;
  };
  size_t comma = inside.find(',');
  std::string_view low = inside.substr(0, comma);
  std::string_view high = comma == std::string_view::npos ? low : inside.substr(comma + 1);
  uint32_t least = number(low), most = high.empty() ? UINT32_MAX : number(high);
  if (inside.empty() || inside == "," || least > kMaxRepeat || most < least ||
      (most > kMaxRepeat && most != UINT32_MAX) || most == 0)
    return refuse("a repetition count");
  at_ = end + 1;
  return std::pair(least, most);
}

Result<PatternNode> Parser::atom(bool fold, uint32_t depth) {
  if (take("("))
    return group(fold, depth);
  if (take("[")) {
    PLATEN_ASSIGN_OR_RETURN(CodeSet set, classBody(fold, depth + 1));
    return setNode(std::move(set));
  }
  if (take("\\z"))
    return aheadNode({}, false, true);
  if (take("$"))
    return aheadNode(CodeSet::range('\n', '\n'), false, true);
  if (take("."))
    return setNode(CodeSet::range('\n', '\n').complement());
  if (text_[at_] == '\\') {
    bool single = false;
    PLATEN_ASSIGN_OR_RETURN(CodeSet set, escape(fold, single));
    return setNode(std::move(set));
  }
  if (std::string_view("^*+?{").find(text_[at_]) != std::string_view::npos)
    return refuse(std::string("'") + text_[at_] + "'");
  PLATEN_ASSIGN_OR_RETURN(uint32_t code, character());
  PLATEN_ASSIGN_OR_RETURN(CodeSet set, literal(code, fold));
  return setNode(std::move(set));
}

Result<PatternNode> Parser::group(bool fold, uint32_t depth) {
  if (take("?!"))
    return ahead(true, fold, depth);
  if (take("?="))
    return ahead(false, fold, depth);
  if (take("?i:"))
    fold = true;
  else if (take("?-i:"))
    fold = false;
  else if (!take("?:") && more() && text_[at_] == '?')
    return refuse("a '(?' of a kind");
  PLATEN_ASSIGN_OR_RETURN(PatternNode node, alternatives(fold, depth + 1));
  if (!take(")"))
    return refuse("no ')'");
  return node;
}

/// Collects what a lookahead's body takes when it looks at one character only.
bool collectAhead(const PatternNode &node, CodeSet &set, bool &orEnd) {
  if (node.kind == PatternNode::kEither)
    return std::all_of(node.children.begin(), node.children.end(),
                       [&](const PatternNode &child) { return collectAhead(child, set, orEnd); });
  if (node.kind == PatternNode::kSet || (node.kind == PatternNode::kAhead && !node.negative)) {
    set.add(node.set);
    orEnd |= node.orEnd;
    return true;
  }
  return false;
}

Result<PatternNode> Parser::ahead(bool negative, bool fold, uint32_t depth) {
  PLATEN_ASSIGN_OR_RETURN(PatternNode body, alternatives(fold, depth + 1));
  if (!take(")"))
    return refuse("no ')'");
  CodeSet set;
  bool orEnd = false;
  if (!collectAhead(body, set, orEnd))
    return refuse("a lookahead at more than one character");
  return aheadNode(std::move(set), negative, negative != orEnd);
}

/// After '[': items up to ']'.
Result<CodeSet> Parser::classBody(bool fold, uint32_t depth) {
  if (depth > kMaxDepth)
    return refuse("classes nested too deeply");
  bool negative = take("^");
  if (negative && fold)
    return refuse("a negated class without regard to case");
  CodeSet set;
  std::optional<CodeSet> others; // what stood before the last "&&"
  bool any = false;
  while (!take("]")) {
    if (!more())
      return refuse("no ']'");
    if (take("&&")) {
      others = others ? others->intersection(set) : set;
      set = {};
      continue;
    }
    bool single = false;
    PLATEN_ASSIGN_OR_RETURN(CodeSet item, classItem(fold, depth, single));
    bool isRange =
        single && more() && text_[at_] == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
    if (isRange) {
      ++at_;
      bool lastSingle = false;
      PLATEN_ASSIGN_OR_RETURN(CodeSet last, classItem(false, depth, lastSingle));
      uint32_t first = item.ranges().front().first;
      if (!lastSingle || last.ranges().front().first < first)
        return refuse("a range");
      if (fold) // a-z: each letter folds
        for (uint32_t code = first; code <= last.ranges().front().first; ++code) {
          PLATEN_ASSIGN_OR_RETURN(CodeSet one, literal(code, true));
          item.add(one);
        }
      else
        item.add(first, last.ranges().front().first);
    }
    set.add(item);
    any = true;
  }
  if (!any)
    return refuse("an empty class");
  if (others)
    set = others->intersection(set);
  return negative ? set.complement() : set;
}

Result<CodeSet> Parser::classItem(bool fold, uint32_t depth, bool &single) {
  if (text_.substr(at_).starts_with("[:"))
    return refuse("a bracket class '[:'");
  if (take("["))
    return classBody(fold, depth + 1);
  if (text_[at_] == '\\')
    return escape(fold, single);
  single = true;
  PLATEN_ASSIGN_OR_RETURN(uint32_t code, character());
  return literal(code, fold);
}

/// At a backslash; `single` tells whether one character is meant.
Result<CodeSet> Parser::escape(bool fold, bool &single) {
  ++at_;
  if (!more())
    return refuse("a '\\' at its end");
  char c = text_[at_];
  if (c == 's' || c == 'w' || c == 'd' || c == 'S' || c == 'W' || c == 'D') {
    ++at_;
    bool negative = c < 'a';
    CodeSet set = regexShorthand(negative ? static_cast<char>(c + 32) : c);
    return negative ? set.complement() : set;
  }
  if (c == 'p' || c == 'P') {
    ++at_;
    return property(c == 'P', fold);
  }
  single = true;
  uint32_t code = 0;
  constexpr std::string_view kNames = "ntrfvae", kCodes = "\n\t\r\f\v\a\x1b";
  if (size_t known = kNames.find(c); known != std::string_view::npos) {
    ++at_;
    code = static_cast<unsigned char>(kCodes[known]);
  } else if (c == 'x' || c == 'u') {
    ++at_;
    PLATEN_ASSIGN_OR_RETURN(code, hex(c == 'x' ? 2 : 4));
  } else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
    return refuse(std::string("'\\") + c + "'");
  } else {
    PLATEN_ASSIGN_OR_RETURN(code, character());
  }
  return literal(code, fold);
}

/// Exactly `digits` hexadecimal digits, or any number in braces.
Result<uint32_t> Parser::hex(size_t digits) {
  bool braces = take("{");
  uint32_t value = 0;
  size_t count = 0;
  for (; more() && (braces || count < digits) && count < 8; ++count, ++at_) {
    char c = text_[at_];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0)
      break;
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  if (count == 0 || (!braces && count < digits) || (braces && !take("}")) || value >= kCodePoints ||
      (!braces && digits == 2 && value >= 0x80))
    return refuse("an escape of a character");
  return value;
}

Result<CodeSet> Parser::property(bool negative, bool fold) {
  size_t end = text_.find('}', at_);
  if (!take("{") || end == std::string_view::npos)
    return refuse("a property without braces");
  negative ^= take("^");
  std::string_view name = text_.substr(at_, end - at_);
  std::optional<CodeSet> set = regexProperty(name);
  if (!set)
    return refuse("the property '" + std::string(name) + "'");
  if (fold && name != "L" && name != "N" && name != "P" && name != "Z")
    return refuse("the property '" + std::string(name) + "' without regard to case");
  at_ = end + 1;
  return negative ? set->complement() : *set;
}

Result<CodeSet> Parser::literal(uint32_t code, bool fold) {
  CodeSet set = CodeSet::range(code, code);
  if (!fold)
    return set;
  if (code >= 0x80)
    return refuse("a character outside ASCII without regard to case");
  uint32_t lower = code | 32;
  if (lower < 'a' || lower > 'z')
    return set;
  set = CodeSet::range(lower - 32, lower - 32);
  set.add(lower, lower);
  if (lower == 's')
    set.add(kLongS, kLongS);
  if (lower == 'k')
    set.add(kKelvin, kKelvin);
  return set;
}

} // namespace

Result<PatternNode> parsePattern(std::string_view pattern) { return Parser(pattern).run(); }

} // namespace platen::compiler
