// The table of tensor instructions, and what their lowerings share.
#include "tools/ptxsim/core/matrix.h"

#include <charconv>

namespace platen::ptxsim {

bool parseShape(std::string_view text, Shape &shape) {
  const char *at = text.data(), *end = at + text.size();
  for (auto [letter, value] : {std::pair{'m', &shape.m}, {'n', &shape.n}, {'k', &shape.k}}) {
    if (at == end || *at != letter)
      return false;
    auto [next, error] = std::from_chars(at + 1, end, *value);
    if (error != std::errc{})
      return false;
    at = next;
  }
  return at == end;
}

bool appendRegisters(Lowering &lowering, const Operand &operand, size_t count, bool wide,
                     bool isDestination, std::string_view what) {
  std::span<const Operand> elements(&operand, 1);
  if (operand.kind == Operand::Kind::kVector)
    elements = operand.elements;
  if (elements.size() != count)
    return lowering.refuse(std::string(what) + " has " + std::to_string(elements.size()) +
                           " registers, not " + std::to_string(count));
  for (const Operand &element : elements) {
    Place place;
    if (isDestination ? !lowering.destination(element, place, wide)
                      : !lowering.source(element, wide, place))
      return false;
    if (place.isPredicate || place.wide != wide)
      return lowering.refuse("a register of " + std::string(what) + " has another width");
    lowering.code().lists.push_back(place.offset);
  }
  return true;
}

std::span<const Form> matrixForms() {
  static constexpr Form kForms[] = {
      {"mma", &lowerMma, Pipe::kMma},
      {"ldmatrix", &lowerLdmatrix, Pipe::kLsu},
      {"stmatrix", &lowerStmatrix, Pipe::kLsu},
      {"movmatrix", &lowerMovmatrix, Pipe::kAlu},
      {"wgmma", &lowerWgmma, Pipe::kMma},
      {"wmma", &lowerWmma, Pipe::kMma},
      {"tcgen05", &lowerTensorCore5, Pipe::kMma},
  };
  return kForms;
}

} // namespace platen::ptxsim
