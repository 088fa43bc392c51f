// See clip.md for the contract.
#include "ops/clip/clip.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <cmath>

namespace platen::ops {

using base::Result;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0];
  if (x.dtype == DType::kBool)
    return base::invalidArgument("C1: I1 is " + x.toString() + "; it must be numeric");
  for (size_t i = 1; i < 3; ++i)
    if (const TensorType *bound = context.types[i];
        bound && (bound->dtype != x.dtype || productOf(bound->dims) != 1))
      return base::invalidArgument("C2: I" + std::to_string(i + 1) + " is " + bound->toString() +
                                   "; it must be one element of I1's dtype (" + x.toString() + ")");
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor *low = inputs[1], *high = inputs[2];
  std::vector<Tensor> results{*inputs[0]};
  Tensor &y = results[0];
  for (int64_t i = 0, count = y.elementCount(); i < count; ++i) {
    // The upper bound comes last: it wins where the bounds cross. NaN passes through.
    if (base::isFloat(y.dtype())) {
      if (low && y.get(i) < low->get(0))
        y.copyFrom(*low, 0, i, 1);
      if (high && y.get(i) > high->get(0))
        y.copyFrom(*high, 0, i, 1);
    } else {
      if (low && y.getInt(i) < low->getInt(0))
        y.copyFrom(*low, 0, i, 1);
      if (high && y.getInt(i) > high->getInt(0))
        y.copyFrom(*high, 0, i, 1);
    }
  }
  return results;
}

/// Before opset 11 the bounds were attributes; they become f32 constants (C2 refuses other dtypes).
Result<OpCall> fromAttributes(const OnnxNode &node) {
  OpCall call{{OnnxOperand::ofInput(0)}, {}, {0}};
  for (std::string_view name : {"min", "max"}) {
    PLATEN_ASSIGN_OR_RETURN(double bound, onnxFloat(node, name, std::nan("")));
    double values[] = {bound};
    call.operands.push_back(
        std::isnan(bound) ? OnnxOperand::absent()
                          : OnnxOperand::ofConstant(Tensor::of<double>(DType::kF32, {}, values)));
  }
  return call;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const bool isUnsigned = x.dtype == DType::kU64;
    loops::Value value = s.load(x, at);
    if (op.has(1)) {
      const loops::Value low = s.scalar(op.operand(1));
      value = s.select(s.binary(loops::Op::kLess, value, low, isUnsigned), low, value);
    }
    if (op.has(2)) {
      const loops::Value high = s.scalar(op.operand(2));
      value = s.select(s.binary(loops::Op::kLess, high, value, isUnsigned), high, value);
    }
    return value;
  });
}

} // namespace

const OpSpec kClip{
    .name = "clip",
    .operands = {{"x"}, {.name = "low", .optional = true}, {.name = "high", .optional = true}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Clip", 11}, {"", "Clip", 6, 10, fromAttributes}},
    .loops = lower,
};

} // namespace platen::ops
