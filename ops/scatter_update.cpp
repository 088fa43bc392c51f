// See scatter_update.h.
#include "ops/scatter_update.h"

#include <iterator>

namespace platen::ops {

base::Result<ScatterReduction> scatterReductionOf(const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "reduction");
  const std::string_view names[] = {"none", "add", "mul", "min", "max"};
  for (size_t i = 0; i < std::size(names); ++i)
    if (names[i] == name)
      return static_cast<ScatterReduction>(i);
  return base::invalidArgument("C4: reduction is '" + name +
                               "'; it must be none, add, mul, min or max");
}

void scatterUpdate(Tensor &y, int64_t at, const Tensor &updates, int64_t from,
                   ScatterReduction reduction) {
  if (reduction == ScatterReduction::kNone)
    return y.copyFrom(updates, from, at, 1);
  auto combined = [&](auto a, auto b) {
    switch (reduction) {
    case ScatterReduction::kAdd:
      return a + b;
    case ScatterReduction::kMul:
      return a * b;
    case ScatterReduction::kMin:
      return b < a || b != b ? b : a;
    default:
      return b > a || b != b ? b : a;
    }
  };
  if (base::isFloat(y.dtype()))
    y.set(at, combined(y.get(at), updates.get(from)));
  else if (reduction == ScatterReduction::kAdd || reduction == ScatterReduction::kMul) // these wrap
    y.setInt(at, static_cast<int64_t>(combined(static_cast<uint64_t>(y.getInt(at)),
                                               static_cast<uint64_t>(updates.getInt(from)))));
  else
    y.setInt(at, combined(y.getInt(at), updates.getInt(from)));
}

loops::Value scatterLoop(loops::Stage &s, ScatterReduction reduction, loops::Value old,
                         loops::Value added) {
  switch (reduction) {
  case ScatterReduction::kAdd:
    return s.kind(old) == loops::Kind::kBool ? s.either(old, added) : s.add(old, added);
  case ScatterReduction::kMul:
    return s.kind(old) == loops::Kind::kBool ? s.both(old, added) : s.mul(old, added);
  case ScatterReduction::kMin:
    return s.min(old, added);
  case ScatterReduction::kMax:
    return s.max(old, added);
  default:
    return added;
  }
}

} // namespace platen::ops
