// See bitwise.md. Shifts by the width and more move all bits out.
#include "ops/bitwise/bitwise.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <array>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

struct Kind {
  std::string_view name;
  int64_t (*reference)(int64_t, int64_t);
  loops::Op loop;
};
const std::array kKinds = {
    Kind{"and", [](int64_t a, int64_t b) { return a & b; }, loops::Op::kAnd},
    Kind{"or", [](int64_t a, int64_t b) { return a | b; }, loops::Op::kOr},
    Kind{"xor", [](int64_t a, int64_t b) { return a ^ b; }, loops::Op::kXor},
    Kind{"shift_left",
         [](int64_t a, int64_t b) {
           return b < 0 || b >= 64 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a) << b);
         },
         loops::Op::kShiftLeft},
    // Operands are widened as their dtype says: zeros or the sign come in.
    Kind{"shift_right",
         [](int64_t a, int64_t b) { return b < 0 || b >= 64 ? (a < 0 ? -1 : 0) : a >> b; },
         loops::Op::kShiftRight},
};

Result<Kind> kindOf(const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "kind");
  for (const Kind &kind : kKinds)
    if (kind.name == name)
      return kind;
  return invalidArgument("C4: kind is '" + name + "', which names no bit operation");
}

bool isUnsigned(DType dtype) {
  return dtype == DType::kU64 || dtype == DType::kU32 || dtype == DType::kU16 ||
         dtype == DType::kU8 || dtype == DType::kU4;
}

InferResult infer(const InferContext &context) {
  const TensorType &a = *context.types[0], &b = *context.types[1];
  if (base::isFloat(a.dtype) || a.dtype == DType::kBool)
    return invalidArgument("C1: I1 is " + a.toString() + "; it must be an integer tensor");
  if (a.dtype != b.dtype)
    return invalidArgument("C2: I1 is " + a.toString() + " but I2 is " + b.toString() +
                           "; the dtypes must be equal");
  auto dims = broadcastDims(a.dims, b.dims);
  if (!dims)
    return invalidArgument("C3: I1 " + a.toString() + " and I2 " + b.toString() +
                           " do not broadcast: " + std::string(dims.status().message()));
  auto kind = kindOf(context.attributes);
  if (!kind)
    return kind.status();
  return std::vector{TensorType{a.dtype, std::move(*dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(attributes));
  if (kind.name == "shift_right" && inputs[0]->dtype() == DType::kU64)
    return mapBinary(inputs, DType::kU64, nullptr, [](int64_t a, int64_t b) {
      return b < 0 || b >= 64 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a) >> b);
    });
  return mapBinary(inputs, inputs[0]->dtype(), nullptr, kind.reference);
}

base::Status lower(loops::Lowering &op) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(op.attributes()));
  const loops::TensorRef y = op.result(0);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    return s.binary(kind.loop, s.loadBroadcast(op.operand(0), at, y.dims),
                    s.loadBroadcast(op.operand(1), at, y.dims), isUnsigned(y.dtype));
  });
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(const std::string direction, onnxString(node, "direction", "LEFT"));
  const std::string kind = node.opType == "BitwiseAnd"   ? "and"
                           : node.opType == "BitwiseOr"  ? "or"
                           : node.opType == "BitwiseXor" ? "xor"
                           : direction == "LEFT"         ? "shift_left"
                                                         : "shift_right";
  return OpCall{{OnnxOperand::ofInput(0), OnnxOperand::ofInput(1)}, {{"kind", kind}}, {0}};
}

} // namespace

const OpSpec kBitwise{
    .name = "bitwise",
    .operands = {{"a"}, {"b"}},
    .attributes = {{"kind", std::string(), true}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "BitwiseAnd", 18, kAnyVersion, fromOnnx},
             {"", "BitwiseOr", 18, kAnyVersion, fromOnnx},
             {"", "BitwiseXor", 18, kAnyVersion, fromOnnx},
             {"", "BitShift", 11, kAnyVersion, fromOnnx}},
    .loops = lower,
};

} // namespace platen::ops
