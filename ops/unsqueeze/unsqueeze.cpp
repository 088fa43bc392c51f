// See unsqueeze.md for the contract.
#include "ops/unsqueeze/unsqueeze.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<int64_t>> resultDims(std::span<const int64_t> dims, const Tensor &axes) {
  std::vector<int64_t> out(dims.size() + static_cast<size_t>(axes.elementCount()), kDynamic);
  std::vector<bool> inserted(out.size(), false);
  for (int64_t axis : axes.toInts()) {
    auto normal = normalizeAxis(axis, static_cast<int64_t>(out.size()), "C2: an axis");
    if (!normal)
      return normal.status();
    if (inserted[static_cast<size_t>(*normal)])
      return invalidArgument("C3: axis " + std::to_string(axis) + " comes twice");
    inserted[static_cast<size_t>(*normal)] = true;
  }
  size_t next = 0;
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = inserted[i] ? 1 : dims[next++];
  return out;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &axes = *context.types[1];
  if (axes.rank() > 1 || axes.dtype != DType::kI64 || !axes.isStatic())
    return invalidArgument("C1: I2 is " + axes.toString() +
                           "; it must be an i64 vector (or scalar) of known length");
  if (!context.values[1])
    return std::vector{TensorType{
        x.dtype,
        std::vector<int64_t>(x.dims.size() + static_cast<size_t>(axes.elementCount()), kDynamic)}};
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x.dims, *context.values[1]));
  return std::vector{TensorType{x.dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x.dims(), *inputs[1]));
  std::vector<Tensor> results;
  results.emplace_back(TensorType{x.dtype(), std::move(dims)}).copyFrom(x, 0, 0, x.elementCount());
  return results;
}

Result<OpCall> fromAttribute(const OnnxNode &node) {
  return OpCall{{OnnxOperand::ofInput(0), intsAsOperand(node, "axes")}, {}, {0}};
}

} // namespace

const OpSpec kUnsqueeze{
    .name = "unsqueeze",
    .operands = {{"x"}, {"axes"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Unsqueeze", 13}, {"", "Unsqueeze", 1, 12, fromAttribute}},
    .loops = [](loops::Lowering &op) { return op.copy(op.operand(0), op.result(0)); },
};

} // namespace platen::ops
