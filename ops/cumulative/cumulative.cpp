// See cumulative.md.
#include "ops/cumulative/cumulative.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &axis = *context.types[1];
  if (x.dtype == DType::kBool || x.rank() < 1)
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a numeric tensor of rank 1 or more");
  if ((axis.dtype != DType::kI64 && axis.dtype != DType::kI32) || productOf(axis.dims) != 1)
    return invalidArgument("C2: I2 is " + axis.toString() + "; it must be one i64 or i32");
  if (context.values[1]) {
    auto normal = normalizeAxis(context.values[1]->getInt(0), x.rank(), "C3: the axis");
    if (!normal)
      return normal.status();
  }
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(const int64_t axis,
                          normalizeAxis(inputs[1]->getInt(0), x.type().rank(), "C3: the axis"));
  const bool product = intAttribute(attributes, "product") != 0,
             reverse = intAttribute(attributes, "reverse") != 0,
             exclusive = intAttribute(attributes, "exclusive") != 0;
  const int64_t length = x.dims()[static_cast<size_t>(axis)],
                inner = stridesOf(x.dims())[static_cast<size_t>(axis)];
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  for (int64_t row = 0; length > 0 && row < x.elementCount() / length; ++row) {
    double number = product ? 1 : 0;
    uint64_t integer = product ? 1 : 0;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t along = reverse ? length - 1 - i : i,
                    at = (row / inner * length + along) * inner + row % inner;
      const double before = number;
      const uint64_t integerBefore = integer;
      const auto element = static_cast<uint64_t>(base::isFloat(x.dtype()) ? 0 : x.getInt(at));
      number = product ? number * x.get(at) : number + x.get(at);
      integer = product ? integer * element : integer + element;
      if (base::isFloat(x.dtype()))
        y.set(at, exclusive ? before : number);
      else
        y.setInt(at, static_cast<int64_t>(exclusive ? integerBefore : integer));
    }
  }
  return results;
}

/// Each element folds over those before it: all elements at once.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  if (!op.constant(1))
    return base::unsupported("I2 (the axis) must be known when the plan is compiled");
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis,
      normalizeAxis(op.constant(1)->getInt(0), static_cast<int64_t>(x.rank()), "C3: the axis"));
  const auto along = static_cast<size_t>(axis);
  const bool product = intAttribute(op.attributes(), "product") != 0,
             reverse = intAttribute(op.attributes(), "reverse") != 0,
             exclusive = intAttribute(op.attributes(), "exclusive") != 0;
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value own = s.integer(exclusive ? 0 : 1),
                       before = reverse ? s.sub(s.sub(s.dim(x, along), s.integer(1)), at[along])
                                        : at[along],
                       first =
                           reverse ? s.add(at[along], s.integer(exclusive ? 1 : 0)) : s.integer(0);
    auto element = [&](loops::Value i) {
      std::vector<loops::Value> from(at.begin(), at.end());
      from[along] = s.add(first, i);
      return s.load(x, from);
    };
    const loops::Value count = s.add(before, own);
    return product ? s.product(count, x.kind(), element) : s.sum(count, x.kind(), element);
  });
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kCumulative, node));
  call.attributes["product"] = int64_t{node.opType == "CumProd"};
  return call;
}

} // namespace

const OpSpec kCumulative{
    .name = "cumulative",
    .operands = {{"x"}, {"axis"}},
    .attributes = {{"exclusive", int64_t{0}}, {"product", int64_t{0}}, {"reverse", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "CumSum", 11, kAnyVersion, fromOnnx}, {"", "CumProd", 26, kAnyVersion, fromOnnx}},
    .loops = lower,
};

} // namespace platen::ops
