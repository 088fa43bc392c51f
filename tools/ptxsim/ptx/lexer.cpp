#include "tools/ptxsim/ptx/lexer.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <string>

namespace platen::ptxsim::ptx {
namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
bool isNamePart(char c) { return isNameStart(c) || isDigit(c); }

template <typename T> bool whole(std::string_view digits, int base, T &value) {
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  return error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
}

} // namespace

void Lexer::skipBlank() {
  while (at_ < text_.size()) {
    char c = text_[at_];
    if (c == '\n') {
      ++line_, ++at_;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
      ++at_;
    } else if (text_.substr(at_, 2) == "//" || (c == '#' && (at_ == 0 || text_[at_ - 1] == '\n'))) {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (text_.substr(at_, 2) == "/*") {
      size_t end = std::min(text_.find("*/", at_ + 2), text_.size());
      for (; at_ < end; ++at_)
        line_ += text_[at_] == '\n';
      at_ = std::min(at_ + 2, text_.size());
    } else {
      return;
    }
  }
}

/// A name with its dotted and `::` suffixes.
void Lexer::takeName() {
  while (at_ < text_.size()) {
    auto partAt = [&](size_t i) { return i < text_.size() && isNamePart(text_[i]); };
    if (isNamePart(text_[at_]))
      ++at_;
    else if (text_[at_] == '.' && partAt(at_ + 1))
      ++at_;
    else if (text_.substr(at_, 2) == "::" && partAt(at_ + 2))
      at_ += 2;
    else
      return;
  }
}

Token Lexer::next() {
  skipBlank();
  Token token{Token::Kind::kEnd, {}, line_};
  if (at_ >= text_.size())
    return token;
  size_t begin = at_;
  char c = text_[at_], after = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
  token.kind = Token::Kind::kPunctuation;
  if (isNameStart(c)) {
    token.kind = Token::Kind::kWord;
    takeName();
  } else if (c == '.' && isNameStart(after)) {
    token.kind = Token::Kind::kDirective;
    ++at_;
    while (at_ < text_.size() &&
           (isNamePart(text_[at_]) || (text_.substr(at_, 2) == "::" && ++at_)))
      ++at_;
  } else if (isDigit(c) || (c == '.' && isDigit(after))) {
    token.kind = Token::Kind::kNumber;
    bool hex = text_.substr(at_, 2) == "0x" || text_.substr(at_, 2) == "0X";
    while (at_ < text_.size() && (isNamePart(text_[at_]) || text_[at_] == '.' ||
                                  (!hex && (text_[at_] == '-' || text_[at_] == '+') &&
                                   (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E') &&
                                   text_[begin + 1] != 'f' && text_[begin + 1] != 'd')))
      ++at_;
  } else if (c == '"') {
    token.kind = Token::Kind::kString;
    size_t end = text_.find('"', at_ + 1);
    if (end == std::string_view::npos) {
      token.kind = Token::Kind::kBad;
      token.text = "unterminated string";
      at_ = text_.size();
      return token;
    }
    for (size_t i = at_; i < end; ++i)
      line_ += text_[i] == '\n';
    token.text = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return token;
  } else {
    ++at_;
  }
  token.text = text_.substr(begin, at_ - begin);
  return token;
}

bool parseNumber(std::string_view text, Number &number) {
  auto prefix = [&](char lower) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == lower;
  };
  number.kind = Number::Kind::kInteger;
  if (prefix('f')) {
    number.kind = Number::Kind::kFloat32;
    return text.size() == 10 && whole(text.substr(2), 16, number.bits);
  }
  if (prefix('d') && text.size() == 18) {
    number.kind = Number::Kind::kFloat64;
    return whole(text.substr(2), 16, number.bits);
  }
  if (text.find_first_of(".") != std::string_view::npos ||
      (!prefix('x') && text.find_first_of("eE") != std::string_view::npos)) {
    std::string copy(text);
    char *end = nullptr;
    double value = std::strtod(copy.c_str(), &end);
    number.kind = Number::Kind::kFloat64;
    number.bits = std::bit_cast<uint64_t>(value);
    return end == copy.c_str() + copy.size();
  }
  if (text.ends_with('U') || text.ends_with('u'))
    text.remove_suffix(1);
  if (prefix('x'))
    return whole(text.substr(2), 16, number.bits);
  if (prefix('b'))
    return whole(text.substr(2), 2, number.bits);
  return whole(text, text.size() > 1 && text[0] == '0' ? 8 : 10, number.bits);
}

} // namespace platen::ptxsim::ptx
