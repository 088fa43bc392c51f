#include "runtime/base/size.h"

#include <algorithm>
#include <limits>
#include <map>

namespace platen::base {

namespace {

using Terms = std::map<std::vector<uint32_t>, int64_t>;
constexpr int64_t kSaturated = std::numeric_limits<int64_t>::max();

int64_t addSaturated(int64_t a, int64_t b) {
  int64_t sum = 0;
  return a == kSaturated || b == kSaturated || __builtin_add_overflow(a, b, &sum) ? kSaturated
                                                                                  : sum;
}
int64_t multiplySaturated(int64_t a, int64_t b) {
  int64_t product = 0;
  if (a == 0 || b == 0)
    return 0;
  return a == kSaturated || b == kSaturated || __builtin_mul_overflow(a, b, &product) ? kSaturated
                                                                                      : product;
}

std::vector<Size::Term> canonical(const Terms &terms) {
  std::vector<Size::Term> result;
  for (const auto &[symbols, coefficient] : terms)
    if (coefficient != 0)
      result.push_back({symbols, coefficient});
  return result;
}

} // namespace

Size::Size(int64_t constant) {
  if (constant != 0)
    terms_.push_back({{}, constant});
}

Size Size::symbol(uint32_t index) { return Size(std::vector<Term>{{{index}, 1}}); }

Result<Size> Size::of(std::vector<Term> terms) {
  Terms sums;
  for (Term &term : terms) {
    std::sort(term.symbols.begin(), term.symbols.end());
    int64_t &sum = sums[std::move(term.symbols)];
    sum = addSaturated(sum, term.coefficient);
    if (sum == kSaturated)
      return corrupt("a coefficient of a size does not fit 64 bits");
  }
  return Size(canonical(sums));
}

std::optional<int64_t> Size::constant() const {
  if (terms_.empty())
    return 0;
  if (terms_.size() == 1 && terms_[0].symbols.empty())
    return terms_[0].coefficient;
  return std::nullopt;
}

uint32_t Size::symbolCount() const {
  uint32_t count = 0;
  for (const Term &term : terms_)
    if (!term.symbols.empty())
      count = std::max(count, term.symbols.back() + 1);
  return count;
}

Result<int64_t> Size::evaluate(std::span<const int64_t> symbols) const {
  int64_t sum = 0;
  for (const Term &term : terms_) {
    int64_t product = term.coefficient;
    bool fits = product != kSaturated;
    for (uint32_t symbol : term.symbols)
      fits = fits && !__builtin_mul_overflow(product, symbols[symbol], &product);
    if (!fits || __builtin_add_overflow(sum, product, &sum))
      return invalidArgument("the size " + toString() + " does not fit 64 bits");
  }
  return sum;
}

std::string Size::toString() const {
  std::string text;
  for (auto term = terms_.rbegin(); term != terms_.rend(); ++term) {
    text += text.empty() ? "" : " + ";
    if (term->coefficient != 1 || term->symbols.empty())
      text += std::to_string(term->coefficient) + (term->symbols.empty() ? "" : "*");
    for (size_t i = 0; i < term->symbols.size(); ++i)
      text += (i == 0 ? "s" : "*s") + std::to_string(term->symbols[i]);
  }
  return text.empty() ? "0" : text;
}

Size operator+(const Size &a, const Size &b) {
  Terms sums;
  for (const Size *size : {&a, &b})
    for (const Size::Term &term : size->terms_) {
      int64_t &sum = sums[term.symbols];
      sum = addSaturated(sum, term.coefficient);
    }
  return Size(canonical(sums));
}

Size operator-(const Size &a, const Size &b) { return a + Size(-1) * b; }

Size operator*(const Size &a, const Size &b) {
  Terms sums;
  for (const Size::Term &left : a.terms_)
    for (const Size::Term &right : b.terms_) {
      std::vector<uint32_t> symbols = left.symbols;
      symbols.insert(symbols.end(), right.symbols.begin(), right.symbols.end());
      std::sort(symbols.begin(), symbols.end());
      int64_t &sum = sums[std::move(symbols)];
      sum = addSaturated(sum, multiplySaturated(left.coefficient, right.coefficient));
    }
  return Size(canonical(sums));
}

Size productOf(std::span<const Size> dims) {
  Size product = 1;
  for (const Size &dim : dims)
    product = product * dim;
  return product;
}

} // namespace platen::base
