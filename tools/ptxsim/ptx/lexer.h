// Cuts PTX text into tokens; comments and preprocessor lines vanish. Linear time, no allocation.
#pragma once

#include <cstdint>
#include <string_view>

namespace platen::ptxsim::ptx {

struct Token {
  enum class Kind : uint8_t {
    kEnd,
    kWord,      // add.f32, %tid.x, foo, $L__BB0_1
    kDirective, // .reg, .b32
    kNumber,    // as written, 0f3F800000 included
    kString,    // without its quotes
    kPunctuation,
    kBad,
  };
  Kind kind = Kind::kEnd;
  std::string_view text;
  uint32_t line = 0;
  bool is(char c) const { return kind == Kind::kPunctuation && text[0] == c; }
};

class Lexer {
public:
  explicit Lexer(std::string_view text) : text_(text) {}
  Token next();

private:
  void skipBlank();
  void takeName();
  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
};

/// A literal's value. False: malformed or too large for 64 bits.
struct Number {
  enum class Kind : uint8_t { kInteger, kFloat32, kFloat64 } kind = Kind::kInteger;
  uint64_t bits = 0;
};
bool parseNumber(std::string_view text, Number &number);

} // namespace platen::ptxsim::ptx
