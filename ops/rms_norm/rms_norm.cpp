// y = x / sqrt(mean(x^2) + epsilon) * scale (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4), in
// double.
#include "ops/rms_norm/rms_norm.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<TensorType>> infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &scale = *context.types[1];
  if (x.rank() < 1 || !base::isFloat(x.dtype))
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a float tensor of rank 1 or more");
  if (scale.dtype != x.dtype || scale.rank() != 1 ||
      (scale.dims[0] != kDynamic && x.dims.back() != kDynamic && scale.dims[0] != x.dims.back()))
    return invalidArgument("C2: I2 is " + scale.toString() +
                           "; it must have I1's dtype and the length of I1's last axis (" +
                           x.toString() + ")");
  if (floatAttribute(context.attributes, "epsilon") < 0)
    return invalidArgument("C3: epsilon is negative");
  return std::vector{x};
}

Result<std::vector<Tensor>> reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &scale = *inputs[1];
  double epsilon = floatAttribute(attributes, "epsilon");
  int64_t columns = x.dims().back(), rows = columns == 0 ? 0 : x.elementCount() / columns;
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c)
      sum += x.get(row * columns + c) * x.get(row * columns + c);
    double inverse = 1 / std::sqrt(sum / static_cast<double>(columns) + epsilon);
    for (int64_t c = 0; c < columns; ++c)
      y.set(row * columns + c, x.get(row * columns + c) * inverse * scale.get(c));
  }
  return results;
}

Result<OpCall> fromSimplifiedLayerNorm(const OnnxNode &node) {
  auto axis = node.attributes.find("axis");
  if (axis != node.attributes.end() && std::get<int64_t>(axis->second) != -1)
    return base::unsupported("C4: axis is " + std::to_string(std::get<int64_t>(axis->second)) +
                             "; only normalisation over the last axis (-1) is supported");
  if (node.outputPresent.size() > 1 && node.outputPresent[1])
    return base::unsupported("C5: the inverse standard deviation is asked for as second output");
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kRmsNorm, node));
  call.outputs = {0};
  return call;
}

/// Two launches: the inverse root of each row, then the elements.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  const size_t last = x.rank() - 1;
  PLATEN_ASSIGN_OR_RETURN(
      const loops::TensorRef inverse,
      loopInverseRoots(op, {x.dims.begin(), x.dims.end() - 1}, x.dims[last], x.dtype,
                       floatAttribute(op.attributes(), "epsilon"),
                       [&](loops::Stage &s, loops::Coordinates at) { return s.load(x, at); }));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    return s.mul(s.mul(s.load(x, at), s.load(inverse, at.first(last))),
                 s.load(op.operand(1), at.subspan(last)));
  });
}

} // namespace

Result<loops::TensorRef>
loopInverseRoots(loops::Lowering &op, const std::vector<base::Size> &rows, const base::Size &length,
                 DType dtype, double epsilon,
                 const std::function<loops::Value(loops::Stage &, loops::Coordinates)> &element) {
  const loops::TensorRef inverse = op.temporary(loops::accumulatorOf(dtype), rows);
  const loops::Kind kind = inverse.kind();
  const base::Status status = op.compute(inverse, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value squares = s.sum(s.size(length), kind, [&](loops::Value index) {
      std::vector<loops::Value> own(at.begin(), at.end());
      own.push_back(index);
      const loops::Value value = element(s, own);
      return s.mul(value, value);
    });
    const loops::Value mean = s.div(squares, s.convert(kind, s.size(length)));
    return s.div(s.number(kind, 1),
                 s.unary(loops::Op::kSqrt, s.add(mean, s.number(kind, epsilon))));
  });
  if (!status.isOk())
    return status;
  return inverse;
}

const OpSpec kRmsNorm{
    .name = "rms_norm",
    .operands = {{"x"}, {"scale"}},
    .attributes = {{"epsilon", 1e-5}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "SimplifiedLayerNormalization", 1, std::numeric_limits<int64_t>::max(),
              fromSimplifiedLayerNorm},
             {"com.microsoft", "SimplifiedLayerNormalization", 1,
              std::numeric_limits<int64_t>::max(), fromSimplifiedLayerNorm},
             {"", "RMSNormalization", 23, std::numeric_limits<int64_t>::max(),
              fromSimplifiedLayerNorm}},
    .loops = lower,
};

} // namespace platen::ops
