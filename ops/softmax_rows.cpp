// See softmax_rows.h.
#include "ops/softmax_rows.h"
#include "ops/onnx_map.h"

namespace platen::ops {

InferResult inferSoftmax(const InferContext &context) {
  const TensorType &x = *context.types[0];
  if (!base::isFloat(x.dtype) || x.rank() < 1)
    return base::invalidArgument("C1: I1 is " + x.toString() +
                                 "; it must be a float tensor of rank 1 or more");
  auto axis = normalizeAxis(intAttribute(context.attributes, "axis"), x.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  return std::vector{x};
}

EvaluateResult mapSoftmaxRows(Inputs inputs, const Attributes &attributes,
                              void (*row)(std::span<double>)) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis, normalizeAxis(intAttribute(attributes, "axis"), x.type().rank(), "C2: axis"));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  int64_t length = x.dims()[static_cast<size_t>(axis)];
  int64_t stride = stridesOf(x.dims())[static_cast<size_t>(axis)];
  std::vector<double> values(static_cast<size_t>(length));
  for (int64_t start = 0, count = x.elementCount(); start < count; ++start) {
    if ((start / stride) % length != 0)
      continue; // not the first element of its row
    for (int64_t i = 0; i < length; ++i)
      values[static_cast<size_t>(i)] = x.get(start + i * stride);
    row(values);
    for (int64_t i = 0; i < length; ++i)
      y.set(start + i * stride, values[static_cast<size_t>(i)]);
  }
  return results;
}

base::Result<OpCall> mapCoercedSoftmax(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, onnxInt(node, "axis", 1));
  if (axis != -1)
    return base::unsupported("C3: axis is " + std::to_string(axis) + " in opset " +
                             std::to_string(node.version) +
                             ", where it flattens; convert the model to opset 13 or later");
  return OpCall{{OnnxOperand::ofInput(0)}, {{"axis", int64_t{-1}}}, {0}};
}

} // namespace platen::ops
