// Jinja's lexical rules with trim_blocks and lstrip_blocks, as transformers sets them.
#include "runtime/text/chat_lexer.h"

#include <algorithm>

#include "runtime/text/normalizers.h"

namespace platen::text::chat {

using base::Result;
using base::Status;

namespace {

bool isSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isNameStart(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z' ? true : c == '_'; }

class Lexer {
public:
  explicit Lexer(std::string_view source) {
    for (size_t i = 0; i < source.size(); ++i) { // one kind of line end
      bool carriage = source[i] == '\r';
      source_ += carriage ? '\n' : source[i];
      i += carriage && i + 1 < source.size() && source[i + 1] == '\n' ? 1 : 0;
    }
    if (source_.ends_with('\n')) // the one at the end is the file's, not the template's
      source_.pop_back();
  }

  Result<std::vector<Token>> run() {
    while (at_ < source_.size())
      PLATEN_RETURN_IF_ERROR(textAndTag());
    tokens_.push_back({Token::kEnd, "", line_});
    return std::move(tokens_);
  }

private:
  Status fail(const std::string &what) const {
    return base::invalidArgument("line " + std::to_string(line_) + " has " + what);
  }
  void push(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }
  void advance(size_t bytes) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                              source_.begin() + static_cast<ptrdiff_t>(at_ + bytes),
                                              '\n'));
    at_ += bytes;
  }
  size_t findTag(size_t from) const {
    for (size_t i = from; i + 1 < source_.size(); ++i)
      if (source_[i] == '{' &&
          (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    return source_.size();
  }

  Status textAndTag() {
    size_t tag = findTag(at_);
    std::string text = source_.substr(at_, tag - at_);
    char kind = tag < source_.size() ? source_[tag + 1] : '\0';
    char mark = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (kind != '\0' && mark == '-') {
      while (!text.empty() && isSpace(text.back()))
        text.pop_back();
    } else if ((kind == '%' || kind == '#') && mark != '+') {
      stripLine(text);
    }
    if (!text.empty())
      push(Token::kText, std::move(text));
    advance(tag - at_);
    if (kind == '\0')
      return Status::ok();
    advance(mark == '-' || mark == '+' ? 3 : 2);
    return kind == '#' ? comment() : inside(kind == '{');
  }
  /// Takes the spaces off between the start of its last line and a tag. A text without a line end
  /// begins a line only at the start of the template or after a tag's own line end.
  void stripLine(std::string &text) const {
    size_t end = text.size();
    while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t' || text[end - 1] == '\v' ||
                       text[end - 1] == '\f'))
      --end;
    if (end > 0 ? text[end - 1] == '\n' : at_ == 0 || source_[at_ - 1] == '\n')
      text.resize(end);
  }
  Status comment() {
    size_t end = source_.find("#}", at_);
    if (end == std::string::npos)
      return fail("a comment that does not end");
    char mark = end > at_ ? source_[end - 1] : '\0';
    advance(end + 2 - at_);
    afterTag(mark, true);
    return Status::ok();
  }
  /// White space that the end of a tag takes with it.
  void afterTag(char mark, bool trims) {
    if (mark == '-') {
      size_t end = at_;
      while (end < source_.size() && isSpace(source_[end]))
        ++end;
      advance(end - at_);
    } else if (trims && mark != '+' && at_ < source_.size() && source_[at_] == '\n') {
      advance(1);
    }
  }

  Status inside(bool print) {
    push(print ? Token::kBeginPrint : Token::kBeginTag, "");
    std::string_view close = print ? "}}" : "%}";
    int open = 0; // braces of dictionaries
    for (;;) {
      while (at_ < source_.size() && isSpace(source_[at_]))
        advance(1);
      std::string_view rest = std::string_view(source_).substr(at_);
      if (rest.empty())
        return fail("a tag that does not end");
      bool marked = rest[0] == '-' || (rest[0] == '+' && !print);
      if (open == 0 && rest.substr(marked ? 1 : 0).starts_with(close)) {
        char mark = marked ? rest[0] : '\0';
        advance(close.size() + (marked ? 1 : 0));
        push(print ? Token::kEndPrint : Token::kEndTag, "");
        afterTag(mark, !print);
        return Status::ok();
      }
      PLATEN_RETURN_IF_ERROR(token(rest, open));
    }
  }

  Status token(std::string_view rest, int &open) {
    if (rest[0] == '"' || rest[0] == '\'')
      return stringToken(rest[0]);
    if (isNameStart(rest[0])) {
      size_t end = 1;
      while (end < rest.size() && (isNameStart(rest[end]) || isDigit(rest[end])))
        ++end;
      push(Token::kName, std::string(rest.substr(0, end)));
      advance(end);
      return Status::ok();
    }
    if (isDigit(rest[0]))
      return number(rest);
    for (std::string_view op : {"==", "!=", "<=", ">=", "//", "**"})
      if (rest.starts_with(op)) {
        push(Token::kOperator, std::string(op));
        advance(2);
        return Status::ok();
      }
    if (std::string_view("+-*/%~<>=()[]{}.,:|").find(rest[0]) == std::string_view::npos)
      return fail(std::string("an unexpected '") + rest[0] + "'");
    open += rest[0] == '{' ? 1 : rest[0] == '}' ? -1 : 0;
    push(Token::kOperator, std::string(1, rest[0]));
    advance(1);
    return Status::ok();
  }

  Status number(std::string_view rest) {
    size_t end = 0;
    bool isFloat = false;
    while (end < rest.size() && isDigit(rest[end]))
      ++end;
    if (end + 1 < rest.size() && rest[end] == '.' && isDigit(rest[end + 1])) {
      isFloat = true;
      for (++end; end < rest.size() && isDigit(rest[end]);)
        ++end;
    }
    size_t exponent = end + 1;
    if (exponent < rest.size() && (rest[exponent] == '+' || rest[exponent] == '-'))
      ++exponent;
    if (end < rest.size() && (rest[end] | 32) == 'e' && exponent < rest.size() &&
        isDigit(rest[exponent])) {
      isFloat = true;
      for (end = exponent; end < rest.size() && isDigit(rest[end]);)
        ++end;
    }
    push(isFloat ? Token::kFloat : Token::kInteger, std::string(rest.substr(0, end)));
    advance(end);
    return Status::ok();
  }

  Status stringToken(char quote) {
    std::string out;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\') {
        out += source_[i];
        continue;
      }
      char c = ++i < source_.size() ? source_[i] : '\0';
      constexpr std::string_view kFrom = "ntrbfav\\'\"", kTo = "\n\t\r\b\f\a\v\\'\"";
      size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (size_t known = kFrom.find(c); known != std::string_view::npos)
        out += kTo[known];
      else if (c == '\n')
        continue;
      else if (digits > 0 && i + digits < source_.size())
        appendUtf8(hexValue(i + 1, digits), out), i += digits;
      else if (c >= '0' && c <= '7')
        return fail("an octal escape");
      else
        out.append("\\").append(1, c);
    }
    if (i >= source_.size())
      return fail("a string that does not end");
    push(Token::kString, std::move(out));
    advance(i + 1 - at_);
    return Status::ok();
  }
  char32_t hexValue(size_t from, size_t digits) const {
    char32_t value = 0;
    for (size_t i = from; i < from + digits; ++i) {
      char c = static_cast<char>(source_[i] | 32);
      value = value * 16 + static_cast<char32_t>(isDigit(source_[i])    ? source_[i] - '0'
                                                 : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                                        : 0);
    }
    return value < 0x110000 ? value : base::kReplacementCharacter;
  }

  std::string source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  std::vector<Token> tokens_;
};

} // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(source).run(); }

} // namespace platen::text::chat
