// See range.md for the contract.
#include "ops/range/range.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<int64_t> countOf(const Tensor &start, const Tensor &limit, const Tensor &delta) {
  if (delta.get(0) == 0)
    return invalidArgument("C2: I3, the step, is 0");
  double count = std::ceil((limit.get(0) - start.get(0)) / delta.get(0));
  if (!base::isFloat(start.dtype())) { // exact: positions may be large
    auto distance = static_cast<__int128>(limit.getInt(0)) - start.getInt(0);
    auto step = static_cast<__int128>(delta.getInt(0));
    count = static_cast<double>(distance / step +
                                ((distance % step != 0) && (distance > 0) == (step > 0)));
  }
  if (!(count < 0x1p40))
    return invalidArgument("C3: the range has no finite, practicable number of elements");
  return count > 0 ? static_cast<int64_t>(count) : 0;
}

InferResult infer(const InferContext &context) {
  for (size_t i = 0; i < 3; ++i)
    if (productOf(context.types[i]->dims) != 1 || context.types[i]->dtype == DType::kBool ||
        context.types[i]->dtype != context.types[0]->dtype)
      return invalidArgument("C1: I" + std::to_string(i + 1) + " is " +
                             context.types[i]->toString() +
                             "; the operands must be scalars of one numeric dtype");
  if (!context.values[0] || !context.values[1] || !context.values[2])
    return std::vector{TensorType{context.types[0]->dtype, {kDynamic}}};
  PLATEN_ASSIGN_OR_RETURN(int64_t count,
                          countOf(*context.values[0], *context.values[1], *context.values[2]));
  return std::vector{TensorType{context.types[0]->dtype, {count}}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &start = *inputs[0], &delta = *inputs[2];
  PLATEN_ASSIGN_OR_RETURN(int64_t count, countOf(start, *inputs[1], delta));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{start.dtype(), {count}});
  for (int64_t i = 0; i < count; ++i) {
    if (base::isFloat(start.dtype()))
      y.set(i, start.get(0) + static_cast<double>(i) * delta.get(0));
    else
      y.setInt(i, start.getInt(0) + i * delta.getInt(0));
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value start = s.scalar(op.operand(0)), delta = s.scalar(op.operand(2));
    if (base::isFloat(y.dtype))
      return s.fma(s.convert(y.kind(), at[0]), delta, start);
    return s.add(start, s.mul(at[0], delta));
  });
}

} // namespace

const OpSpec kRange{
    .name = "range",
    .operands = {{"start"}, {"limit"}, {"delta"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Range", 11}},
    .loops = lower,
};

} // namespace platen::ops
