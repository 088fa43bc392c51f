// See squeeze.md for the contract.
#include "ops/squeeze/squeeze.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// Without axes every axis of length 1 goes.
Result<std::vector<int64_t>> resultDims(const TensorType &x, const Tensor *axes) {
  std::vector<bool> removed(x.dims.size(), false);
  for (size_t i = 0; !axes && i < x.dims.size(); ++i) {
    if (x.dims[i] == kDynamic)
      return base::unsupported("C4: without I2, I1 must have a known shape, but it is " +
                               x.toString());
    removed[i] = x.dims[i] == 1;
  }
  for (int64_t axis : axes ? axes->toInts() : std::vector<int64_t>{}) {
    auto normal = normalizeAxis(axis, x.rank(), "C2: an axis");
    if (!normal)
      return normal.status();
    if (!mayEqual(x.dims[static_cast<size_t>(*normal)], 1))
      return invalidArgument("C3: axis " + std::to_string(axis) + " of I1 " + x.toString() +
                             " is not of length 1");
    removed[static_cast<size_t>(*normal)] = true;
  }
  std::vector<int64_t> out;
  for (size_t i = 0; i < x.dims.size(); ++i)
    if (!removed[i])
      out.push_back(x.dims[i]);
  return out;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], *axes = context.types[1];
  if (axes && (axes->rank() > 1 || axes->dtype != DType::kI64 || !axes->isStatic()))
    return invalidArgument("C1: I2 is " + axes->toString() +
                           "; it must be an i64 vector (or scalar) of known length");
  if (axes && !context.values[1]) {
    int64_t left = x.rank() - axes->elementCount();
    if (left < 0)
      return invalidArgument("C2: I2 names more axes than I1 " + x.toString() + " has");
    return std::vector{
        TensorType{x.dtype, std::vector<int64_t>(static_cast<size_t>(left), kDynamic)}};
  }
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x, context.values[1]));
  return std::vector{TensorType{x.dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x.type(), inputs[1]));
  std::vector<Tensor> results;
  results.emplace_back(TensorType{x.dtype(), std::move(dims)}).copyFrom(x, 0, 0, x.elementCount());
  return results;
}

Result<OpCall> fromAttribute(const OnnxNode &node) {
  return OpCall{{OnnxOperand::ofInput(0), intsAsOperand(node, "axes")}, {}, {0}};
}

} // namespace

const OpSpec kSqueeze{
    .name = "squeeze",
    .operands = {{"x"}, {.name = "axes", .optional = true}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Squeeze", 13}, {"", "Squeeze", 1, 12, fromAttribute}},
    .loops = [](loops::Lowering &op) { return op.copy(op.operand(0), op.result(0)); },
};

} // namespace platen::ops
