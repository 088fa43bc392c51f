// See cast.md for the contract. Conversions are those of Tensor::set and Tensor::setInt.
#include "ops/cast/cast.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

namespace platen::ops {

using base::Result;

namespace {

Result<DType> targetOf(const Attributes &attributes) {
  const std::string &to = stringAttribute(attributes, "to");
  for (int code = static_cast<int>(DType::kF32); code <= static_cast<int>(DType::kBool); ++code)
    if (base::dtypeName(static_cast<DType>(code)) == to)
      return static_cast<DType>(code);
  return base::invalidArgument("C1: to is '" + to + "', which names no dtype");
}

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(DType to, targetOf(context.attributes));
  return std::vector{TensorType{to, context.types[0]->dims}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(DType to, targetOf(attributes));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{to, {x.dims().begin(), x.dims().end()}});
  bool integers = !base::isFloat(x.dtype()) && !base::isFloat(to);
  for (int64_t i = 0, count = y.elementCount(); i < count; ++i) {
    if (integers)
      y.setInt(i, x.getInt(i));
    else
      y.set(i, x.get(i));
  }
  return results;
}

Result<OpCall> fromCast(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(int64_t number, onnxInt(node, "to", 0));
  auto to = onnxDType(number);
  if (!to)
    return to.status();
  return OpCall{{OnnxOperand::ofInput(0)}, {{"to", std::string(base::dtypeName(*to))}}, {0}};
}

/// A float as the integer that a u64 element holds: beyond 2^63 the sign bit stands for it.
loops::Value toU64(loops::Stage &s, loops::Value x) {
  const loops::Value bit = s.number(s.kind(x), 0x1p63);
  const loops::Value high = s.binary(loops::Op::kXor, s.convert(loops::Kind::kInt, s.sub(x, bit)),
                                     s.integer(std::numeric_limits<int64_t>::min()));
  return s.select(s.lessEqual(s.add(bit, bit), x), s.integer(-1),
                  s.select(s.lessEqual(bit, x), high, s.convert(loops::Kind::kInt, x)));
}

} // namespace

base::Status lowerCast(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value value = s.load(x, at);
    if (base::isFloat(x.dtype) && y.dtype == DType::kU64)
      return toU64(s, value);
    return s.convert(y.kind(), value, x.dtype == DType::kU64);
  });
}

const OpSpec kCast{
    .name = "cast",
    .operands = {{"x"}},
    .attributes = {{"to", std::string(), true}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Cast", 6, kAnyVersion, fromCast}},
    .loops = lowerCast,
};

} // namespace platen::ops
