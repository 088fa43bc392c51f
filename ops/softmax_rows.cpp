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

base::Result<RowStatistics>
loopRowStatistics(loops::Lowering &op, DType dtype, const std::vector<base::Size> &dims,
                  size_t along,
                  const std::function<loops::Value(loops::Stage &, loops::Coordinates)> &element) {
  std::vector<base::Size> rows = dims;
  rows[along] = 1;
  const RowStatistics statistics{op.temporary(dtype, rows), op.temporary(dtype, rows)};
  const loops::Kind kind = loops::kindOf(dtype);
  const base::Status status =
      op.launch(rows, rows.size(), [&](loops::Stage &s, loops::Coordinates at) {
        auto of = [&](loops::Value index) {
          std::vector<loops::Value> own(at.begin(), at.end());
          own[along] = index;
          return element(s, own);
        };
        const loops::Value greatest = s.maximum(s.size(dims[along]), kind, of);
        s.store(statistics.greatest, at, greatest);
        s.store(statistics.sum, at, s.sum(s.size(dims[along]), kind, [&](loops::Value index) {
          return s.unary(loops::Op::kExp, s.sub(of(index), greatest));
        }));
      });
  if (!status.isOk())
    return status;
  return statistics;
}

base::Status loopSoftmaxRows(loops::Lowering &op,
                             loops::Value (*body)(loops::Stage &, loops::Value, loops::Value,
                                                  loops::Value)) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  const auto along = static_cast<size_t>(axis);
  PLATEN_ASSIGN_OR_RETURN(
      const RowStatistics statistics,
      loopRowStatistics(op, loops::accumulatorOf(x.dtype), x.dims, along,
                        [&](loops::Stage &s, loops::Coordinates at) { return s.load(x, at); }));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> row(at.begin(), at.end());
    row[along] = s.integer(0);
    return body(s, s.load(x, at), s.load(statistics.greatest, row), s.load(statistics.sum, row));
  });
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
