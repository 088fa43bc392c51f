// See skip_rms_norm.md; the normalisation is that of rms_norm, in double.
#include "ops/skip_rms_norm/skip_rms_norm.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"
#include "ops/rms_norm/rms_norm.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

bool isRow(const TensorType &row, const TensorType &x) {
  return row.dtype == x.dtype && row.rank() == 1 && mayEqual(row.dims[0], x.dims.back());
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &skip = *context.types[1], &scale = *context.types[2],
                   *bias = context.types[3];
  if (x.rank() < 1 || !base::isFloat(x.dtype))
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a float tensor of rank 1 or more");
  bool same = skip.dtype == x.dtype && skip.rank() == x.rank();
  for (size_t i = 0; same && i < x.dims.size(); ++i)
    same = mayEqual(x.dims[i], skip.dims[i]);
  if (!same)
    return invalidArgument("C2: I2 is " + skip.toString() + "; it must have I1's type " +
                           x.toString());
  if (!isRow(scale, x) || (bias && !isRow(*bias, x)))
    return invalidArgument("C3: I3 is " + scale.toString() + (bias ? " and I4 " : "") +
                           (bias ? bias->toString() : "") +
                           "; they must have I1's dtype and the length of its last axis");
  if (floatAttribute(context.attributes, "epsilon") < 0)
    return invalidArgument("C4: epsilon is negative");
  return std::vector{x, x};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &skip = *inputs[1], &scale = *inputs[2], *bias = inputs[3];
  double epsilon = floatAttribute(attributes, "epsilon");
  int64_t columns = x.dims().back(), rows = columns == 0 ? 0 : x.elementCount() / columns;
  std::vector<Tensor> results{Tensor(x.type()), Tensor(x.type())};
  std::vector<double> row(static_cast<size_t>(columns));
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < columns; ++c) {
      double value = x.get(r * columns + c) + skip.get(r * columns + c) + (bias ? bias->get(c) : 0);
      row[static_cast<size_t>(c)] = value;
      results[1].set(r * columns + c, value);
      squares += value * value;
    }
    double inverse = 1 / std::sqrt(squares / static_cast<double>(columns) + epsilon);
    for (int64_t c = 0; c < columns; ++c)
      results[0].set(r * columns + c, row[static_cast<size_t>(c)] * inverse * scale.get(c));
  }
  return results;
}

Result<OpCall> fromSkipSimplifiedLayerNorm(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(refuseOutput(node, 1, "C5"));
  PLATEN_RETURN_IF_ERROR(refuseOutput(node, 2, "C5"));
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kSkipRmsNorm, node));
  call.outputs = {0, 3};
  return call;
}

/// Three launches: the sums (O2), the inverse root of each row, then the elements.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  const size_t last = x.rank() - 1;
  auto sum = [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value value = s.add(s.load(x, at), s.load(op.operand(1), at));
    return op.has(3) ? s.add(value, s.load(op.operand(3), at.subspan(last))) : value;
  };
  PLATEN_RETURN_IF_ERROR(op.compute(op.result(1), sum));
  PLATEN_ASSIGN_OR_RETURN(const loops::TensorRef inverse,
                          loopInverseRoots(op, {x.dims.begin(), x.dims.end() - 1}, x.dims[last],
                                           x.dtype, floatAttribute(op.attributes(), "epsilon"),
                                           sum));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    return s.mul(s.mul(sum(s, at), s.load(inverse, at.first(last))),
                 s.load(op.operand(2), at.subspan(last)));
  });
}

} // namespace

const OpSpec kSkipRmsNorm{
    .name = "skip_rms_norm",
    .operands = {{"x"}, {"skip"}, {"scale"}, {.name = "bias", .optional = true}},
    .attributes = {{"epsilon", 1e-12}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"com.microsoft", "SkipSimplifiedLayerNormalization", 1, kAnyVersion,
              fromSkipSimplifiedLayerNorm}},
    .loops = lower,
};

} // namespace platen::ops
