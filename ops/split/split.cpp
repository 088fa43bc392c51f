// See split.md for the contract.
#include "ops/split/split.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <numeric>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// Lengths of the parts: I2, or equal ones of which the last may be shorter. kDynamic where
/// unknown.
Result<std::vector<int64_t>> partLengths(int64_t length, const TensorType *type,
                                         const Tensor *split, int64_t parts) {
  if (!type) {
    if (parts < 1)
      return invalidArgument("C2: without I2, num_outputs must be 1 or more");
    if (length == kDynamic)
      return std::vector<int64_t>(static_cast<size_t>(parts), kDynamic);
    int64_t piece = (length + parts - 1) / parts;
    std::vector<int64_t> lengths(static_cast<size_t>(parts), piece);
    lengths.back() = length - piece * (parts - 1);
    if (lengths.back() < 0)
      return invalidArgument("C4: " + std::to_string(length) + " elements do not split into " +
                             std::to_string(parts) + " parts of " + std::to_string(piece));
    return lengths;
  }
  if (type->rank() != 1 || type->dtype != DType::kI64 || type->dims[0] == kDynamic)
    return invalidArgument("C1: I2 is " + type->toString() +
                           "; it must be an i64 vector of known length");
  if (parts != 0 && parts != type->dims[0])
    return invalidArgument("C3: I2 has " + std::to_string(type->dims[0]) +
                           " elements but num_outputs is " + std::to_string(parts));
  if (!split)
    return std::vector<int64_t>(static_cast<size_t>(type->dims[0]), kDynamic);
  std::vector<int64_t> lengths = split->toInts();
  int64_t sum = 0;
  for (int64_t piece : lengths)
    if (piece < 0 || __builtin_add_overflow(sum, piece, &sum))
      return invalidArgument("C4: I2 holds " + std::to_string(piece) + "; a length is 0 or more");
  if (!mayEqual(sum, length))
    return invalidArgument("C4: the lengths in I2 add up to " + std::to_string(sum) +
                           ", the axis has " + std::to_string(length) + " elements");
  return lengths;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0];
  auto axis = normalizeAxis(intAttribute(context.attributes, "axis"), x.rank(), "C5: axis");
  if (!axis)
    return axis.status();
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> lengths,
                          partLengths(x.dims[static_cast<size_t>(*axis)], context.types[1],
                                      context.values[1],
                                      intAttribute(context.attributes, "num_outputs")));
  std::vector<TensorType> results(lengths.size(), x);
  for (size_t i = 0; i < lengths.size(); ++i)
    results[i].dims[static_cast<size_t>(*axis)] = lengths[i];
  return results;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis, normalizeAxis(intAttribute(attributes, "axis"), x.type().rank(), "C5: axis"));
  auto along = static_cast<size_t>(axis);
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> lengths,
                          partLengths(x.dims()[along], inputs[1] ? &inputs[1]->type() : nullptr,
                                      inputs[1], intAttribute(attributes, "num_outputs")));
  int64_t outer = productOf(x.dims().first(along)), inner = productOf(x.dims().subspan(along + 1));
  std::vector<Tensor> results;
  int64_t offset = 0, row = x.dims()[along] * inner;
  for (int64_t length : lengths) {
    TensorType type = x.type();
    type.dims[along] = length;
    Tensor &y = results.emplace_back(std::move(type));
    for (int64_t i = 0; i < outer; ++i)
      y.copyFrom(x, i * row + offset, i * length * inner, length * inner);
    offset += length * inner;
  }
  return results;
}

/// The number of parts is the node's number of outputs; axes and lengths were attributes once.
Result<OpCall> fromSplit(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, onnxInt(node, "axis", 0));
  OpCall call;
  call.operands = {OnnxOperand::ofInput(0),
                   node.version < 13 ? intsAsOperand(node, "split") : inputOrAbsent(node, 1)};
  auto parts = static_cast<int64_t>(node.outputPresent.size());
  call.attributes = {{"axis", axis}, {"num_outputs", parts}};
  call.outputs.resize(node.outputPresent.size());
  std::iota(call.outputs.begin(), call.outputs.end(), size_t{0});
  return call;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C5: axis"));
  const auto along = static_cast<size_t>(axis);
  base::Size offset = 0;
  for (size_t part = 0; part < op.resultCount(); ++part) {
    const loops::TensorRef y = op.result(part);
    PLATEN_RETURN_IF_ERROR(op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
      std::vector<loops::Value> own(at.begin(), at.end());
      own[along] = s.add(at[along], s.size(offset));
      return s.load(x, own);
    }));
    offset = offset + y.dims[along];
  }
  return base::Status::ok();
}

} // namespace

const OpSpec kSplit{
    .name = "split",
    .operands = {{"x"}, {.name = "split", .optional = true}},
    .attributes = {{"axis", int64_t{0}}, {"num_outputs", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Split", 2, kAnyVersion, fromSplit}},
    .loops = lower,
};

} // namespace platen::ops
