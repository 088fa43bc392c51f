// Arithmetic on dimensions, for those who lay plans out and those who check them.
#include "runtime/plan/graph.h"

namespace platen::plan {

using base::Result;
using base::Size;

Result<Size> tensorBytes(base::DType dtype, std::span<const Size> dims) {
  int bits = base::bitWidth(dtype);
  if (bits == 0)
    return base::corrupt("dtype " + std::to_string(static_cast<int>(dtype)) +
                         " is none that this runtime knows");
  Size elements = 1;
  for (const Size &dim : dims) {
    // Each product is formed only while both factors are short: a hostile file costs little.
    if (dim.terms().size() > kMaxDimensionTerms)
      return base::corrupt("a dimension is a sum of more than 16 terms");
    elements = elements * dim;
    if (elements.terms().size() > kMaxSizeTerms)
      return base::corrupt("its number of elements is a sum of more than 64 terms");
  }
  if (bits >= 8)
    return elements * Size(bits / 8);
  std::optional<int64_t> count = elements.constant();
  if (!count)
    return base::unsupported("a tensor of " + std::string(base::dtypeName(dtype)) +
                             " needs dimensions that are known when it is compiled");
  return Size(*count / 2 + *count % 2);
}

int64_t soleSymbol(const Size &dimension) {
  const auto &terms = dimension.terms();
  bool sole = terms.size() == 1 && terms[0].coefficient == 1 && terms[0].symbols.size() == 1;
  return sole ? int64_t{terms[0].symbols[0]} : -1;
}

std::string toString(const Size &size, std::span<const Symbol> symbols) {
  std::string text;
  const auto &terms = size.terms();
  for (auto term = terms.rbegin(); term != terms.rend(); ++term) {
    text += text.empty() ? "" : " + ";
    if (term->coefficient != 1 || term->symbols.empty())
      text += std::to_string(term->coefficient) + (term->symbols.empty() ? "" : "*");
    for (size_t i = 0; i < term->symbols.size(); ++i)
      text += (i == 0 ? "" : "*") + symbols[term->symbols[i]].name;
  }
  return text.empty() ? "0" : text;
}

} // namespace platen::plan
